"""Labels guessed for unlabelled inputs from a task's labelled examples, in two ways.

Spread along nearest neighbours (`label_spreading`). Or by prototypes that are refined softly, with a class of its own for
what belongs to none: Ren et al. (2018), "Meta-Learning for Semi-Supervised Few-Shot Classification".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.learners import Adapted
from kshot.learners.eval_mode import evaluating
from kshot.learners.self_knowledge import Gauge
from kshot.tasks import Examples
from kshot.trust.label_spreading import distances, spread_by


@dataclass(frozen=True)
class Labelled:
    """Embedded examples [n, ...] with class indices [n], of a task whose learner answers; `places` in the task."""

    task: Adapted
    embedded: Tensor
    targets: Tensor
    places: Tensor

    @classmethod
    def of(cls, task: Adapted) -> Labelled:
        targets = task.space.encode(task.targets).to(task.embedded.device)
        return cls(task, task.embedded, targets, torch.arange(len(targets), device=targets.device))

    @property
    def size(self) -> int:
        return len(self.task.space.labels)  # type: ignore[attr-defined]

    def without(self, place: int) -> Labelled:
        keep = self.places != place
        return Labelled(self.task, self.embedded[keep], self.targets[keep], self.places[keep])

    def solve(self) -> Any:
        learner = self.task.solver
        with torch.no_grad(), evaluating(learner):
            return learner.solve(Examples(self.embedded, self.targets), self.task.space)

    def respond(self, state: Any, embedded: Tensor) -> Tensor:
        learner = self.task.solver
        with torch.no_grad(), evaluating(learner):
            outputs: Tensor = learner.respond(state, embedded, self.task.space)
        return outputs

    def joined(self, embedded: Tensor, targets: Tensor) -> Labelled:
        """With further examples, which are none of the task's."""
        everything = torch.cat([self.embedded, embedded]), torch.cat([self.targets, targets])
        return Labelled(self.task, *everything, self.places)


Assign = Callable[[Labelled], Tensor]
"""Labelled examples to how much each unlabelled input belongs to each class [m, classes], 0: not at all."""


def spreading(labelled: Labelled, unlabelled: Tensor, neighbours: int) -> Assign:
    """Distances are worked out once; leaving out an example leaves out its row and column."""
    away = distances(torch.cat([labelled.embedded, unlabelled]).flatten(1))
    others = torch.arange(len(labelled.places), len(away), device=away.device)

    def assign(rest: Labelled) -> Tensor:
        kept = torch.cat([rest.places, others])
        return spread_by(away[kept][:, kept], rest.targets, rest.size, neighbours)

    return assign


def soft(labelled: Labelled, *, unlabelled: Tensor) -> Tensor:
    """One step of soft k-means beside a reject class, whose score lies half-way between own and other classes."""
    state = labelled.solve()
    gauge = Gauge.of(labelled.respond(state, labelled.embedded), labelled.targets)
    reject = gauge.others + 0.5 * gauge.span
    own = F.one_hot(labelled.targets, labelled.size).to(unlabelled)
    shares = _shares(labelled.respond(state, unlabelled), reject, labelled.task.temperature)[:, :-1]
    members = torch.cat([own, shares.to(own)])
    features = torch.cat([labelled.embedded, unlabelled])
    means = members.T @ features / members.sum(0).clamp(min=1e-12).unsqueeze(1)
    scores = labelled.respond({**state, "prototypes": means}, unlabelled)
    refined = _shares(scores, reject, labelled.task.temperature)
    sure = refined[:, :-1]
    return torch.where(sure > refined[:, -1:], sure, torch.zeros_like(sure))


def _shares(scores: Tensor, reject: float, temperature: float) -> Tensor:
    """Responsibilities [m, classes + 1], the reject class last."""
    return torch.softmax(F.pad(scores, (0, 1), value=reject) / temperature, 1)


def surest(belongs: Tensor, per_class: int) -> tuple[Tensor, Tensor]:
    """Places of the surest inputs of each class, in order, and their classes; from [m, classes]."""
    best, classes = belongs.max(1)
    taken = torch.zeros_like(best, dtype=torch.bool)
    for own in range(belongs.shape[1]):
        mine = ((classes == own) & (best > 0)).nonzero().flatten()
        taken[mine[best[mine].argsort(descending=True, stable=True)[:per_class]]] = True
    places = taken.nonzero().flatten()
    return places, classes[places]
