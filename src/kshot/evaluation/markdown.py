"""Reports as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from kshot.evaluation.reliability import sentence
from kshot.evaluation.report import Report
from kshot.evaluation.table import HEAD, NUMERIC, Row, cells


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """A Markdown table; columns in `numeric` are set flush right.

    >>> print(table(["a", "b"], [["x", "1"]], numeric=[1]))
    | a | b |
    |---|---:|
    | x | 1 |
    """
    rule = "|".join("---:" if place in numeric else "---" for place in range(len(head)))
    lines = [_line(head), f"|{rule}|", *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def results(rows: Sequence[Row]) -> str:
    """Rows of results, the regime in a column of its own."""
    return table(HEAD, [cells(row) for row in rows], NUMERIC)


def per_class(report: Report, most: int = 30) -> str:
    """Accuracy of each class over all tasks, the hardest first; empty without classes."""
    ranked = hardest(report, most)
    return (
        table(["class", "accuracy"], [[name, f"{100 * v:.1f} %"] for name, v in ranked], [1])
        if ranked
        else ""
    )


def reliable(rows: Sequence[Row]) -> list[str]:
    """A sentence for each row of a calibrated base: calibration error, sets, refusals; marginal over tasks."""
    told = ((row, sentence(row.report.reliability)) for row in rows)
    return [f"{row.learner} on {row.data}: {text}" for row, text in told if text]


def hardest(report: Report, most: int) -> list[tuple[str, float]]:
    """The classes with the lowest accuracy, at most so many."""
    return sorted(report.per_class.items(), key=lambda item: (item[1], item[0]))[:most]


def document(title: str, rows: Sequence[Row]) -> str:
    """A whole Markdown report."""
    parts = [f"# {title}", results(rows), *reliable(rows)]
    for row in rows:
        if row.report.per_class:
            parts += [f"## {row.learner} on {row.data}: hardest classes", per_class(row.report)]
    return "\n\n".join([*parts, FOOT]) + "\n"


FOOT = (
    "Each figure is a mean over tasks of classes drawn at random, with its 95 % interval. Inductive: each query is "
    "answered on its own. Transductive: the answer to one query depends on the other queries, so these figures are "
    "not to be compared with inductive ones. Ms to adapt: median time from a task's raw examples to a task that "
    "answers, encoding included, on this machine."
)
