"""Where examples come from."""

from kshot.data.augment import Affine
from kshot.data.episodes import Episodes, Mixed
from kshot.data.glyphs import GlyphFamily
from kshot.data.pool import Pool, rotations

__all__ = ["Affine", "Episodes", "GlyphFamily", "Mixed", "Pool", "rotations"]
