"""Rounds of leaving out."""

from __future__ import annotations

import torch

from kshot.tuning.left_out import rounds


def test_rounds_leave_each_out_once_and_no_class_empty() -> None:
    targets = torch.tensor([0] * 7 + [1] * 2 + [2])
    parts = rounds(targets, 3, seed=0)
    assert len(parts) == 5
    assert torch.cat(parts).sort().values.tolist() == list(range(9))
    for out in parts:
        left = torch.bincount(targets, minlength=3) - torch.bincount(targets[out], minlength=3)
        assert int(left.min()) >= 1
