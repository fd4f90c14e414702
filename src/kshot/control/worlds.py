"""Worlds: families of environments that step many copies at once, as tensors.

A world is a set of pure functions; what is going on is in the tensors that they take and give. Each copy has its
own hidden numbers (the chances of the arms, the place of the goal): these make one task out of a family of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from kshot.errors import DataError, TaskError, UnsupportedError, need
from kshot.tasks import Examples, InteractiveTask, Policy
from kshot.tasks.spaces import Actions, OutputSpace

if TYPE_CHECKING:
    from jaxtyping import Float


class Step(NamedTuple):
    """What a step of n copies gives: the new state [n, ...], rewards [n], and which copies ended, [n]."""

    state: Tensor
    reward: Tensor
    done: Tensor


class World(ABC):
    """A family of tasks to act in; a `TaskSource`. Values are immutable: write one as a frozen dataclass."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def observations(self) -> int:
        """Numbers that are seen of a state."""

    @property
    @abstractmethod
    def horizon(self) -> int:
        """Steps of an episode."""

    @property
    @abstractmethod
    def actions(self) -> Actions:
        """What can be done."""

    @property
    def answers(self) -> OutputSpace:
        """What a learner that adapts to steps of a task answers with; by default actions."""
        return self.actions

    @abstractmethod
    def hide(self, count: int, generator: torch.Generator) -> Tensor:
        """The hidden numbers of `count` tasks, [count, ...]."""

    @abstractmethod
    def reset(self, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """States at the start of an episode, [n, ...]."""

    @abstractmethod
    def observe(self, state: Tensor) -> Float[Tensor, "n observations"]:
        """What is seen of states."""

    @abstractmethod
    def step(self, hidden: Tensor, state: Tensor, action: Tensor, generator: torch.Generator) -> Step:
        """Act in each copy; `action` is [n] whole numbers, or [n, count] real ones."""

    def told(self, hidden: Tensor, state: Tensor) -> Tensor:
        """What a critic is told in training, and nobody afterwards, [n, ...]: by default the hidden numbers."""
        return hidden.flatten(1)

    def expert(self, hidden: Tensor, state: Tensor) -> Tensor:
        """What one does who knows the hidden numbers, to be imitated: actions [n, ...].

        Raises:
            UnsupportedError: the world has no expert.
        """
        raise UnsupportedError(f"{self.name} has no expert(); give demonstrations of your own")

    def teacher(self, hidden: Tensor) -> Tensor:
        """The actions of one who does not know the hidden numbers and does the best that is possible, [horizon, n].

        Raises:
            UnsupportedError: nobody has computed it for this world.
        """
        raise UnsupportedError(
            f"{self.name} has no teacher(); the best that is possible was not computed for it"
        )

    def place(self, state: Tensor) -> Tensor | None:
        """The number of the place that each copy is at, [n], where places can be counted; None: they cannot."""
        return None

    def limits(self) -> tuple[float, float]:
        """Least and largest number of an observation."""
        return (float("-inf"), float("inf"))

    def sample(self, generator: torch.Generator) -> WorldTask:
        """One task."""
        return self.sample_batch(1, generator)[0]

    def sample_batch(self, count: int, generator: torch.Generator) -> list[WorldTask]:
        """`count` tasks from one draw."""
        return [
            WorldTask(self.answers, name=self.name, world=self, hidden=row)
            for row in self.hide(count, generator)
        ]


@dataclass(frozen=True, eq=False)
class WorldTask(InteractiveTask):
    """One task of a world.

    An example is a step. Where a learner answers with actions, the input is the number of the step, the reward that
    the action earned, and what was seen, [2 + observations], the target the action. Where it answers with numbers
    (`Bandits`), the input is what was seen and the action, one-hot, the target the reward.
    A policy takes the observation [1, observations] and gives an action; None acts at random.
    """

    world: World = field(kw_only=True)
    hidden: Tensor = field(kw_only=True)

    def collect(self, policy: Policy | None, generator: torch.Generator) -> Examples:
        """The steps of one episode."""
        steps = self._episode(policy, generator)
        if isinstance(self.space, Actions):
            times = range(len(steps))
            rows = [step_input(time, paid, seen) for time, (seen, _, paid) in zip(times, steps, strict=True)]
            return Examples(torch.cat(rows), torch.cat([action for _, action, _ in steps]))
        inputs = [torch.cat([seen, one_hot(action, self.world.actions)], 1) for seen, action, _ in steps]
        return Examples(torch.cat(inputs), torch.cat([reward for *_, reward in steps]).unsqueeze(1))

    def score(self, policy: Policy, generator: torch.Generator) -> float:
        """The return of one episode: the sum of its rewards."""
        return float(sum(reward for *_, reward in self._episode(policy, generator)))

    def _episode(self, policy: Policy | None, rng: torch.Generator) -> list[tuple[Tensor, Tensor, Tensor]]:
        world, hidden = self.world, self.hidden.unsqueeze(0)
        state, steps = world.reset(hidden, rng), []
        for _ in range(world.horizon):
            seen = world.observe(state)
            action = (
                random_actions(world, 1, rng) if policy is None else as_action(policy(seen), world.actions)
            )
            state, reward, done = world.step(hidden, state, action, rng)
            if not bool(torch.isfinite(reward).all()):
                raise TaskError(f"{world.name} gave the reward {reward.tolist()}; rewards are finite numbers")
            steps.append((seen, action, reward))
            if bool(done):
                break
        return steps


def step_input(time: int | Tensor, paid: Tensor, seen: Tensor) -> Tensor:
    """The input of steps, [n, 2 + observations]: number of the step, what the action earned [n], what was seen.

    With the number inside, examples may be given in any order.
    """
    when = torch.as_tensor(time, dtype=seen.dtype).expand(len(seen))
    return torch.cat([when[:, None], paid.to(seen.dtype)[:, None], seen], 1)


def random_actions(world: World, count: int, generator: torch.Generator) -> Tensor:
    """Actions drawn evenly: [count], or [count, numbers] within the limits."""
    space = world.actions
    if not space.continuous:
        return torch.randint(space.count, (count,), generator=generator)
    return space.low + (space.high - space.low) * torch.rand(count, space.count, generator=generator)


def as_action(given: Any, space: Actions) -> Tensor:
    """One action as a tensor: [1], or [1, count].

    Raises:
        DataError: it is none of the space, or NaN, or outside of its limits.
    """
    try:
        value = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"the policy gave {given!r}; an action is a number or an array of numbers") from None
    value = value.reshape(1, -1) if space.continuous else value.reshape(-1)
    found = space.encode(value)
    if len(found) != 1:
        raise DataError(f"the policy gave {len(found)} actions for one observation; give one")
    if space.continuous and not bool(((found >= space.low) & (found <= space.high)).all()):
        raise DataError(
            f"the policy gave {found[0].tolist()}; each number of an action lies in {space.low}..{space.high}"
        )
    return found


