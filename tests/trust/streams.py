"""A stream of inputs of three classes that can be moved."""

from __future__ import annotations

import torch
from torch import Tensor

CENTRES = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])


def draw(rng: torch.Generator, count: int, shift: float = 0.0) -> tuple[Tensor, list[str]]:
    """`count` inputs of three classes, all moved by `shift`."""
    labels = torch.randint(3, (count,), generator=rng)
    return CENTRES[labels] + torch.randn(count, 2, generator=rng) + shift, [f"c{k}" for k in labels.tolist()]
