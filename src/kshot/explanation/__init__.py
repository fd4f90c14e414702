"""Explanation: why an answer came out as it did, for eyes."""

from kshot.explanation.bars import evidence_bars, picture_lines
from kshot.explanation.pictures import data_uri, evidence, gallery, picture, png

__all__ = ["data_uri", "evidence", "evidence_bars", "gallery", "picture", "picture_lines", "png"]
