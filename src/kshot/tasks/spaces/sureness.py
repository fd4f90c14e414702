"""What is known, from many tasks of the same size, about scores of answers: thresholds for any requested share.

A base measures this on tasks whose answers are known and carries it (see `kshot.trust.calibrate`), so
that it serves a task with one example per class, which can estimate nothing about itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kshot.errors import SettingError

LEVELS: np.ndarray = np.sin(np.linspace(0, np.pi / 2, 65)) ** 2
"""Levels at which quantiles are kept: dense near 0 and 1, where requested shares lie."""

UNCALIBRATED = (
    "the base of this task was never calibrated, so no {what} can be given; calibrate it on tasks of the kind it will "
    "meet: kshot.trust.calibrate(base, source), or kshot calibrate BASE --data FOLDER"
)


@dataclass(frozen=True)
class Sureness:
    """Quantiles over tasks of one number of classes and examples.

    Attributes:
        familiarity: quantiles at `LEVELS` of how familiar a known input is (see `ClassPrediction.scores`).
        nonconformity: quantiles at `LEVELS` of how ill the true label fits (see `nonconformity`).
        standing: quantiles at `LEVELS` of how a known input stands to the task's own examples, each answered without
            itself: its familiarity less their mean, in standard deviations of theirs; None: not measured.
        tasks: how many tasks they come from.
        refused: share of known inputs that is refused where none is asked for.
    """

    familiarity: np.ndarray
    nonconformity: np.ndarray
    tasks: float
    refused: float
    standing: np.ndarray | None = None

    def threshold(self, refused: float | None = None) -> float:
        """The familiarity under which this share of known inputs lies.

        Raises:
            SettingError: not a share.
        """
        share = checked_share("refused", self.refused if refused is None else refused)
        return float(np.interp(share, LEVELS, self.familiarity))

    def quantile(self, coverage: float) -> float:
        """The nonconformity up to which labels join a set, so that it holds the true one with this chance.

        The chance is over new tasks and their inputs (marginal), not for each task. Examples of one task
        depend on each other, so the task is what is exchangeable: with T tasks of equally many queries
        the quantile is taken at coverage (1 + 1 / T). Lee, Barber, Willett (2023), "Distribution-free
        inference with hierarchical data", theorem 1.
        """
        level = checked_share("coverage", coverage) * (1 + 1 / max(self.tasks, 1.0))
        return float(np.interp(level, LEVELS, self.nonconformity)) if level < 1 else math.inf


def nonconformity(probabilities: np.ndarray) -> np.ndarray:
    """How ill each label fits, [n, classes]: 1 - p. Sadinle, Lei, Wasserman (2019), "Least ambiguous set-valued
    classifiers with bounded error levels": among sets of a given coverage these are the smallest on average."""
    return 1.0 - probabilities


def checked_share(name: str, value: float) -> float:
    """The value, if it is a share strictly between 0 and 1.

    >>> checked_share("coverage", 90)
    Traceback (most recent call last):
        ...
    kshot.errors.SettingError: coverage is 90; it is a share above 0 and below 1, for example 0.9 for 90 %
    """
    if isinstance(value, bool) or not 0 < value < 1:
        example = "0.9 for 90 %" if name == "coverage" else "0.05 for 5 %"
        raise SettingError(f"{name} is {value!r}; it is a share above 0 and below 1, for example {example}")
    return float(value)
