"""Judging a learner on examples it was not shown: by exact leave-one-out, or in rounds where a formula is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kshot.learners import Learner
from kshot.learners.eval_mode import evaluating
from kshot.learners.self_estimate import wilson
from kshot.seeds import generator
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes
from kshot.tuning.rows import smoothed_loss

ROUNDS = 5


@dataclass(frozen=True)
class Answers:
    """Scores [m, classes] of left-out examples, and their true classes [m]."""

    scores: Tensor
    targets: Tensor

    @property
    def hits(self) -> Tensor:
        """Whether each was answered right, [m]."""
        return (self.scores.argmax(1) == self.targets).double()

    @property
    def temperature(self) -> float:
        """The temperature that suits these answers best."""
        return smoothed_loss(self.scores, self.targets)[1]

    @property
    def losses(self) -> Tensor:
        """Log-loss of each at that temperature, [m]; smoothed, as the temperature was chosen."""
        log_odds = torch.log_softmax(self.scores / self.temperature, 1)
        share = 1 / (len(self.scores) + 1)
        right = log_odds.gather(1, self.targets.unsqueeze(1)).squeeze(1)
        return -((1 - share) * right + share * log_odds.mean(1))

    def join(self, other: Answers) -> Answers:
        """These answers, then the others."""
        return Answers(torch.cat([self.scores, other.scores]), torch.cat([self.targets, other.targets]))


def rounds(targets: Tensor, size: int, seed: int) -> list[Tensor]:
    """Places to leave out in each round: a share of every class, shuffled by `seed`, never all of a class.

    At k examples a class there are min(k, 5) rounds. A class's only example is never left out.
    """
    rng = generator(seed, "left out")
    turn = torch.full_like(targets, -1)
    most = min(ROUNDS, int(torch.bincount(targets, minlength=size).amax()))
    for label in range(size):
        own = (targets == label).nonzero().flatten()
        if len(own) > 1:
            turn[own[torch.randperm(len(own), generator=rng)]] = torch.arange(len(own)) % most
    return [(turn == number).nonzero().flatten() for number in range(most)]


def in_round(learner: Learner, embedded: Tensor, targets: Tensor, space: Classes, out: Tensor) -> Answers:
    """What the learner answers to the examples at `out`, adapted to the others."""
    keep = torch.ones(len(targets), dtype=torch.bool)
    keep[out] = False
    with torch.no_grad(), evaluating(learner):
        state = learner.solve(Examples(embedded[keep], targets[keep]), space)
        scores = learner.respond(state, embedded[out], space)
    return Answers(scores.double(), targets[out])


def each_alone(learner: Learner, embedded: Tensor, targets: Tensor, space: Classes) -> Answers | None:
    """Exact leave-one-out of the examples that are not alone in their class; None without a closed form."""
    with torch.no_grad(), evaluating(learner):
        closed = learner.without_each(Examples(embedded.double(), targets), space)
        if closed is None:
            return None
        counts = torch.bincount(targets, minlength=space.size)
        several = counts[targets] > 1
        return Answers(closed.own()[several].double(), targets[several])


def interval(values: Tensor) -> tuple[float, float, float]:
    """Mean and 95 % interval by the normal law, of [m] values; a single value has no interval."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("-inf"), float("inf")
    half = 1.96 * float(values.std()) / len(values) ** 0.5
    return mean, mean - half, mean + half


def share(hits: Tensor) -> tuple[float, float, float]:
    """Share of hits [m] with Wilson's 95 % interval, which stays in 0..1 and is not empty at 0 or 1."""
    return float(hits.mean()), *wilson(int(hits.sum()), len(hits))


def joined(parts: Sequence[Answers]) -> Answers:
    """All parts as one."""
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.join(part)
    return whole
