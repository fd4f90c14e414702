"""Rows of a table of results: which learner, on which data, with which figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kshot.evaluation.report import Report


@dataclass(frozen=True)
class Row:
    """One learner on one kind of task. `own` marks the learner the reader came for."""

    learner: str
    data: str
    report: Report
    own: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON object: learner, data, and the report with its figures per class."""
        per_class = dict(self.report.per_class)
        return {"learner": self.learner, "data": self.data, **self.report.to_json(), "per_class": per_class}


HEAD = ("learner", "data", "tasks", "regime", "result, 95 %", "ms to adapt")
NUMERIC = (4, 5)


def cells(row: Row) -> list[str]:
    """The cells of a row under `HEAD`, as plain text."""
    report = row.report
    form = report.protocol.removeprefix(row.data).partition(",")[0].strip()
    tasks = f"{report.interval.count} x {form}"
    return [row.learner, row.data, tasks, report.regime, figure(report), milliseconds(report.adapt_ms)]


def figure(report: Report) -> str:
    """The main figure with its interval.

    >>> figure(Report("accuracy", (0.5, 0.7), "inductive", "2-way 1-shot"))
    '60.0 ± 19.6 %'
    """
    i = report.interval
    if report.metric == "accuracy":
        return f"{100 * i.mean:.1f} ± {100 * i.half:.1f} %"
    return f"{report.metric} {i.mean:.4g} ± {i.half:.2g}"


def milliseconds(value: float) -> str:
    """A duration for people; a dash where it was not measured.

    >>> milliseconds(0.1234), milliseconds(1234.5), milliseconds(float("nan"))
    ('0.12', '1,234', '–')
    """
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def regimes(rows: Sequence[Row]) -> list[str]:
    """The regimes that occur, in order of appearance: figures of different ones are never compared."""
    return list(dict.fromkeys(row.report.regime for row in rows))
