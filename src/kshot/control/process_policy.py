"""A policy for tabular decision processes that is learned, whatever its states and actions are called.

Duan et al. (2016), "RL^2": act in many processes, remember what was seen, and let a policy gradient find how to explore.
Here the memory is given, for visits and rewards of each state and action are all that can matter; and so is planning:
what is learned is a bonus for what is little known, which is added to the mean reward before backward induction. Strehl and
Littman (2008) and Kolter and Ng (2009), "Near-Bayesian exploration in polynomial time", give such a bonus by a formula; Tamar et
al. (2016), "Value iteration networks", differentiate through planning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from kshot.control.advantages import advantages
from kshot.control.own_actions import OwnActions
from kshot.control.processes import TabularMDPs
from kshot.control.worlds import one_world
from kshot.encoders import Encoder, identity
from kshot.encoders.sizes import whole
from kshot.errors import SettingError, UnsupportedError
from kshot.tasks import Examples, InteractiveTask
from kshot.tasks.spaces import OutputSpace

SEEN = 5
"""Numbers that describe an action in a state: see `_bonus`."""

DECAY = 0.95
"""Of generalised advantages. Schulman et al. (2016), "High-Dimensional Continuous Control Using GAE"."""


class Known(NamedTuple):
    """What n processes showed: how often each action was taken in each state, what it paid in sum [n, states, choices],
    and how often it led where, [n, states, choices, states]."""

    pulls: Tensor
    paid: Tensor
    led: Tensor


class ProcessPolicy(OwnActions):
    """Plans in the mean of what is believed of a process, with a learned bonus for what is little known.

    An example is a step, as in `World`: its number, the reward that its action earned, and what was seen; the target is
    the action. Where it led is read off the next step, unless a life ended between.

    Args:
        encoder: `kshot.encoders.identity(4 + states)`; see `process_policy`. choices: actions in each state.
        horizon, lives: of the world. width: of the hidden layers.

    >>> world = TabularMDPs(states=3, choices=2, horizon=6)
    >>> policy = process_policy(world, width=4)
    >>> task = policy.adapt(world.sample(torch.Generator().manual_seed(0)).collect(None, torch.Generator()))
    >>> task.predict(task.inputs[:3]).actions.shape
    (3,)
    """

    kind: ClassVar[str] = "process_policy"

    def __init__(self, encoder: Encoder, choices: int, horizon: int, lives: int = 1, width: int = 16) -> None:
        super().__init__(encoder)
        if encoder.features < 6:
            raise SettingError(
                f"the encoder gives {encoder.features} numbers; it is identity(4 + states), of at least 2 states"
            )
        self.world = TabularMDPs(
            encoder.features - 4, whole("choices", choices, 2), whole("horizon", horizon), lives
        )
        self.width, self.space = whole("width", width), self.world.actions
        self.length = horizon // lives
        self.actor = nn.Sequential(nn.Linear(SEEN, self.width), nn.Tanh(), nn.Linear(self.width, 1))
        for number in self.actor[
            -1
        ].parameters():  # it starts from the mean; that exploring pays is left to be found out
            nn.init.zeros_(number)
        self.critic = nn.Sequential(nn.Linear(4, self.width), nn.Tanh(), nn.Linear(self.width, 1))
        self.log_sharp = nn.Parameter(torch.tensor(math.log(3.0)))

    def config(self) -> dict[str, Any]:
        world = self.world
        return {"choices": world.choices, "horizon": world.horizon, "lives": world.lives, "width": self.width}

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        """`Known` of the process: [states, choices] twice, and [states, choices, states]."""
        order = support.inputs[:, 0].argsort(stable=True)
        rows, done = support.inputs[order], support.targets[order]
        states, choices = self.world.states, self.world.choices
        here, time = rows[:, 2 : 2 + states].argmax(1), rows[:, 0].round().long()
        cell = here * choices + done
        nothing = rows.new_zeros(states * choices)
        pulls, paid = (
            nothing.index_add(0, cell, torch.ones_like(rows[:, 1])),
            nothing.index_add(0, cell, rows[:, 1]),
        )
        follows = (time[1:] == time[:-1] + 1) & (time[1:] % self.length != 0)
        led = rows.new_zeros(states * choices * states).index_add(
            0, cell[:-1] * states + here[1:], follows.to(rows.dtype)
        )
        shape = (states, choices)
        return {"pulls": pulls.view(shape), "paid": paid.view(shape), "led": led.view(*shape, states)}

    def respond(self, state: dict[str, Tensor], inputs: Tensor, space: OutputSpace) -> Tensor:
        """Scores of actions where each input stands, with as much left as it says, [m, choices]."""
        states = self.world.states
        known = Known(*(state[name].expand(len(inputs), *state[name].shape) for name in Known._fields))
        left = (inputs[:, 2 + states] * self.length).round().long().clamp(1, self.length)
        worth = self._worth(known, inputs[:, 3 + states])  # [length, m, states, choices], by steps left
        rows = torch.arange(len(inputs), device=inputs.device)
        scores: Tensor = worth[left - 1, rows, inputs[:, 2 : 2 + states].argmax(1)]
        return scores

    def _worth(self, known: Known, share: Tensor, most: int | None = None) -> Tensor:
        """What actions are worth by steps left of a life, 1 to `most`, times how sharply to choose."""
        chances = (1 + known.led) / (known.led.sum(-1, keepdim=True) + self.world.states)
        reward = (1 + known.paid) / (1 + known.pulls) + self._bonus(known, share)
        found = [reward]
        for _ in range((most or self.length) - 1):
            value = found[-1].amax(-1)
            found.append(reward + torch.einsum("nsat,nt->nsa", chances, value))
        return self.log_sharp.exp() * torch.stack(found)

    def _bonus(self, known: Known, share: Tensor) -> Tensor:
        """Of each action in each state, [n, states, choices], by how little is known of it and how many steps are left."""
        deviation = (1 + known.pulls).rsqrt()
        left = (share * self.world.lives).clamp(min=1 / self.length)[:, None, None].expand_as(deviation)
        mean = (known.paid + 1) * deviation.square()
        seen = torch.stack(
            [deviation, deviation.square(), left.log() / 3, deviation * left.log() / 3, mean / 3], -1
        )
        bonus: Tensor = deviation * self.actor(seen).squeeze(-1)
        return bonus

    def play_many(self, tasks: Sequence[InteractiveTask], generator: torch.Generator) -> list[float]:
        """The return of an episode of each process, its lives together; it learns while it acts."""
        with torch.no_grad():
            earned: list[float] = (
                self._episode(self._processes(tasks), generator, greedy=True)[0].sum(0).tolist()
            )
        return earned

    def practise(self, tasks: Sequence[InteractiveTask], generator: torch.Generator) -> Tensor:
        """Advantage actor-critic, one step on one episode of each process.

        The critic is told what is still to be had by one who knows all, and rewards are their means, in training only: that leaves
        the gradient's mean as it is and takes noise away.
        """
        hidden = self._processes(tasks)
        _, means, chosen, told = self._episode(hidden, generator, greedy=False)
        left = torch.arange(len(means), 0, -1, dtype=means.dtype)[:, None]
        value = self.critic(told).squeeze(-1) + told[..., 1]
        advantage = advantages(means, (value * left).detach(), decay=DECAY)
        target = advantage / left + value.detach()
        scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-6)
        loss: Tensor = (value - target).square().mean() - (chosen * scaled).mean()
        return loss

    def _episode(self, hidden: Tensor, rng: torch.Generator, *, greedy: bool) -> tuple[Tensor, ...]:
        """Rewards and their means, logarithms of the chances of what was done [steps, n], what a critic is told [steps, n, 4]."""
        world, count = self.world, len(hidden)
        rows, state = torch.arange(count), world.reset(hidden, rng)
        shape = (count, world.states, world.choices)
        known = Known(
            hidden.new_zeros(shape), hidden.new_zeros(shape), hidden.new_zeros(*shape, world.states)
        )
        found: list[tuple[Tensor, ...]] = []
        plans = world.plan(hidden)
        for taken in range(world.horizon):
            left, share = self.length - taken % self.length, 1 - taken / world.horizon
            here = state[:, 0]
            logs = self._worth(known, hidden.new_full((count,), share), left)[-1, rows, here].log_softmax(1)
            action = (
                logs.argmax(1) if greedy else torch.multinomial(logs.detach().exp(), 1, generator=rng)[:, 0]
            )
            state, reward, _ = world.step(hidden, state, action, rng)
            told = torch.stack(
                [plans.values[rows, left, here] / left, plans.values[:, -1, 0] / self.length], 1
            )
            told = torch.cat([told, told.new_tensor([left / self.length, share]).expand(count, 2)], 1)
            found.append((reward, hidden[rows, here, action, 0], logs[rows, action], told))
            seen = (rows, here, action)
            one = torch.ones_like(reward)
            led = known.led if left == 1 else known.led.index_put((*seen, state[:, 0]), one, accumulate=True)
            known = Known(
                known.pulls.index_put(seen, one, accumulate=True),
                known.paid.index_put(seen, reward, accumulate=True),
                led,
            )
        rewards, means, chosen, critic = (torch.stack(column) for column in zip(*found, strict=True))
        return rewards, means, chosen, critic

    def _processes(self, tasks: Sequence[InteractiveTask]) -> Tensor:
        world, hidden = one_world(tasks, self.space, self.encoder.features - 2)
        if world != self.world:
            raise UnsupportedError(
                f"this policy acts in {self.world}; the tasks are of {world}: make one with "
                "kshot.control.process_policy(world)"
            )
        return hidden.to(self.log_sharp.dtype)


def process_policy(world: TabularMDPs, width: int = 16) -> ProcessPolicy:
    """An untrained policy for a world of processes: `kshot.fit(process_policy(world), world, meta_batch=64)` trains it.

    >>> process_policy(TabularMDPs(states=3, choices=2, horizon=6)).config()["choices"]
    2
    """
    return ProcessPolicy(identity(4 + world.states), world.choices, world.horizon, world.lives, width)
