"""Worlds to move in: rooms with a hidden goal, and points on a plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.control.worlds import Step, World
from kshot.errors import SettingError
from kshot.tasks.spaces import Actions

WAYS = torch.tensor([[-1, 0], [0, 1], [1, 0], [0, -1], [0, 0]])
"""Up, right, down, left, stay: rows and columns."""


def check_lives(horizon: int, lives: int) -> None:
    """Raise SettingError where a horizon cannot be cut into so many lives."""
    if lives < 1 or horizon % lives:
        raise SettingError(
            f"lives is {lives}, horizon {horizon}; the horizon is a multiple of lives, at least 1"
        )


def share_left(taken: Tensor, horizon: int, lives: int) -> Tensor:
    """Shares of the life and of all steps that are left, [n, 2], after steps taken [n, 1]."""
    length, now = horizon // lives, taken.to(torch.get_default_dtype())
    return torch.cat([1 - now % length / length, 1 - now / horizon], 1)


@dataclass(frozen=True)
class GoalRooms(World):
    """A square room with a goal that cannot be seen; standing on it pays 1 at every step, elsewhere `miss`.

    Moves are up, right, down, left and stay; walls stop them. Every `horizon / lives` steps one is put back to
    the corner (0, 0), while the goal stays. `dark_room()` and `small_grid()` give the two of the literature. What is
    seen is the place, one-hot by row and by column, and the shares of the life and of all steps that are left.

    >>> rng = torch.Generator().manual_seed(0)
    >>> room = dark_room()
    >>> hidden = room.hide(1, rng)
    >>> state = room.step(hidden, room.reset(hidden, rng), torch.tensor([1]), rng).state
    >>> state[0, :2].tolist()
    [0, 1]
    """

    size: int = 10
    horizon: int = 100
    lives: int = 1
    miss: float = 0.0
    near: int = 0
    name: ClassVar[str] = "goal room"

    def __post_init__(self) -> None:
        if self.size < 2 or self.horizon < 1:
            raise SettingError(f"size is {self.size}, horizon {self.horizon}; give at least 2 and 1")
        check_lives(self.horizon, self.lives)
        if not 0 <= self.near < self.size:
            raise SettingError(
                f"near is {self.near}; goals are kept out of a corner smaller than {self.size}"
            )

    @property
    def observations(self) -> int:
        return 2 * self.size + 2

    @property
    def actions(self) -> Actions:
        return Actions(len(WAYS))

    def limits(self) -> tuple[float, float]:
        return (0.0, 1.0)

    def goals(self) -> Tensor:
        """All cells where the goal may be, [cells, 2]."""
        cells = torch.cartesian_prod(torch.arange(self.size), torch.arange(self.size))
        return cells[(cells >= self.near).any(1)]

    def hide(self, count: int, generator: torch.Generator) -> Tensor:
        """Row and column of the goal, [count, 2]."""
        cells = self.goals()
        return cells[torch.randint(len(cells), (count,), generator=generator)]

    def reset(self, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """Row, column and steps taken, [n, 3]."""
        return torch.zeros(len(hidden), 3, dtype=torch.long)

    def observe(self, state: Tensor) -> Tensor:
        left = share_left(state[:, 2:], self.horizon, self.lives)
        place = F.one_hot(state[:, :2], self.size).flatten(1).to(left.dtype)
        return torch.cat([place, left], 1)

    def place(self, state: Tensor) -> Tensor:
        """The cell, row by row."""
        return state[:, 0] * self.size + state[:, 1]

    def told(self, hidden: Tensor, state: Tensor) -> Tensor:
        """The goal, one-hot by row and by column, and how far it is, [n, 2 * size + 2]."""
        goal = F.one_hot(hidden, self.size).flatten(1)
        away = (hidden - state[:, :2]) / self.size
        return torch.cat([goal.to(away.dtype), away], 1)

    def step(self, hidden: Tensor, state: Tensor, action: Tensor, generator: torch.Generator) -> Step:
        place = (state[:, :2] + WAYS[action]).clamp(0, self.size - 1)
        found = (place == hidden).all(1)
        reward = torch.where(found, 1.0, self.miss)
        taken = state[:, 2:] + 1
        back = taken % (self.horizon // self.lives) == 0
        return Step(torch.cat([torch.where(back, 0, place), taken], 1), reward, taken[:, 0] >= self.horizon)

    def expert(self, hidden: Tensor, state: Tensor) -> Tensor:
        """What one does who is told the goal: down or up first, then across, then stay, [n]."""
        down, across = (hidden - state[:, :2]).unbind(1)
        aside = torch.where(across > 0, 1, torch.where(across < 0, 3, 4))
        return torch.where(down > 0, 2, torch.where(down < 0, 0, aside))

    def teacher(self, hidden: Tensor) -> Tensor:
        """The walk of `best_seeking` until it finds the goal, and from then on straight there, [horizon, n]."""
        from kshot.control.seeking import best_seeking

        rng = torch.Generator()
        state, found = self.reset(hidden, rng), torch.zeros(len(hidden), dtype=torch.bool)
        actions = []
        for move in best_seeking(self).moves.tolist():
            actions.append(torch.where(found, self.expert(hidden, state), move))
            state, reward, _ = self.step(hidden, state, actions[-1], rng)
            found = found | (reward == 1)
        return torch.stack(actions)

    def optimum(self, hidden: Tensor) -> Tensor:
        """Return of an episode for one who is told the goal, [n]; for one who is not see `best_seeking`."""
        length = self.horizon // self.lives
        far = hidden.sum(1).clamp(min=1, max=length + 1)
        return self.lives * (self.miss * (far - 1) + length + 1 - far)


def dark_room() -> GoalRooms:
    """10 x 10 cells, 100 steps, 1 on the goal, else 0. Lee et al. (2023), "Supervised Pretraining Can Learn
    In-Context Reinforcement Learning"."""
    return GoalRooms(10, 100)


