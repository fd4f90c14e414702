"""Accuracy against shots, and against inner steps of gradient learners."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from kshot.data import Episodes
from kshot.errors import SettingError, UnsupportedError
from kshot.evaluation.evaluate import evaluate
from kshot.evaluation.report import Report
from kshot.evaluation.table import Row
from kshot.learners import GradientLearner, Learner


@dataclass(frozen=True)
class Sweep:
    """Reports of one learner while one number changes: `what` it is, its values `xs`, a report for each."""

    name: str
    what: str
    xs: tuple[float, ...]
    reports: tuple[Report, ...]

    def rows(self, data: str = "") -> list[Row]:
        """As rows of a table."""
        return [Row(self.name, data or r.protocol, r) for r in self.reports]


def against_shots(
    learner: Learner,
    source: Episodes,
    *,
    shots: Sequence[int] = (1, 2, 5, 10),
    tasks: int = 200,
    seed: int = 0,
    name: str = "",
) -> Sweep:
    """Evaluate with each number of examples per class; ways and queries stay as in `source`.

    Raises:
        TaskError: a class is too small for that many shots and the queries.

    >>> import torch, kshot
    >>> pool = kshot.data.Pool(torch.rand(20, 3), [i // 5 for i in range(20)])
    >>> source = kshot.data.Episodes(pool, kshot.tasks.NWayKShot(2, 1, 2))
    >>> learner = kshot.learners.ProtoNet(kshot.encoders.identity(3))
    >>> against_shots(learner, source, shots=(1, 3), tasks=2).xs
    (1.0, 3.0)
    """
    if not shots:
        raise SettingError(
            "shots is empty; give at least one number of examples per class, for example (1, 5)"
        )
    reports = [evaluate(learner, source.using(shots=s), tasks=tasks, seed=seed) for s in shots]
    title = name or type(learner).__name__
    return Sweep(title, "examples per class", tuple(float(s) for s in shots), tuple(reports))


def against_steps(
    learner: Learner,
    source: Episodes,
    *,
    steps: Sequence[int] = (0, 1, 2, 5, 10),
    tasks: int = 100,
    seed: int = 0,
    name: str = "",
) -> Sweep:
    """Evaluate a gradient learner after each number of inner steps, on the same tasks.

    Raises:
        UnsupportedError: the learner adapts by a formula, not by steps.
    """
    if not isinstance(learner, GradientLearner):
        raise UnsupportedError(
            f"{type(learner).__name__} adapts by a formula and has no inner steps; use a gradient learner such as maml"
        )
    reports = []
    for count in steps:
        if count < 0:
            raise SettingError(f"steps holds {count}; inner steps are 0 or more")
        other = copy.copy(learner)  # shares every weight; only the number differs
        other.steps = count
        reports.append(evaluate(other, source, tasks=tasks, seed=seed))
    title = name or type(learner).__name__
    return Sweep(title, "inner steps", tuple(float(s) for s in steps), tuple(reports))
