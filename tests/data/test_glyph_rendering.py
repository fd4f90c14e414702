"""Ink and scans: distances in pixels, and lenses that keep what is flat."""

from __future__ import annotations

import torch

from kshot.data import glyph_rendering


def test_distance_of_a_straight_stroke() -> None:
    """A long horizontal stroke at y = 10 px: the soft distance grows by one pixel per row."""
    points = torch.stack([torch.linspace(-10, 38, 200), torch.full((200,), 10.0)], 1).unsqueeze(0)
    field = glyph_rendering._distance(points, torch.full((1, 200), 48 / 199), 28, 0.7)
    straight = (torch.arange(28) + 0.5 - 10).abs()
    assert torch.allclose(field[0, :, 14].clamp_max(6), straight.clamp_max(6), atol=0.05)


def test_coarse_lens_keeps_flat_pages_flat() -> None:
    lenses = glyph_rendering._lenses(28)
    assert torch.allclose(lenses.sum(-1), torch.ones(lenses.shape[:2]), atol=1e-5)
