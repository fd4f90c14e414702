"""Posterior sampling for tabular decision processes: the rule of the textbooks that learned policies are set beside.

Strens (2000), "A Bayesian framework for reinforcement learning"; Osband, Russo and Van Roy (2013), "(More) efficient
reinforcement learning via posterior sampling", who named it PSRL: at the start of each life draw a process from what
is believed, and act in it as if it were true.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kshot.control.processes import TabularMDPs


def psrl(world: TabularMDPs, hidden: Tensor, generator: torch.Generator) -> Tensor:
    """The return of an episode of all lives in each process, [n], by one who knows the prior of `TabularMDPs`.

    Args:
        hidden: the processes, as `world.hide` draws them, [n, states, choices, 1 + states].

    >>> rng = torch.Generator().manual_seed(0)
    >>> world = TabularMDPs(states=3, choices=2, horizon=20, lives=5)
    >>> psrl(world, world.hide(4, rng), rng).shape
    torch.Size([4])
    """
    count, states, choices = hidden.shape[:3]
    rows, length = torch.arange(count), world.horizon // world.lives
    visits, paid = torch.zeros(count, states, choices, states), torch.zeros(count, states, choices)
    pulls = torch.zeros_like(paid)
    state, total = world.reset(hidden, generator), torch.zeros(count)
    for taken in range(world.horizon):
        if taken % length == 0:
            plan = world.plan(_drawn(visits, pulls, paid, generator))
        here = state[:, 0]
        action = plan.choices[rows, length - 1 - taken % length, here]
        state, reward, _ = world.step(hidden, state, action, generator)
        pulls[rows, here, action] += 1
        paid[rows, here, action] += reward
        if (taken + 1) % length:  # where a life ends one is put back, and where the step led is not seen
            visits[rows, here, action, state[:, 0]] += 1
        total += reward
    return total


def _drawn(visits: Tensor, pulls: Tensor, paid: Tensor, rng: torch.Generator) -> Tensor:
    """Processes drawn from the posterior: mean rewards N((1 + sum) / (1 + n), 1 / (1 + n)), chances Dirichlet."""
    spread = torch.randn(pulls.shape, generator=rng) / (1 + pulls).sqrt()
    draws = torch._standard_gamma(1 + visits, rng)
    chances = draws / draws.sum(-1, keepdim=True)
    return torch.cat([((1 + paid) / (1 + pulls) + spread).unsqueeze(-1), chances], -1)
