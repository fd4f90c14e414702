"""Learners x data: each learner on each source, on the same tasks, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kshot.errors import SettingError
from kshot.evaluation.evaluate import evaluate
from kshot.evaluation.markdown import table
from kshot.evaluation.page import grid
from kshot.evaluation.table import Row, figure
from kshot.learners import Learner
from kshot.tasks import TaskSource


@dataclass(frozen=True)
class CrossDomain:
    """Every learner on every source, one row each; learners go down, sources across."""

    rows: tuple[Row, ...]

    @property
    def head(self) -> list[str]:
        """Column names: learner, regime, then the data."""
        return ["learner", "regime", *dict.fromkeys(row.data for row in self.rows)]

    @property
    def cells(self) -> list[list[str]]:
        """One line per learner and regime; a dash where a figure is missing."""
        lines = dict.fromkeys((row.learner, row.report.regime) for row in self.rows)
        found = {(r.learner, r.report.regime, r.data): figure(r.report) for r in self.rows}
        return [[*line, *(found.get((*line, data), "–") for data in self.head[2:])] for line in lines]

    def to_markdown(self) -> str:
        """A Markdown table with intervals."""
        return table(self.head, self.cells, range(2, len(self.head)))

    def to_html(self) -> str:
        """An HTML table with intervals."""
        return grid(self.head, self.cells, numeric=range(2, len(self.head)))


def cross_domain(
    learners: Mapping[str, Learner],
    sources: Mapping[str, TaskSource],
    *,
    tasks: int = 600,
    seed: int = 0,
    on_row: Callable[[Row], None] | None = None,
) -> CrossDomain:
    """Evaluate every learner on every source; all learners see the very same tasks of a source.

    Triantafillou et al. (2020), "Meta-Dataset": a learner trained on some data is judged on others.

    >>> import torch, kshot
    >>> pool = kshot.data.Pool(torch.rand(12, 3), [i // 3 for i in range(12)])
    >>> source = kshot.data.Episodes(pool, kshot.tasks.NWayKShot(2, 1, 1))
    >>> learner = kshot.learners.ProtoNet(kshot.encoders.identity(3))
    >>> cross_domain({"proto": learner}, {"a": source, "b": source}, tasks=3).head
    ['learner', 'regime', 'a', 'b']
    """
    if not learners or not sources:
        raise SettingError(
            f"{len(learners)} learners and {len(sources)} sources; a cross-domain table needs one of each at least"
        )
    rows = []
    for data, source in sources.items():
        for name, learner in learners.items():
            rows.append(Row(name, data, evaluate(learner, source, tasks=tasks, seed=seed)))
            if on_row is not None:
                on_row(rows[-1])
    return CrossDomain(tuple(rows))
