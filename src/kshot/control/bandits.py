"""Bandits: arms that pay by chance. Pull them a number of times; which pays best is for you to find out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kshot.control.worlds import Step, World
from kshot.errors import SettingError
from kshot.tasks.spaces import Actions, Numbers, OutputSpace

REWARDS = ("bernoulli", "gaussian")


@dataclass(frozen=True)
class Bandits(World):
    """Bernoulli arms (chances uniform in 0..1) or Gaussian ones (means N(0, 1), rewards N(mean, 1)).

    The state of a copy is how often it was pulled; the last reward is seen by whoever pulled.

    Args:
        arms: at least 2. pulls: an episode. rewards: "bernoulli" or "gaussian".

    Raises:
        SettingError: fewer arms or pulls, or other rewards.

    >>> rng = torch.Generator().manual_seed(0)
    >>> bandits = Bandits(arms=3, pulls=10)
    >>> hidden = bandits.hide(2, rng)
    >>> bandits.step(hidden, bandits.reset(hidden, rng), torch.tensor([0, 2]), rng).reward.shape
    torch.Size([2])
    """

    arms: int = 5
    pulls: int = 100
    rewards: str = "bernoulli"
    name: ClassVar[str] = "bandits"

    def __post_init__(self) -> None:
        if self.arms < 2 or self.pulls < 1:
            raise SettingError(f"arms is {self.arms} and pulls {self.pulls}; give at least 2 arms and 1 pull")
        if self.rewards not in REWARDS:
            raise SettingError(f"rewards is {self.rewards!r}; choose one of {', '.join(REWARDS)}")

    @property
    def observations(self) -> int:
        return 1

    @property
    def horizon(self) -> int:
        return self.pulls

    @property
    def actions(self) -> Actions:
        return Actions(self.arms)

    @property
    def answers(self) -> OutputSpace:
        """One number: what an arm is worth."""
        return Numbers(1)

    def hide(self, count: int, generator: torch.Generator) -> Tensor:
        """What each arm pays on average, [count, arms]."""
        draw = torch.rand if self.rewards == "bernoulli" else torch.randn
        return draw(count, self.arms, generator=generator)

    def reset(self, hidden: Tensor, generator: torch.Generator) -> Tensor:
        return torch.zeros(len(hidden), 1)

    def observe(self, state: Tensor) -> Tensor:
        """The share of pulls that are left."""
        return 1 - state / self.pulls

    def limits(self) -> tuple[float, float]:
        return (0.0, 1.0)

    def step(self, hidden: Tensor, state: Tensor, action: Tensor, generator: torch.Generator) -> Step:
        mean = hidden.gather(1, action[:, None])[:, 0]
        if self.rewards == "bernoulli":
            reward = (torch.rand(len(mean), generator=generator) < mean).to(mean.dtype)
        else:
            reward = mean + torch.randn(len(mean), generator=generator)
        return Step(state + 1, reward, state[:, 0] + 1 >= self.pulls)

    def posterior(self, count: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of what arms pay, by how often they were pulled and what that paid in all."""
        if self.rewards == "gaussian":
            return total / (count + 1), 1 / (count + 1)
        mean = (total + 1) / (count + 2)  # Beta(1, 1)
        return mean, mean * (1 - mean) / (count + 3)


@dataclass(frozen=True)
class Counts:
    """What is known of the arms of n bandits.

    Attributes:
        count: pulls of each arm, [n, arms]. total: what they paid, [n, arms]. left: pulls that are left.
    """

    count: Tensor
    total: Tensor
    left: int


Index = Callable[[Bandits, Counts, torch.Generator], Tensor]
"""What pulling each arm is worth, [n, arms]: the arm of the largest is pulled."""


@dataclass(frozen=True)
class Played:
    """What playing n bandits gave.

    Attributes:
        paid: rewards, [n]. earned: the means of the arms pulled, summed, [n]: the same on average, with less noise.
        counts: at the end.
    """

    paid: Tensor
    earned: Tensor
    counts: Counts


def play(bandits: Bandits, hidden: Tensor, index: Index, generator: torch.Generator) -> Played:
    """Pull the arm of the largest index in each bandit until the end; ties are broken by chance.

    >>> rng = torch.Generator().manual_seed(0)
    >>> bandits = Bandits(3, 20)
    >>> play(bandits, bandits.hide(4, rng), thompson, rng).paid.shape
    torch.Size([4])
    """
    rows = torch.arange(len(hidden))
    count, total = torch.zeros_like(hidden), torch.zeros_like(hidden)
    state, earned = bandits.reset(hidden, generator), torch.zeros(len(hidden))
    for place in range(bandits.pulls):
        worth = index(bandits, Counts(count, total, bandits.pulls - place), generator)
        noise = 1e-9 * torch.rand(worth.shape, generator=generator, dtype=torch.float64)
        arm = (worth.double() + noise).argmax(1)
        state, reward, _ = bandits.step(hidden, state, arm, generator)
        count[rows, arm] += 1
        total[rows, arm] += reward
        earned += hidden[rows, arm]
    return Played(total.sum(1), earned, Counts(count, total, 0))


def uniform(bandits: Bandits, known: Counts, generator: torch.Generator) -> Tensor:
    """Any arm."""
    return torch.rand(known.count.shape, generator=generator)


def greedy(bandits: Bandits, known: Counts, generator: torch.Generator) -> Tensor:
    """The posterior mean."""
    return bandits.posterior(known.count, known.total)[0]


def thompson(bandits: Bandits, known: Counts, generator: torch.Generator) -> Tensor:
    """A draw from the posterior. Thompson (1933)."""
    if bandits.rewards == "gaussian":
        mean, variance = bandits.posterior(known.count, known.total)
        return mean + variance.sqrt() * torch.randn(mean.shape, generator=generator)
    # Beta(a, b) as gamma(a) / (gamma(a) + gamma(b))
    won, lost = (torch._standard_gamma(n + 1, generator) for n in (known.total, known.count - known.total))
    return won / (won + lost)


def ucb(width: float) -> Index:
    """Mean plus width * sqrt(log t / pulls); Auer et al. (2002) prove it for sqrt(2), less is better in practice."""

    def index(bandits: Bandits, known: Counts, generator: torch.Generator) -> Tensor:
        done = known.count.sum(1, keepdim=True).clamp(min=1)
        mean = known.total / known.count.clamp(min=1)
        bonus = width * (done.log().clamp(min=0.1) / known.count.clamp(min=1)).sqrt()
        return torch.where(known.count > 0, mean + bonus, torch.full_like(mean, torch.inf))

    return index


def oracle(hidden: Tensor) -> Index:
    """What arms really pay: what nobody can know."""

    def index(bandits: Bandits, known: Counts, generator: torch.Generator) -> Tensor:
        return hidden

    return index