def small_grid() -> GoalRooms:
    """5 x 5 cells, 4 lives of 15 steps, 1 on the goal, else -0.1, no goal in the 2 x 2 corner of the start.

    Zintgraf et al. (2020), "VariBAD".
    """
    return GoalRooms(5, 60, 4, -0.1, 2)


@dataclass(frozen=True)
class PointGoals(World):
    """A point that is moved to a goal that it cannot see: 2D navigation of the MAML authors.

    Finn et al. (2017). Goals are uniform in [-0.5, 0.5]^2, the start is the origin, an action moves by at most 0.1
    along each axis, the reward is minus the distance (not squared), and an episode ends within 0.01 along both.

    >>> rng = torch.Generator().manual_seed(0)
    >>> world = PointGoals()
    >>> hidden = world.hide(4, rng)
    >>> world.step(hidden, world.reset(hidden, rng), torch.full((4, 2), 0.1), rng).state.shape
    torch.Size([4, 2])
    """

    horizon: int = 100
    name: ClassVar[str] = "2D navigation"

    @property
    def observations(self) -> int:
        return 2

    @property
    def actions(self) -> Actions:
        return Actions(2, continuous=True, low=-0.1, high=0.1)

    def hide(self, count: int, generator: torch.Generator) -> Tensor:
        """Goals, [count, 2]."""
        return torch.rand(count, 2, generator=generator) - 0.5

    def reset(self, hidden: Tensor, generator: torch.Generator) -> Tensor:
        return torch.zeros(len(hidden), 2)

    def observe(self, state: Tensor) -> Tensor:
        return state

    def step(self, hidden: Tensor, state: Tensor, action: Tensor, generator: torch.Generator) -> Step:
        place = state + action.clamp(-0.1, 0.1)
        away = place - hidden
        return Step(place, -away.norm(dim=1), (away.abs() < 0.01).all(1))

    def expert(self, hidden: Tensor, state: Tensor) -> Tensor:
        """What one does who knows the goal: straight there, each axis as fast as it may, [n, 2]."""
        return (hidden - state).clamp(-0.1, 0.1)

    def optimum(self, hidden: Tensor) -> Tensor:
        """Return of one who knows the goal and does as `expert` says, [n]."""
        state, total, going = torch.zeros_like(hidden), torch.zeros(len(hidden)), torch.ones(len(hidden))
        for _ in range(self.horizon):
            state, reward, done = self.step(hidden, state, self.expert(hidden, state), torch.Generator())
            total, going = total + going * reward, going * (~done).to(going.dtype)
        return total
