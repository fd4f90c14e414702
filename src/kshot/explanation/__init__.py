"""Explanation: why an answer came out as it did, for eyes."""

from kshot.explanation.attributions import Attribution, attribute
from kshot.explanation.bars import evidence_bars, picture_lines
from kshot.explanation.boxes import boxes_drawn, side_by_side
from kshot.explanation.changes import Changes, LayerChange, changes, cka
from kshot.explanation.influence import Influence, influence
from kshot.explanation.maps import attribution_map, change_bars
from kshot.explanation.marked_text import marked_html, marked_line
from kshot.explanation.pictures import data_uri, evidence, gallery, picture, png

__all__ = [
    "Attribution",
    "Changes",
    "Influence",
    "LayerChange",
    "attribute",
    "attribution_map",
    "boxes_drawn",
    "change_bars",
    "changes",
    "cka",
    "data_uri",
    "evidence",
    "evidence_bars",
    "gallery",
    "influence",
    "marked_html",
    "marked_line",
    "picture",
    "picture_lines",
    "png",
    "side_by_side",
]
