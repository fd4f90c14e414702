"""Demonstrations of tasks of a world: to learn how to do from being shown once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kshot.control.worlds import World, random_actions, step_input
from kshot.errors import SettingError
from kshot.tasks import Examples, Task


@dataclass(frozen=True)
class Demonstrations:
    """A task is one of a world: its support an episode of the world's expert, its query another.

    In the query it is now and then led astray by an action at random, and every step tells what the expert would do there:
    so one learns to come back, too. Laskey et al. (2017), "DART: noise injection for robust imitation learning".

    Args:
        world: with an `expert`. astray: share of the query's steps at which chance acts.

    Raises:
        SettingError: `astray` is no share. UnsupportedError: the world has no expert.

    >>> from kshot.control import PointGoals
    >>> task = Demonstrations(PointGoals(horizon=5)).sample(torch.Generator().manual_seed(0))
    >>> task.support.inputs.shape[1], task.support.targets.shape[1]
    (4, 2)
    """

    world: World
    astray: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.astray <= 1:
            raise SettingError(f"astray is {self.astray}; it is a share of the steps, in 0..1")

    def sample(self, generator: torch.Generator) -> Task:
        """One task, shown twice."""
        hidden = self.world.hide(1, generator)[0]
        support, query = (self.episode(hidden, astray, generator) for astray in (0.0, self.astray))
        return Task(self.world.actions, support, query, name=self.world.name)

    def episode(self, hidden: Tensor, astray: float, generator: torch.Generator) -> Examples:
        """The steps of an episode with the expert's actions, in the task of these hidden numbers."""
        world, own, rows, acts = self.world, hidden[None], [], []
        state = world.reset(own, generator)
        for time in range(world.horizon):
            action, seen = world.expert(own, state), world.observe(state)
            lost = bool(torch.rand((), generator=generator) < astray)
            done = random_actions(world, 1, generator) if lost else action
            state, paid, over = world.step(own, state, done, generator)
            rows.append(step_input(time, paid, seen))
            acts.append(action)
            if bool(over):
                break
        return Examples(torch.cat(rows), torch.cat(acts))
