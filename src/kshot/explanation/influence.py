"""Influence over the inner steps of a gradient learner: what a little less of each example would change.

Koh and Liang (2017), "Understanding Black-box Predictions via Influence Functions"; over the steps of
gradient descent instead of at an optimum, Hara et al. (2019), "Data Cleansing for Models Trained with SGD".
Influence is a derivative, leaving an example out is no small step, so how far the two agree is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.errors import SettingError, UnsupportedError
from kshot.learners import Adapted, GradientLearner
from kshot.learners.eval_mode import evaluating
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes

EVIDENCE = 0.7
"""Rank correlation with leave-one-out from which influence may be called evidence."""


@dataclass(frozen=True)
class Influence:
    """How much each support example pulled an answer, to first order.

    Attributes:
        label, probability: the answer.
        ids: the examples. influences: for each the change of the probability per unit of its weight, [n]; above 0
            it spoke for the answer. About what the probability would fall by without it.
        true: by how much it really falls without it, [n]; NaN where that was not measured.
        correlation: Spearman's rank correlation of the two; NaN where fewer than 3 were measured.
    """

    label: Any
    probability: float
    ids: tuple[str, ...]
    influences: np.ndarray
    true: np.ndarray
    correlation: float

    @property
    def is_evidence(self) -> bool:
        """Whether it agrees with leaving examples out well enough to be called evidence."""
        return self.correlation >= EVIDENCE

    @property
    def name(self) -> str:
        """What this may be called."""
        if self.is_evidence:
            return "evidence"
        if np.isnan(self.correlation):
            return "influence (rank correlation with leave-one-out not measured; not evidence)"
        return f"influence (rank correlation {self.correlation:.2f} with leave-one-out; not evidence)"


def influence(task: Adapted, inputs: Any, *, measured: int | None = None) -> Influence:
    """The influence of each support example of a gradient learner's task on the answer to one input.

    Args:
        inputs: one input, as for `task.explain`.
        measured: how many examples are also really left out, to say how far influence can be trusted: None all of
            them (the task is adapted that many times), 0 none.

    Raises:
        UnsupportedError: another learner, whose `task.explain` is exact and fast; or answers that are no classes.
        SettingError: `measured` is negative.

    >>> import torch, kshot
    >>> with torch.random.fork_rng():
    ...     learner = kshot.learners.GradientLearner(kshot.encoders.mlp(2, (8,)), outputs=2, steps=5)
    >>> found = influence(learner.adapt(torch.eye(2), ["a", "b"]), torch.eye(2)[:1])
    >>> found.ids, found.name
    (('e0', 'e1'), 'influence (rank correlation with leave-one-out not measured; not evidence)')
    """
    learner, space = task.learner, task.space
    if not isinstance(learner, GradientLearner) or not isinstance(space, Classes):
        raise UnsupportedError(
            f"influence is for classes taught to a gradient learner; this is {type(learner).__name__} with "
            f"{type(space).__name__}: ask task.explain(x), which is exact"
        )
    if measured is not None and measured < 0:
        raise SettingError(f"measured is {measured}; leave out 0 or more examples, or None for all")
    query = task.embed(task.one(inputs))
    answer = task.answer_embedded(query)
    best = space.labels.index(answer.labels[0])
    found = influences(task, query, best)
    true = np.full(len(task), np.nan)
    for place in _spread(len(task), measured):
        rest = task.without({place}).answer_embedded(query)
        left = dict(zip(rest.classes, rest.probabilities[0].tolist(), strict=True))
        true[place] = answer.probabilities[0, best] - left.get(answer.labels[0], 0.0)
    probability = float(answer.probabilities[0, best])
    return Influence(answer.labels[0], probability, task.ids, found, true, rank_correlation(found, true))


def influences(task: Adapted, query: Tensor, best: int) -> np.ndarray:
    """Derivative of the probability of class `best` for one embedded query by each example's weight, [n]."""
    learner, heat = task.learner, task.temperature
    assert isinstance(learner, GradientLearner)
    support = Examples(task.embedded, task.space.encode(task.targets).to(task.embedded.device))

    def score(outputs: Tensor) -> Tensor:
        return torch.softmax(outputs / heat, 1)[0, best]

    with evaluating(learner):
        return learner.influence(support, query, task.space, score).double().numpy(force=True)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation where both are known; NaN for fewer than 3 pairs or constant values."""
    known = ~(np.isnan(first) | np.isnan(second))
    a, b = first[known], second[known]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of values, equal ones sharing their mean rank."""
    places = np.unique(values, return_inverse=True)[1]
    counts = np.bincount(places)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def _spread(count: int, wanted: int | None) -> list[int]:
    """`wanted` places out of `count`, evenly spread so that all classes take part."""
    if wanted is None or wanted >= count:
        return list(range(count))
    return [int(place) for place in np.linspace(0, count - 1, wanted).round()] if wanted else []
