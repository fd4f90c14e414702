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
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kshot.encoders.batch_statistics import batch_norm
from kshot.encoders.pooled_norm import batch_norm_pool_relu, can_fuse
from kshot.errors import SettingError

if TYPE_CHECKING:
    from jaxtyping import Float

_OLD = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14)
Statistics = list[tuple[Tensor, Tensor]]
"""Mean and variance of every norm layer, in the order of the forward pass."""


@dataclass
class _Policy:
    name: str = "module"
    kept: Statistics = field(default_factory=list)
    place: int = 0
    weights: Tensor | None = None


class _Thread(threading.local):
    def __init__(self) -> None:
        self.policy = _Policy()


_THREAD = _Thread()


@contextmanager
def normalising(
    name: str, kept: Statistics | None = None, weights: Tensor | None = None
) -> Iterator[Statistics]:
    """Set the policy of this thread's batch norms; yields the list that "record" fills.

    `weights` [n] says how much each example of the batch counts in statistics that are taken of it.
    """
    before = _THREAD.policy
    _THREAD.policy = _Policy(name, [] if kept is None else kept, weights=weights)
    try:
        yield _THREAD.policy.kept
    finally:
        _THREAD.policy = before


def current_policy() -> str:
    """The policy of this thread's batch norms."""
    return _THREAD.policy.name


class BatchNorm2d(nn.BatchNorm2d):
    """Ioffe and Szegedy (2015), obeying the policy of `normalising`."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        policy = _THREAD.policy
        if policy.name == "module":
            return super().forward(x)
        if policy.name == "batch" and policy.weights is None:
            return batch_norm(x, self.weight, self.bias, self.eps)
        if policy.name == "replay":
            mean, variance = policy.kept[policy.place]
            policy.place += 1
        else:
            mean, variance = _moments(x, policy.weights)
            policy.kept.append((mean, variance))
        return _affine(x, mean, variance, self)

    def takes_batch_mean(self) -> bool:
        """Is the mean of the batch at hand taken away and forgotten, so that adding a constant before changes nothing?"""
        return _THREAD.policy.name == "batch"

    def pooled(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h//2 w//2"] | None:
        """Norm, max-pooling 2 x 2 and ReLU at once; None where the three have to be called one after the other."""
        policy = _THREAD.policy
        running = None
        if policy.name == "module":
            if not self.training or self.momentum is None or self.running_mean is None:
                return None
            assert self.running_var is not None
            running = (self.running_mean, self.running_var, self.momentum)
        if (
            policy.name not in ("batch", "module")
            or policy.weights is not None
            or not can_fuse(x, self.weight)
        ):
            return None
        if running is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return batch_norm_pool_relu(x, self.weight, self.bias, self.eps, running)


class GroupNorm(nn.GroupNorm):
    """Wu and He (2018). On a CPU torch before 2.14 ends the process where its input is in channels_last and the gradient
    by it is not asked for, as when only scales and shifts move; so it is given another order there."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return super().forward(
            x.contiguous() if _OLD and x.device.type == "cpu" and torch.is_grad_enabled() else x
        )


def _moments(x: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of a batch [n, channels, height, width]."""
    if weights is None:
        return x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    shares = (weights / weights.sum()).view(-1, 1)
    mean = (shares * x.mean((2, 3))).sum(0)
    return mean, (shares * (x - mean.view(1, -1, 1, 1)).square().mean((2, 3))).sum(0)


def _affine(
    x: Float[Tensor, "n c h w"],
    mean: Float[Tensor, " c"],
    variance: Float[Tensor, " c"],
    norm: nn.BatchNorm2d,
) -> Float[Tensor, "n c h w"]:
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return x * scale.view(1, -1, 1, 1) + (norm.bias - mean * scale).view(1, -1, 1, 1)


def norm_layer(name: str, channels: int) -> nn.Module:
    """A norm over `channels` by name: batch, group, instance, layer or none.

    "group" is Wu and He (2018) with groups of 8 channels, or of as few above 8 as divide the channels
    evenly: 64 channels make 8 groups of 8, 28 make 2 of 14, and 29, a prime, a single group.
    """
    makers: dict[str, Callable[[], nn.Module]] = {
        "batch": lambda: BatchNorm2d(channels),
        "group": lambda: GroupNorm(_groups(channels), channels),
        "instance": lambda: nn.InstanceNorm2d(channels, affine=True),
        "layer": lambda: GroupNorm(1, channels),
        "none": nn.Identity,
    }
    return makers[name]()


def _groups(channels: int) -> int:
    """The most groups of equal size, each of 8 channels or more; 1 where there are fewer than 8 channels."""
    return next(count for count in range(max(channels // 8, 1), 0, -1) if channels % count == 0)


NORMS = ("batch", "group", "instance", "layer", "none")


def check_norm(name: str) -> None:
    """Raise SettingError where there is no norm of this name."""
    if name not in NORMS:
        raise SettingError(f"norm is {name!r}; choose one of {', '.join(NORMS)}")
