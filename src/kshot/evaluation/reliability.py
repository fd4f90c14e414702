"""Can answers be taken at their word? Calibration error, coverage and size of sets, share of refusals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from kshot.learners import Learner
from kshot.learners.self_knowledge import known, settings_of
from kshot.tasks.spaces import Classes, ClassPrediction
from kshot.trust.answered import Answered

COVERAGE = 0.9


def expected_calibration_error(confidence: np.ndarray, hits: np.ndarray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over bins of equally many answers, in 0..1.

    Naeini, Cooper, Hauskrecht (2015), "Obtaining Well Calibrated Probabilities Using Bayesian Binning";
    bins of equal mass as in Nguyen and O'Connor (2015).

    Args:
        confidence: [n] probability of the best guess. hits: [n] whether it was right.

    >>> round(expected_calibration_error(np.array([0.9, 0.9, 0.6, 0.6]), np.array([1, 1, 1, 0]), bins=2), 3)
    0.1
    """
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [len(part) * abs(confidence[part].mean() - hits[part].mean()) for part in parts]
    return float(sum(gaps) / len(order))


def prediction(
    learner: Learner, space: Classes, found: Answered, refused: float | None = None
) -> ClassPrediction:
    """What the task would have answered its query."""
    cell = known(learner, space.size, found.shots) if found.gauge is not None else None
    return space.decode(found.outputs, **settings_of(learner, space, found.gauge, cell, refused))


@dataclass
class Reliability:
    """Counts over many tasks of what a calibrated base says of itself.

    Attributes:
        confidence, hits: of each answer. covered, sizes, empty, refused: a mean per task.
    """

    confidence: list[np.ndarray] = field(default_factory=list)
    hits: list[np.ndarray] = field(default_factory=list)
    means: dict[str, list[float]] = field(default_factory=dict)

    def count(self, answers: ClassPrediction, targets: Tensor) -> None:
        """Add the answers to one task's query, with the true classes [n]."""
        true = targets.numpy(force=True)
        own = np.arange(len(true))
        self.confidence.append(answers.probabilities.max(1))
        self.hits.append(answers.probabilities.argmax(1) == true)
        if answers.sureness is None:
            return
        raw, shown = answers.in_sets(COVERAGE, raw=True), answers.in_sets(COVERAGE)
        for name, values in {
            "raw_coverage": raw[own, true], "coverage": shown[own, true], "raw_set_size": raw.sum(1),
            "set_size": shown.sum(1), "refused": answers.unknown,
        }.items():  # fmt: skip
            self.means.setdefault(name, []).append(float(values.mean()))

    @property
    def figures(self) -> dict[str, float]:
        """Means over tasks, each task weighing the same; the calibration error is over all answers."""
        if not self.hits:
            return {}
        error = expected_calibration_error(np.concatenate(self.confidence), np.concatenate(self.hits))
        return {"ece": error, **{name: math.fsum(v) / len(v) for name, v in self.means.items()}}


def sentence(figures: Mapping[str, float]) -> str:
    """The figures for people; empty where there are none."""
    if "coverage" not in figures:
        return ""
    f = {name: f"{100 * value:.1f} %" for name, value in figures.items()}
    return (
        f"Calibration error {f['ece']}. Sets for {COVERAGE:.0%} hold the true class {f['coverage']} of the time "
        f"({f['raw_coverage']} before an empty set gets its best guess), with {figures['set_size']:.2f} labels on "
        f"average. {f['refused']} of these known inputs are called unknown. All marginal over tasks: "
        "single tasks have more or less."
    )
