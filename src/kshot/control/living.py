"""Lives of robots: many of them controlled at once, in step, and what they went through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from kshot.control.checked_steps import check_observation
from kshot.control.robots import Life, Robots, robot_env


class Acting(Protocol):
    """Whoever controls robots: a `Controller`, or your own."""

    def act(self, seen: Tensor) -> Tensor:
        """Actions [robots, joints] for observations."""
        ...

    def observe(self, seen: Tensor, action: Tensor, after: Tensor) -> None:
        """Learn from what happened."""
        ...


@dataclass(frozen=True)
class Lived:
    """What n robots went through.

    Attributes:
        seen: observations, [n, steps + 1, observations]. actions: [n, steps, joints]. rewards: [n, steps].
    """

    seen: Tensor
    actions: Tensor
    rewards: Tensor


class Shaking:
    """Random actions that are correlated in time, of a size that differs from robot to robot; learns nothing."""

    def __init__(self, robots: int, joints: int, generator: torch.Generator, smooth: float = 0.7) -> None:
        self.rng, self.smooth = generator, smooth
        self.now = torch.zeros(robots, joints)
        self.size = 0.3 + 0.7 * torch.rand(robots, 1, generator=generator)

    def act(self, seen: Tensor) -> Tensor:
        """Actions [robots, joints]."""
        noise = torch.randn(self.now.shape, generator=self.rng)
        self.now = self.smooth * self.now + (1 - self.smooth**2) ** 0.5 * noise
        return (self.size * self.now).clamp(-1, 1)

    def observe(self, seen: Tensor, action: Tensor, after: Tensor) -> None:
        """Nothing is to be learned."""


class Handover:
    """One controller drives, and from some step on another goes on, with the plan that it finds.

    Controllers that take over from the same one, with the same seed, start from the same state of the same robots to the last bit:
    what they earn from there on can be compared pair by pair.

    Args:
        first, then: the two; both learn from everything. at: the step.
    """

    def __init__(self, first: Acting, then: Acting, at: int) -> None:
        self.first, self.then, self.at, self.taken = first, then, at, 0

    def act(self, seen: Tensor) -> Tensor:
        """Actions [robots, joints]."""
        if self.taken < self.at:
            return self.first.act(seen)
        plan = getattr(self.first, "plan", None)
        if self.taken == self.at and plan is not None and hasattr(self.then, "plan"):
            self.then.plan = plan.clone()
        return self.then.act(seen)

    def observe(self, seen: Tensor, action: Tensor, after: Tensor) -> None:
        """Both learn."""
        self.taken += 1
        self.first.observe(seen, action, after)
        self.then.observe(seen, action, after)


def live(
    family: Robots, lives: Sequence[Life], acting: Acting, *, steps: int | None = None,
    at_step: Callable[[int, list[Any]], None] | None = None, noise: float = 0.0,
    generator: torch.Generator | None = None,
) -> Lived:  # fmt: skip
    """Let robots live side by side.

    Args:
        lives: one for each robot. acting: who controls them all. steps: None: a whole episode.
        at_step: called before each step with the step and the environments, to tell an oracle or to film.
        noise: standard deviation of what is added to actions, to see more; generator: for it.

    Raises:
        DataError: an observation that is no row of finite numbers, or an action outside -1..1.
    """
    envs = [robot_env(family, life) for life in lives]
    size = family.body.observations
    now = torch.stack([check_observation(env.reset()[0], size, "reset") for env in envs])
    seen, actions, rewards = [now], [], []
    for step in range(steps or family.steps):
        if at_step is not None:
            at_step(step, envs)
        action = acting.act(now)
        if noise and generator is not None:
            action = (action + noise * torch.randn(action.shape, generator=generator)).clamp(-1, 1)
        results = [env.step(row) for env, row in zip(envs, action.numpy(), strict=True)]
        after = torch.stack([check_observation(found[0], size, f"step {step}") for found in results])
        acting.observe(now, action, after)
        seen.append(after)
        actions.append(action)
        rewards.append(torch.tensor([found[1] for found in results], dtype=torch.float32))
        now = after
    for env in envs:
        env.close()
    return Lived(torch.stack(seen, 1), torch.stack(actions, 1), torch.stack(rewards, 1))
