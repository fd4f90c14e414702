"""Robots of one number, for tests of models of dynamics."""

from __future__ import annotations

import torch

from kshot.control import Transitions
from kshot.seeds import generator


def hidden_gain(count: int, seed: int) -> Transitions:
    """Points that are pushed with a gain of their own: what differs between them is one number."""
    rng = generator(seed)
    gain = 0.2 + 1.8 * torch.rand(count, 1, 1, generator=rng)
    seen, push = torch.randn(count, 40, 2, generator=rng), torch.randn(count, 40, 2, generator=rng)
    change = gain * push * torch.cos(seen) - 0.1 * seen
    return Transitions(torch.cat([seen, push], 2), change, gain[:, 0], shots=(2, 8), queries=16)
