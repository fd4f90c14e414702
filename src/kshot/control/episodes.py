"""Episodes of many tasks side by side, and how much better than expected each step of them went."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kshot.control.advantages import advantages

DECAY = 0.95
"""Of generalised advantages. Schulman et al. (2016), "High-Dimensional Continuous Control Using GAE"."""


class Episodes(NamedTuple):
    """What was seen, done and earned, [..., steps, episodes, ...], and which steps still counted."""

    seen: Tensor
    actions: Tensor
    rewards: Tensor
    going: Tensor


def by_task(rows: Tensor, count: int) -> Tensor:
    """[steps, n * episodes, ...] as [n, steps, episodes, ...]."""
    return rows.reshape(rows.shape[0], count, -1, *rows.shape[2:]).movedim(1, 0)


def _fitted(lived: Episodes, to_go: Tensor) -> Tensor:
    """A baseline for each task: the return to go as a linear function of what is seen, its square, and time."""
    steps = to_go.shape[-2]
    time = (torch.arange(steps, dtype=to_go.dtype, device=to_go.device) / steps)[:, None].expand_as(to_go)
    columns = [lived.seen, lived.seen**2, torch.stack([time, time**2, time**3, torch.ones_like(time)], -1)]
    x = torch.cat(columns, -1).flatten(-3, -2).double()
    weighted = x * lived.going.flatten(-2).unsqueeze(-1)
    matrix = weighted.transpose(-1, -2) @ x + 1e-3 * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    right = weighted.transpose(-1, -2) @ to_go.flatten(-2).unsqueeze(-1).double()
    fitted: Tensor = (x @ torch.linalg.solve(matrix, right)).squeeze(-1).to(to_go)
    return fitted.reshape(to_go.shape)


@torch.no_grad()
def scaled_advantages(lived: Episodes, discount: float) -> Tensor:
    """Of each step, [..., steps, episodes], mean 0 and spread 1 within each task; 0 where nothing counted."""
    paid, going = lived.rewards, lived.going
    to_go = advantages(paid, torch.zeros_like(paid), going, decay=1.0, discount=discount)
    found = advantages(paid, _fitted(lived, to_go), going, decay=DECAY, discount=discount)
    count = lived.going.sum((-2, -1), keepdim=True).clamp(min=1)
    middle = found.sum((-2, -1), keepdim=True) / count
    spread = (((found - middle) * lived.going).square().sum((-2, -1), keepdim=True) / count).sqrt()
    return (found - middle) / (spread + 1e-6) * lived.going
