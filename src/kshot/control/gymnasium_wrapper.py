"""One task of a world as a gymnasium environment. Import it by way of `kshot.control.gymnasium_env(world)`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from kshot.control.worlds import World, as_action
from kshot.errors import DataError
from kshot.seeds import generator
from kshot.tasks.spaces import Actions


class GymnasiumEnv(gymnasium.Env[np.ndarray, Any]):
    """A copy of a world, step for step the same as the world itself with the same generator.

    `reset(seed=...)` draws a task and starts an episode; `reset()` starts another episode of a new task, and of the
    same one after `keep_task()`, as an agent needs that learns about one task over several episodes.
    """

    def __init__(self, world: World, hidden: Tensor | None = None) -> None:
        low, high = world.limits()
        self.world = world
        self.observation_space = gymnasium.spaces.Box(low, high, (world.observations,), np.float32)
        self.action_space = _space(world.actions)
        self.fixed = hidden
        self.hidden: Tensor | None = None
        self.rng: torch.Generator | None = None
        self.state: Tensor | None = None
        self.taken = 0

    def keep_task(self, hidden: Tensor | None = None) -> None:
        """From now on every reset is of this task: the hidden numbers given, or those of the running episode.

        Raises:
            DataError: nothing was given, and no episode has been started.
        """
        chosen = self.hidden if hidden is None else hidden
        if chosen is None:
            raise DataError(f"task is {chosen}; give hidden numbers, or call reset() first")
        self.fixed = chosen

    def new_task(self) -> None:
        """From now on every reset draws a task."""
        self.fixed = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        if seed is not None or self.rng is None:
            self.rng = generator(int(self.np_random.integers(2**62)) if seed is None else seed, "gymnasium")
        self.hidden = self.world.hide(1, self.rng)[0] if self.fixed is None else self.fixed
        self.state, self.taken = self.world.reset(self.hidden[None], self.rng), 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Act. An episode that reaches the world's horizon is truncated, one that ends before is terminated.

        Raises:
            DataError: no action of this space, or no episode has been started.
        """
        if self.state is None or self.hidden is None or self.rng is None:
            raise DataError(f"step({action!r}) came before reset(); call reset() first")
        chosen = as_action(action, self.world.actions)
        self.state, reward, done = self.world.step(self.hidden[None], self.state, chosen, self.rng)
        self.taken += 1
        over = self.taken >= self.world.horizon
        return self._seen(), float(reward), bool(done) and not over, over, {}

    def _seen(self) -> np.ndarray:
        assert self.state is not None
        return self.world.observe(self.state)[0].numpy().astype(np.float32)


def _space(actions: Actions) -> gymnasium.Space[Any]:
    if actions.continuous:
        return gymnasium.spaces.Box(actions.low, actions.high, (actions.count,), np.float32)
    return gymnasium.spaces.Discrete(actions.count)
