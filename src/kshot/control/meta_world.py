"""Tasks of Meta-World: a demonstration by its scripted expert, in a scene whose goal cannot be seen.

Yu et al. (2020), "Meta-World: A Benchmark and Evaluation for Multi-Task and Meta Reinforcement Learning". It installs another
MuJoCo than `kshot[mujoco]`, so it needs an environment of its own: pip install 'kshot[metaworld]'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.encoders.sizes import whole
from kshot.errors import DataError, SettingError, TaskError, need
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Numbers

SPLITS = ("train", "test")
GOAL = slice(36, 39)
"""Of an observation: where the goal is. Benchmarks for meta-learning show zeros there."""

ACTIONS = 4
"""Numbers of an action: where the hand is moved, and the gripper; each in -1..1."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """Scenes of a Meta-World benchmark, each with a goal of its own.

    Args:
        benchmark: such as `metaworld.ML1("reach-v3", seed=0)`. split: "train" or "test".
        steps: of an episode at most.

    Raises:
        DataError: no such benchmark. SettingError: another split, or no steps.
        MissingExtraError: Meta-World is not installed.

    >>> import metaworld  # doctest: +SKIP
    >>> scenes = Scenes(metaworld.ML1("reach-v3", seed=0))  # doctest: +SKIP
    >>> scenes.shown(0, torch.Generator().manual_seed(0)).inputs.shape[1]  # doctest: +SKIP
    39
    """

    benchmark: Any
    split: str = "train"
    steps: int = 150

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise SettingError(f"split is {self.split!r}; choose one of {', '.join(SPLITS)}")
        whole("steps", self.steps)
        if not all(hasattr(self.benchmark, f"{self.split}_{part}") for part in ("classes", "tasks")):
            raise DataError(
                f"benchmark is {type(self.benchmark).__name__}; give one of Meta-World, such as metaworld.ML1('reach-v3')"
            )
        need("metaworld", "metaworld")

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def _tasks(self) -> Sequence[Any]:
        found: Sequence[Any] = getattr(self.benchmark, f"{self.split}_tasks")
        return found

    def scene(self, place: int) -> Any:
        """One of Meta-World's own environments, set to a task.

        Raises:
            TaskError: there are not so many.
        """
        if not 0 <= place < len(self):
            raise TaskError(f"scene {place} was asked for; {self.split} has 0 to {len(self) - 1}")
        task = self._tasks[place]
        made = getattr(self.benchmark, f"{self.split}_classes")[task.env_name]()
        made.set_task(task)
        return made

    def expert(self, place: int) -> Any:
        """Meta-World's scripted policy for a scene."""
        policies: Any = need("metaworld.policies", "metaworld")
        return policies.ENV_POLICY_MAP[self._tasks[place].env_name]()

    def shown(self, place: int, generator: torch.Generator, astray: float = 0.0) -> Examples:
        """Steps of an episode with what the expert does in each: observations [n, 39] and actions [n, 4].

        Args:
            astray: share of the steps at which chance acts in its place, so that coming back is shown, too (DART).
        """
        scene, expert, rows, acts = self.scene(place), self.expert(place), [], []
        seen, _ = scene.reset()
        for _ in range(self.steps):
            told = np.array(seen)
            told[GOAL] = scene._target_pos  # the expert sees what is hidden
            action = np.clip(expert.get_action(told), -1, 1)
            rows.append(torch.as_tensor(np.array(seen), dtype=torch.float32))
            acts.append(torch.as_tensor(action, dtype=torch.float32))
            lost = float(torch.rand((), generator=generator)) < astray
            chance = (2 * torch.rand(ACTIONS, generator=generator) - 1).double().numpy()
            seen, _, _, cut, info = scene.step(chance if lost else action)
            if cut or (info["success"] and not astray):
                break
        return Examples(torch.stack(rows), torch.stack(acts))

    def succeeds(self, place: int, policy: Callable[[Tensor], Tensor]) -> bool:
        """Does a policy, from an observation [39] to an action [4], reach the goal within the steps of an episode?

        Raises:
            DataError: an action of another shape, or NaN.
        """
        scene = self.scene(place)
        seen, _ = scene.reset()
        for step in range(self.steps):
            action = policy(torch.as_tensor(np.array(seen), dtype=torch.float32)).numpy(force=True)
            if action.shape != (ACTIONS,) or not np.isfinite(action).all():
                raise DataError(f"step {step}: the action is {action!r}; give {ACTIONS} finite numbers")
            seen, _, _, cut, info = scene.step(np.clip(action, -1, 1).astype(np.float64))
            if info["success"]:
                return True
            if cut:
                break
        return False


@dataclass(frozen=True, eq=False)
class Shown:
    """Demonstrations that were recorded, as a `TaskSource`: a task is a scene, its support steps of one episode by the
    expert, its query steps of another one that was led astray.

    Args:
        straight, astray: episodes of each scene. shots, queries: steps of each, drawn with replacement.

    Raises:
        TaskError: no scene, or not as many of both.
    """

    straight: Sequence[Examples]
    astray: Sequence[Examples]
    shots: int = 48
    queries: int = 64

    def __post_init__(self) -> None:
        if not self.straight or len(self.straight) != len(self.astray):
            raise TaskError(
                f"{len(self.straight)} straight and {len(self.astray)} led astray were given; give one of each for a scene"
            )

    @classmethod
    def record(
        cls, scenes: Scenes, generator: torch.Generator, astray: float = 0.3, **settings: Any
    ) -> Shown:
        """Let the expert show every scene twice."""
        both = [
            [scenes.shown(place, generator, share) for place in range(len(scenes))] for share in (0.0, astray)
        ]
        return cls(both[0], both[1], **settings)

    def __add__(self, other: Shown) -> Shown:
        return Shown(
            [*self.straight, *other.straight], [*self.astray, *other.astray], self.shots, self.queries
        )

    def sample(self, generator: torch.Generator) -> Task:
        """One scene."""
        place = int(torch.randint(len(self.straight), (), generator=generator))
        support, query = (
            episode.take(torch.randint(len(episode), (count,), generator=generator).tolist())
            for episode, count in ((self.straight[place], self.shots), (self.astray[place], self.queries))
        )
        return Task(Numbers(ACTIONS), support, query, name="scene")
