"""Random tabular decision processes, as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.control.places import check_lives, share_left
from kshot.control.worlds import Step, World
from kshot.errors import SettingError
from kshot.tasks.spaces import Actions


class Plan(NamedTuple):
    """Values [n, 1 + length, states] by steps left of a life, and choices [n, length, states] by steps left after."""

    values: Tensor
    choices: Tensor


@dataclass(frozen=True)
class TabularMDPs(World):
    """Random decision processes of RL^2: rewards N(m, 1) with m ~ N(1, 1), transitions Dirichlet(1), start in state 0.

    Duan et al. (2016). Every `horizon / lives` steps one is put back to state 0, in the same process. What is seen is
    the state, one-hot, and the shares of the life and of all steps that are left.

    >>> rng = torch.Generator().manual_seed(0)
    >>> world = TabularMDPs(states=3, choices=2, horizon=4)
    >>> hidden = world.hide(2, rng)
    >>> world.observe(world.reset(hidden, rng)).shape, world.optimum(hidden).shape
    (torch.Size([2, 5]), torch.Size([2]))
    """

    states: int = 10
    choices: int = 5
    horizon: int = 10
    lives: int = 1
    name: ClassVar[str] = "tabular MDP"

    def __post_init__(self) -> None:
        if self.states < 2 or self.choices < 2 or self.horizon < 1:
            raise SettingError(
                f"states is {self.states}, choices {self.choices}, horizon {self.horizon}; give at least 2, 2 and 1"
            )
        check_lives(self.horizon, self.lives)

    @property
    def observations(self) -> int:
        return self.states + 2

    @property
    def actions(self) -> Actions:
        return Actions(self.choices)

    def limits(self) -> tuple[float, float]:
        return (0.0, 1.0)

    def hide(self, count: int, generator: torch.Generator) -> Tensor:
        """Mean rewards and chances to get to each state, [count, states, choices, 1 + states]."""
        shape = (count, self.states, self.choices)
        mean = 1 + torch.randn(*shape, 1, generator=generator)
        # Dirichlet(1) is exponentials over their sum
        draws = -torch.rand(*shape, self.states, generator=generator).clamp(min=1e-12).log()
        return torch.cat([mean, draws / draws.sum(-1, keepdim=True)], -1)

    def reset(self, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """State and steps taken, [n, 2]."""
        return torch.zeros(len(hidden), 2, dtype=torch.long)

    def observe(self, state: Tensor) -> Tensor:
        left = share_left(state[:, 1:], self.horizon, self.lives)
        return torch.cat([F.one_hot(state[:, 0], self.states).to(left.dtype), left], 1)

    def step(self, hidden: Tensor, state: Tensor, action: Tensor, generator: torch.Generator) -> Step:
        row = hidden[torch.arange(len(hidden)), state[:, 0], action]
        reward = row[:, 0] + torch.randn(len(row), generator=generator)
        to = torch.multinomial(row[:, 1:], 1, generator=generator)
        taken = state[:, 1:] + 1
        back = taken % (self.horizon // self.lives) == 0
        return Step(torch.cat([torch.where(back, 0, to), taken], 1), reward, taken[:, 0] >= self.horizon)

    def place(self, state: Tensor) -> Tensor:
        """The state's number."""
        return state[:, 0]

    def told(self, hidden: Tensor, state: Tensor) -> Tensor:
        """What is still to come for one who knows all, in this life and after it, [n, 2]; mean over steps."""
        length = self.horizon // self.lives
        plans = self.plan(hidden)
        left = length - state[:, 1] % length
        here = plans.values[torch.arange(len(hidden)), left, state[:, 0]]
        later = plans.values[:, length, 0]
        return torch.stack([here / length, later / length], 1)

    def expert(self, hidden: Tensor, state: Tensor) -> Tensor:
        """What one does who knows the hidden numbers, [n]."""
        length = self.horizon // self.lives
        left = length - state[:, 1] % length
        return self.plan(hidden).choices[torch.arange(len(hidden)), left - 1, state[:, 0]]

    def plan(self, hidden: Tensor) -> Plan:
        """What a life is worth and what to do in it, for one who knows the hidden numbers: backward induction."""
        value = torch.zeros(hidden.shape[:2], dtype=hidden.dtype)
        values, choices = [value], []
        for _ in range(self.horizon // self.lives):
            value, choice = (hidden[..., 0] + (hidden[..., 1:] @ value[:, None, :, None])[..., 0]).max(2)
            values.append(value)
            choices.append(choice)
        return Plan(torch.stack(values, 1), torch.stack(choices, 1))

    def optimum(self, hidden: Tensor) -> Tensor:
        """Expected return of an episode for one who knows the hidden numbers, [n]."""
        return self.lives * self.plan(hidden).values[:, -1, 0]
