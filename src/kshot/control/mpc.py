"""Model-predictive control: try many plans in a model of the robot, do the first step of the best, plan again.

CEM: de Boer et al. (2005), "A Tutorial on the Cross-Entropy Method"; MPPI: Williams et al. (2017), "Information
Theoretic MPC for Model-Based Reinforcement Learning". Both keep last step's plan, shifted by one, and draw noise that
is correlated in time, without which legs only tremble (Pinneri et al. 2020, "Sample-efficient Cross-Entropy Method").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from kshot.encoders.sizes import whole
from kshot.errors import SettingError

Advance = Callable[[Tensor, Tensor], Tensor]
"""Observations [robots, plans, observations] and actions [robots, plans, actions] to observations after them."""

Reward = Callable[[Tensor, Tensor], Tensor]
"""Actions [robots, plans, actions] and observations after them to rewards [robots, plans]."""

WAYS = ("mppi", "cem")


@dataclass(frozen=True)
class MPC:
    """How to plan. Actions lie in -1..1.

    Attributes:
        way: "mppi" (plans weighed by their return) or "cem" (the best ones refit mean and spread).
        plans: tried at each round. horizon: steps of a plan. rounds: of trying at each step.
        spread: standard deviation of the noise. smooth: its correlation from one step to the next, 0 to under 1.
        temperature: of MPPI, in standard deviations of the plans' returns. elites: of CEM, a share of the plans.

    Raises:
        SettingError: a setting outside its range.

    >>> mpc = MPC(plans=64, horizon=4)
    >>> push = lambda seen, action: seen + action  # a point that is pushed towards 1
    >>> near = lambda action, after: -(after[..., 0] - 1).abs()
    >>> plan = mpc.plan(push, near, torch.zeros(1, 1), mpc.start(1, 1), torch.Generator().manual_seed(0))
    >>> bool(plan[0, 0, 0] > 0.3)
    True
    """

    way: str = "mppi"
    plans: int = 128
    horizon: int = 15
    rounds: int = 1
    spread: float = 0.5
    smooth: float = 0.6
    temperature: float = 0.3
    elites: float = 0.1

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise SettingError(f"way is {self.way!r}; choose one of {', '.join(WAYS)}")
        for name in ("plans", "horizon", "rounds"):
            whole(name, getattr(self, name), 2 if name == "plans" else 1)
        if not (self.spread > 0 and self.temperature > 0 and 0 <= self.smooth < 1 and 0 < self.elites <= 1):
            raise SettingError(
                f"spread is {self.spread}, temperature {self.temperature}, smooth {self.smooth}, elites {self.elites}; "
                "spread and temperature are above 0, smooth lies in 0..1 without 1, elites in 0..1 without 0"
            )

    def start(self, robots: int, actions: int) -> Tensor:
        """A plan of doing nothing, [robots, horizon, actions]."""
        return torch.zeros(robots, self.horizon, actions)

    def plan(
        self, advance: Advance, reward: Reward, seen: Tensor, before: Tensor, generator: torch.Generator
    ) -> Tensor:
        """A better plan for each robot, [robots, horizon, actions].

        Args:
            seen: observations, [robots, observations]. before: the plan to start from, as `shifted` gives it.
        """
        return self.improved(lambda tried: self.worth(advance, reward, seen, tried), before, generator)

    def improved(
        self, worth: Callable[[Tensor], Tensor], before: Tensor, generator: torch.Generator
    ) -> Tensor:
        """As `plan`, where `worth` says what plans [robots, plans, horizon, actions] return, [robots, plans]."""
        mean, spread = before, torch.full_like(before, self.spread)
        for _ in range(self.rounds):
            tried = self._tried(mean, spread, generator)
            found = torch.nan_to_num(worth(tried), nan=-1e9, posinf=-1e9, neginf=-1e9)
            if self.way == "mppi":
                mean = self._weighed(tried, found)
            else:
                mean, spread = self._refit(tried, found)
        return mean

    def worth(self, advance: Advance, reward: Reward, seen: Tensor, tried: Tensor) -> Tensor:
        """The return of plans [robots, plans, horizon, actions] in the model, [robots, plans]."""
        now = seen.unsqueeze(1).expand(-1, tried.shape[1], -1)
        total = seen.new_zeros(tried.shape[:2])
        for action in tried.unbind(2):
            now = advance(now, action)
            total = total + reward(action, now)
        return total

    def followed(self, advance: Advance, seen: Tensor, tried: Tensor) -> Tensor:
        """Observations after each step of plans in the model, [robots, plans, horizon, observations], for rewards that
        can be told of all steps at once."""
        now, met = seen.unsqueeze(1).expand(-1, tried.shape[1], -1), []
        for action in tried.unbind(2):
            now = advance(now, action)
            met.append(now)
        return torch.stack(met, 2)

    def around(self, plan: Tensor, generator: torch.Generator) -> Tensor:
        """Plans such as are tried next where these are in mind, [robots, plans, horizon, actions]."""
        return self._tried(plan, torch.full_like(plan, self.spread), generator)

    def _tried(self, mean: Tensor, spread: Tensor, rng: torch.Generator) -> Tensor:
        """Plans around the mean, the first of them the mean itself, [robots, plans, horizon, actions]."""
        robots, horizon, actions = mean.shape
        # drawn where the generator is, so that plans do not hang on where they are computed
        noise = torch.randn(robots, self.plans, horizon, actions, generator=rng).to(mean.device)
        noise = _correlation(horizon, self.smooth).to(mean.device) @ noise
        noise[:, 0] = 0
        return (mean.unsqueeze(1) + spread.unsqueeze(1) * noise).clamp(-1, 1)

    def _weighed(self, tried: Tensor, worth: Tensor) -> Tensor:
        scale = self.temperature * worth.std(1, keepdim=True).clamp(min=1e-6)
        share = ((worth - worth.amax(1, keepdim=True)) / scale).softmax(1)
        # shares sum to 1 up to rounding, and a limit of the motors is a limit
        return torch.einsum("rp,rpha->rha", share, tried).clamp(-1, 1)

    def _refit(self, tried: Tensor, worth: Tensor) -> tuple[Tensor, Tensor]:
        best = worth.topk(max(2, round(self.elites * self.plans)), dim=1).indices
        elite = tried.gather(1, best[..., None, None].expand(-1, -1, *tried.shape[2:]))
        return elite.mean(1), elite.std(1).clamp(min=0.05)

    def shifted(self, plan: Tensor) -> Tensor:
        """The plan once its first step is done: what is left, and its last step again."""
        return torch.cat([plan[:, 1:], plan[:, -1:]], 1)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _correlation(horizon: int, smooth: float) -> Tensor:
    """What makes noise of n steps that is correlated out of noise that is not, [n, n]: each step keeps `smooth` of the
    last, and takes as much of its own as leaves the deviation as it was."""
    steps = torch.arange(horizon, dtype=torch.float64)
    kept = torch.tril(smooth ** (steps[:, None] - steps).clamp(min=0))
    kept[:, 1:] *= math.sqrt(1 - smooth**2)
    return kept.float()
