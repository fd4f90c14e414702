"""Reports as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from kshot.evaluation.charts import Curve, curves
from kshot.evaluation.markdown import FOOT, hardest, reliable
from kshot.evaluation.page import grid, note, page, section
from kshot.evaluation.sweeps import Sweep
from kshot.evaluation.table import HEAD, NUMERIC, Row, cells


def document(title: str, rows: Sequence[Row]) -> str:
    """A whole HTML page: the table, and the hardest classes of each row.

    >>> from kshot.evaluation import Report, Row
    >>> row = Row("ProtoNet", "digits", Report("accuracy", (0.9, 0.8), "inductive", "5-way 1-shot"))
    >>> "85.0 ± 9.8 %" in document("Results", [row])
    True
    """
    parts = [section("Results", "", results(rows), *map(note, reliable(rows)), note(FOOT))]
    for row in rows:
        if row.report.per_class:
            title_ = f"Hardest classes: {row.learner} on {row.data}"
            parts.append(
                section(title_, "Accuracy of each class over all tasks it occurred in.", per_class(row))
            )
    return page(title, "How well a learner does on tasks it has never seen.", parts, "Made by kshot.")


def results(rows: Sequence[Row]) -> str:
    """Rows of results as an HTML table, the regime in a column of its own."""
    own = [place for place, row in enumerate(rows) if row.own]
    return grid(HEAD, [cells(row) for row in rows], numeric=NUMERIC, own=own)


def per_class(row: Row, most: int = 15) -> str:
    """The hardest classes of a row as an HTML table."""
    ranked = hardest(row.report, most)
    return grid(["class", "accuracy"], [[name, f"{100 * v:.1f} %"] for name, v in ranked], numeric=[1])


def sweep_chart(sweeps: Sequence[Sweep]) -> str:
    """Accuracy against shots (or inner steps), one curve per learner, with 95 % bands."""
    lines = [
        Curve(s.name, s.xs, [r.mean for r in s.reports], [r.interval.half for r in s.reports]) for s in sweeps
    ]
    percent = all(r.metric == "accuracy" for s in sweeps for r in s.reports)
    ticks = sorted({x for s in sweeps for x in s.xs})
    metric = sweeps[0].reports[0].metric
    return curves(lines, x=sweeps[0].what, y=metric, percent=percent, ticks=ticks)
