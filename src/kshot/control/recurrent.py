"""A policy with a memory: a network that reads what it saw, did and earned, and learns to learn from it.

Duan et al. (2016), "RL^2: Fast Reinforcement Learning via Slow Reinforcement Learning"; Wang et al. (2016), "Learning
to reinforcement learn". A gated recurrent unit (Cho et al. 2014) reads one step after the other, over all lives of a
task; a policy gradient over many tasks teaches it to explore and to use what it found. Nothing of it is made for
one world.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from kshot.control.advantages import advantages
from kshot.control.own_actions import OwnActions
from kshot.control.worlds import World, one_hot, one_world
from kshot.encoders import Encoder, identity
from kshot.encoders.sizes import whole
from kshot.errors import SettingError, UnsupportedError
from kshot.tasks import Examples, InteractiveTask
from kshot.tasks.spaces import Actions, OutputSpace
from kshot.tasks.spaces.numbers import Gaussian

CLOCK = 7
"""Hands of the clock that is read with every step: sines and cosines of the step's number, periods 4, 8, ... steps."""


class Lived(NamedTuple):
    """Episodes of n tasks side by side: what the memory read [steps, n, ...], what the critic was told, actions,
    rewards, which steps still counted, and which led to a place for the first time, [steps, n]."""

    read: Tensor
    told: Tensor
    actions: Tensor
    rewards: Tensor
    going: Tensor
    new: Tensor


