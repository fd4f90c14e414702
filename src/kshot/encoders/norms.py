"""Batch normalisation whose statistics are a choice, not an accident of train() and eval().

Four policies, set for the running thread by `normalising(...)`:
- "module": torch's own rule (batch statistics while training, running ones in eval). The default.
- "batch": statistics of the batch at hand; what MAML's paper does. With queries in the batch the
  answer to one query depends on the others: a **transductive** number.
- "record": as "batch", and keeps the statistics.
- "replay": uses kept statistics, so queries are normalised by the support alone: **inductive**.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Statistics = list[tuple[Tensor, Tensor]]
"""Mean and variance of every norm layer, in the order of the forward pass."""


@dataclass
class _Policy:
    name: str = "module"
    kept: Statistics = field(default_factory=list)
    place: int = 0


class _Thread(threading.local):
    def __init__(self) -> None:
        self.policy = _Policy()


_THREAD = _Thread()


@contextmanager
def normalising(name: str, kept: Statistics | None = None) -> Iterator[Statistics]:
    """Set the policy of this thread's batch norms; yields the list that "record" fills."""
    before = _THREAD.policy
    _THREAD.policy = _Policy(name, [] if kept is None else kept)
    try:
        yield _THREAD.policy.kept
    finally:
        _THREAD.policy = before


def current_policy() -> str:
    """The policy of this thread's batch norms."""
    return _THREAD.policy.name


class BatchNorm2d(nn.BatchNorm2d):
    """Ioffe and Szegedy (2015), obeying the policy of `normalising`."""

    def forward(self, x: Tensor) -> Tensor:
        policy = _THREAD.policy
        if policy.name == "module":
            return super().forward(x)
        if policy.name == "batch":
            return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        if policy.name == "record":
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
            policy.kept.append((mean, variance))
        else:
            mean, variance = policy.kept[policy.place]
            policy.place += 1
        return _affine(x, mean, variance, self)


def _affine(x: Tensor, mean: Tensor, variance: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return x * scale.view(1, -1, 1, 1) + (norm.bias - mean * scale).view(1, -1, 1, 1)


def norm_layer(name: str, channels: int) -> nn.Module:
    """A norm over `channels` by name: batch, group (groups of 8), instance, layer or none."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "batch": lambda: BatchNorm2d(channels),
        "group": lambda: nn.GroupNorm(max(channels // 8, 1), channels),
        "instance": lambda: nn.InstanceNorm2d(channels, affine=True),
        "layer": lambda: nn.GroupNorm(1, channels),
        "none": nn.Identity,
    }
    return makers[name]()


NORMS = ("batch", "group", "instance", "layer", "none")