def one_hot(action: Tensor, space: Actions) -> Tensor:
    """Actions as numbers: one-hot, or as they are, [n, count]."""
    if space.continuous:
        return action
    return torch.nn.functional.one_hot(action, space.count).to(torch.get_default_dtype())


def one_world(tasks: Sequence[InteractiveTask], space: Actions, observations: int) -> tuple[World, Tensor]:
    """The world that all tasks are of, and their hidden numbers [n, ...].

    Raises:
        UnsupportedError: tasks of several worlds, or of one with other actions or observations.
    """
    first = tasks[0]
    for task in tasks:
        if not isinstance(task, WorldTask) or task.world != cast(WorldTask, first).world:
            raise UnsupportedError(
                f"task {task.name!r} is not of the world of {first.name!r}; play one at a time"
            )
        if task.space != space or task.world.observations != observations:
            raise UnsupportedError(
                f"task {task.name!r} shows {task.world.observations} numbers and wants {task.space}; this policy sees "
                f"{observations} and acts in {space}: make one for the world"
            )
    return cast(WorldTask, first).world, torch.stack([cast(WorldTask, task).hidden for task in tasks])


def gymnasium_env(world: World, hidden: Tensor | None = None) -> Any:
    """A world as a `gymnasium.Env`; `hidden` are the numbers of the one task to be in, None: a new one each reset.

    Raises:
        MissingExtraError: gymnasium is not installed.

    >>> from kshot.control import Bandits
    >>> env = gymnasium_env(Bandits(arms=3, pulls=2))
    >>> env.reset(seed=0)[0].tolist(), env.step(1)[3], env.step(1)[3]
    ([1.0], False, True)
    """
    need("gymnasium", "control")
    from kshot.control.gymnasium_wrapper import GymnasiumEnv

    return GymnasiumEnv(world, hidden)