class RecurrentPolicy(OwnActions):
    """Acts by what it remembers of a task. Adapting is reading the steps of the task, in the order of their numbers.

    An example is a step: the input its number, the reward that its action earned, and what was seen,
    [2 + observations]; the target is the action. The number and the reward of an input that is asked are not looked at.

    Args:
        encoder: `kshot.encoders.identity(2 + observations)`; see `recurrent_policy`.
        actions, continuous, low, high: what can be done, as in `Actions`.
        told: how many numbers a critic is told in training. width: of the memory.
        entropy: price on certainty. decay: of generalised advantages (Schulman et al. 2016).
        novelty: paid in training for each place that is reached for the first time in a task; it must be little beside
            the rewards (Zintgraf et al. 2021, "Exploration in approximate hyper-state space", pay for novelty too).
        taught: practise by imitating the world's teacher, who does the best that is possible without knowing the task,
            where that was computed (`World.teacher`); in the manner of Lee et al. (2023).
        greedy: when it is judged it takes the likeliest action; else it draws.

    >>> from kshot.control import dark_room
    >>> policy = recurrent_policy(dark_room(), width=8)
    >>> task = policy.adapt(dark_room().sample(torch.Generator().manual_seed(0)).collect(None, torch.Generator()))
    >>> task.predict(task.inputs[:3]).actions.shape
    (3,)
    """

    kind: ClassVar[str] = "recurrent_policy"

    def __init__(
        self, encoder: Encoder, actions: int, told: int, *, continuous: bool = False, low: float | None = None,
        high: float | None = None, width: int = 64, entropy: float = 0.01, decay: float = 0.95,
        novelty: float = 0.0, taught: bool = False, greedy: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(encoder)
        if encoder.features < 3 or not entropy >= 0 or not 0 <= decay <= 1:
            raise SettingError(
                f"the encoder gives {encoder.features} numbers, entropy is {entropy}, decay {decay}; the encoder is "
                "identity(2 + observations), entropy at least 0, decay in 0..1"
            )
        limits = {k: v for k, v in (("low", low), ("high", high)) if v is not None}
        self.space = Actions(whole("actions", actions), continuous, **limits)
        self.told, self.width = whole("told", told, 0), whole("width", width)
        self.entropy, self.decay, self.novelty, self.greedy = entropy, decay, novelty, greedy
        self.taught = taught
        count = self.space.count
        read = encoder.features - 1 + count + 2 * CLOCK
        self.first = nn.Sequential(nn.Linear(read, self.width), nn.ReLU())
        self.memory = nn.GRU(self.width, self.width)
        self.actor = nn.Sequential(
            nn.Linear(2 * self.width, self.width), nn.ReLU(), nn.Linear(self.width, count)
        )
        self.critic = nn.Sequential(
            nn.Linear(2 * self.width + self.told, self.width), nn.ReLU(), nn.Linear(self.width, 1)
        )  # fmt: skip
        self.log_spread = nn.Parameter(torch.zeros(count)) if continuous else None

    def config(self) -> dict[str, Any]:
        space = self.space.to_json()
        return {
            "actions": space.pop("count"), "told": self.told, "width": self.width, "entropy": self.entropy,
            "decay": self.decay, "novelty": self.novelty, "taught": self.taught, "greedy": self.greedy, **{k: v for k, v in space.items() if k != "kind"},
        }  # fmt: skip

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        """The memory [width] before the next observation, and the last action and reward, which are read with it."""
        order = support.inputs[:, 0].argsort(stable=True)
        paid, seen = support.inputs[order, 1:2], support.inputs[order, 2:]
        acts = one_hot(support.targets[order], self.space).to(seen)
        last = torch.cat([acts, paid], 1)
        if not len(last):  # nothing was lived yet
            return {
                "memory": last.new_zeros(self.width),
                "last": last.new_zeros(last.shape[1]),
                "next": last.new_zeros(1),
            }
        before = torch.cat([torch.zeros_like(last[:1]), last[:-1]])
        times = support.inputs[order, 0]
        _, memory = self.memory(self.first(torch.cat([seen, before, _clock(times)], 1))[:, None])
        return {"memory": memory[0, 0], "last": last[-1], "next": times[-1:] + 1}

    def respond(self, state: dict[str, Tensor], inputs: Tensor, space: OutputSpace) -> Tensor | Gaussian:
        """Scores of actions, or their Gaussian, for each observation as if it came next."""
        last, memory = (state[name].expand(len(inputs), -1) for name in ("last", "memory"))
        time = state["next"].expand(len(inputs))
        read = self.first(torch.cat([inputs[:, 2:], last, _clock(time)], 1))
        after, _ = self.memory(read[None], memory[None].contiguous())
        return self._outputs(torch.cat([read, after[0]], 1))

    def _outputs(self, features: Tensor) -> Tensor | Gaussian:
        scores: Tensor = self.actor(features)
        if self.log_spread is None:
            return scores
        return Gaussian(scores, (2 * self.log_spread).exp().expand_as(scores))

    def play_many(self, tasks: Sequence[InteractiveTask], generator: torch.Generator) -> list[float]:
        """The return of an episode of each task, its lives together; it learns while it acts."""
        lived = self.live(*self._worlds(tasks), generator, greedy=self.greedy)
        return (lived.rewards * lived.going).sum(0).tolist()

    @torch.no_grad()
    def live(
        self,
        world: World,
        hidden: Tensor,
        rng: torch.Generator,
        *,
        greedy: bool = False,
        done: Tensor | None = None,
    ) -> Lived:
        """An episode in each task from an empty memory, all side by side; `done` are actions that are given, [steps, n]."""
        count, size = len(hidden), self.space.count
        weight = next(self.actor.parameters())
        last, memory = weight.new_zeros(count, size + 1), weight.new_zeros(1, count, self.width)
        state, going = world.reset(hidden, rng), weight.new_ones(count)
        seen = _Places(world, state)
        rows: list[tuple[Tensor, ...]] = []
        for time in range(world.horizon):
            clock = _clock(weight.new_full((count,), float(time)))
            read = torch.cat([world.observe(state).to(weight), last, clock], 1)
            first = self.first(read)[None]
            after, memory = self.memory(first, memory)
            outputs = self._outputs(torch.cat([first[0], after[0]], 1))
            action = self._act(outputs, rng, greedy) if done is None else done[time]
            told = world.told(hidden, state).to(weight)
            state, reward, over = world.step(hidden, state, action, rng)
            reward = reward.to(weight)
            rows.append((read, told, action, reward, going, seen.first(state)))
            going = going * (~over).to(going)
            last = torch.cat([one_hot(action, self.space).to(weight), reward[:, None]], 1)
        return Lived(*(torch.stack(column) for column in zip(*rows, strict=True)))

    def _act(self, outputs: Tensor | Gaussian, rng: torch.Generator, greedy: bool) -> Tensor:
        if isinstance(outputs, Gaussian):
            mean, deviation = outputs.mean, outputs.variance.sqrt()
            return mean if greedy else torch.normal(mean, deviation, generator=rng)
        if greedy:
            return outputs.argmax(1)
        return torch.multinomial(outputs.softmax(1), 1, generator=rng)[:, 0]

    def practise(self, tasks: Sequence[InteractiveTask], generator: torch.Generator) -> Tensor:
        """Advantage actor-critic, one step on one episode of each task.

        The critic is told what the world hides, in training only: which leaves the gradient's mean as it is and
        takes noise away. It says what each step that is left will earn on average, so that all are of one scale.
        """
        world, hidden = self._worlds(tasks)
        if self.taught:
            return self._imitated(self.live(world, hidden, generator, done=world.teacher(hidden)))
        lived = self.live(world, hidden, generator)
        first = self.first(lived.read)
        features = torch.cat([first, self.memory(first)[0]], -1)
        left = torch.arange(len(first), 0, -1, dtype=first.dtype)[:, None]
        value = self.critic(torch.cat([features, lived.told], -1)).squeeze(-1)
        paid = lived.rewards + self.novelty * lived.new
        advantage = advantages(paid, (value * left).detach(), lived.going, decay=self.decay)
        target = advantage / left + value.detach()
        kept = lived.going > 0
        scaled = (advantage - advantage[kept].mean()) / (advantage[kept].std() + 1e-6)
        chance, entropy = self._chances(self._outputs(features.flatten(0, 1)), lived.actions.flatten(0, 1))
        steps = lived.going.sum()
        gain = (
            (chance.view_as(scaled) * scaled + self.entropy * entropy.view_as(scaled)) * lived.going
        ).sum() / steps
        loss: Tensor = ((value - target).square() * lived.going).sum() / steps - gain
        return loss

    def _imitated(self, lived: Lived) -> Tensor:
        """- mean log pi of the teacher's actions."""
        first = self.first(lived.read)
        features = torch.cat([first, self.memory(first)[0]], -1)
        chance, _ = self._chances(self._outputs(features.flatten(0, 1)), lived.actions.flatten(0, 1))
        loss: Tensor = -(chance.view_as(lived.going) * lived.going).sum() / lived.going.sum()
        return loss

    def _chances(self, outputs: Tensor | Gaussian, actions: Tensor) -> tuple[Tensor, Tensor]:
        """log pi(a) of the actions taken, and the entropy, [m] each."""
        chance = self.space.log_probability(outputs, actions)
        if isinstance(outputs, Gaussian):
            return chance, 0.5 * outputs.variance.log().sum(-1)
        logs = outputs.log_softmax(-1)
        return chance, -(logs.exp() * logs).sum(-1)

    def _worlds(self, tasks: Sequence[InteractiveTask]) -> tuple[World, Tensor]:
        return one_world(tasks, self.space, self.encoder.features - 2)


def _clock(time: Tensor) -> Tensor:
    """Numbers of steps [n] as hands of a clock, [n, 2 * CLOCK]. Vaswani et al. (2017), "Attention is all you need"."""
    turns = time[:, None] * (
        2 * torch.pi / 2 ** torch.arange(2, 2 + CLOCK, dtype=time.dtype, device=time.device)
    )
    return torch.cat([turns.sin(), turns.cos()], 1)


class _Places:
    """Which places each copy has been at."""

    def __init__(self, world: World, state: Tensor) -> None:
        self.world, self.seen = world, torch.zeros(len(state), 0, dtype=torch.bool)
        self.none = torch.zeros(len(state))
        self.first(state)

    def first(self, state: Tensor) -> Tensor:
        """1 where a copy is at its place for the first time, [n]; 0 where places are not counted."""
        place = self.world.place(state)
        if place is None:
            return self.none
        more = int(place.max()) + 1 - self.seen.shape[1]
        if more > 0:
            self.seen = torch.cat([self.seen, self.seen.new_zeros(len(place), more)], 1)
        new = ~self.seen.gather(1, place[:, None])[:, 0]
        self.seen[torch.arange(len(place)), place] = True
        return new.to(self.none.dtype)


def recurrent_policy(world: World, **settings: Any) -> RecurrentPolicy:
    """An untrained policy for a world: `kshot.fit(recurrent_policy(world), world, meta_batch=64)` trains it.

    Args:
        settings: of `RecurrentPolicy`, for example `width`.

    Raises:
        UnsupportedError: a world that does not answer with actions.

    >>> from kshot.control import small_grid
    >>> recurrent_policy(small_grid(), width=8).config()["actions"]
    5
    """
    if world.answers != world.actions:
        raise UnsupportedError(
            f"{world.name} answers with {world.answers}; use kshot.control.arm_policy(bandits)"
        )
    rng = torch.Generator().manual_seed(0)
    hidden = world.hide(1, rng)
    told = world.told(hidden, world.reset(hidden, rng)).shape[1]
    space = world.actions.to_json()
    settings = {k: v for k, v in space.items() if k not in ("kind", "count")} | settings
    return RecurrentPolicy(identity(2 + world.observations), space["count"], told, **settings)
