"""Where examples come from."""

from kshot.data.arrays import arrays, dataset, npz
from kshot.data.augment import Affine, Chain, Cutout, Elastic, Thickness
from kshot.data.episodes import Episodes, Mixed
from kshot.data.findings import Findings
from kshot.data.flat import Flat
from kshot.data.folder import Pictures, folder
from kshot.data.glyph_tasks import GlyphTasks
from kshot.data.glyphs import GlyphFamily
from kshot.data.inspect import inspect, read
from kshot.data.pool import Pool, rotations
from kshot.data.sinusoids import Sinusoids
from kshot.data.streamed import Streamed
from kshot.data.tables import Table, csv, jsonl
from kshot.data.unlabelled import Unlabelled

__all__ = [
    "Affine",
    "Chain",
    "Cutout",
    "Elastic",
    "Episodes",
    "Findings",
    "Flat",
    "GlyphFamily",
    "GlyphTasks",
    "Mixed",
    "Pictures",
    "Pool",
    "Sinusoids",
    "Streamed",
    "Table",
    "Thickness",
    "Unlabelled",
    "arrays",
    "csv",
    "dataset",
    "folder",
    "inspect",
    "jsonl",
    "npz",
    "read",
    "rotations",
]
