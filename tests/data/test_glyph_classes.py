"""Programs of new classes: joined in order, and some of them alike."""

from __future__ import annotations

import torch

from kshot.data.dice import Dice
from kshot.data.glyph_classes import write_programs


def test_kin_share_strokes_with_their_neighbour() -> None:
    program = write_programs(200, 6, 0.0, 1.0, Dice(torch.Generator().manual_seed(0)))
    same = (program.turn == program.turn.roll(1, 0)).all(-1)
    assert same[program.alive.sum(1) > 1].any()
    count = program.alive.sum(1)
    last = same.gather(1, (count - 1).unsqueeze(1)).squeeze(1)
    assert not (last & program.alive.roll(1, 0).gather(1, (count - 1).unsqueeze(1)).squeeze(1)).all()


def test_a_host_always_comes_earlier() -> None:
    program = write_programs(500, 6, 0.3, 0.25, Dice(torch.Generator().manual_seed(0)))
    assert (program.host <= torch.arange(program.strokes).sub(1).clamp_min(0)).all()
    assert program.alive[:, 0].all()
