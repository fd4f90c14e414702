"""Running a program: its strokes go where its turns and steps lead, and where their joints are."""

from __future__ import annotations

import torch

from kshot.data import glyph_programs
from kshot.data.dice import Dice
from kshot.data.glyph_classes import write_programs
from kshot.data.glyph_programs import SAMPLES, trace


def test_splines_reproduce_straight_lines() -> None:
    """Both ways to draw a stroke must pass through evenly spaced points on a line exactly."""
    line = torch.stack([torch.arange(9.0), 2 * torch.arange(9.0) + 1], 1)
    sharp, smooth = (basis @ line for basis in glyph_programs._bases())
    assert torch.allclose(sharp, smooth, atol=1e-5)


def test_strokes_meet_where_they_are_joined() -> None:
    """The joined point of a stroke lies on its host, but for the gap."""
    program = write_programs(50, 6, 0.3, 0.25, Dice(torch.Generator().manual_seed(0)))
    points = trace(program)
    rows = torch.arange(program.rows)
    for stroke in range(1, program.strokes):
        host = program.host[:, stroke]
        there = points[rows, host, (program.at[:, stroke] * (SAMPLES - 1)).round().long()]
        here = points[rows, stroke, (program.own[:, stroke] * (SAMPLES - 1)).round().long()]
        assert torch.allclose(here, there + program.gap[:, stroke], atol=1e-5)
