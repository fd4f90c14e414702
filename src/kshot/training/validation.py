"""Validation: how good the weights are on tasks of other classes, as figures and as one score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from kshot.evaluation import Report, evaluate
from kshot.learners.learner import Learner
from kshot.seeds import generator
from kshot.tasks import InteractiveTask, TaskSource
from kshot.training.settings import Settings


@dataclass
class Validation:
    """The same tasks of `source` every time; None: there are none, and later weights count as better."""

    source: TaskSource | None
    settings: Settings

    def report(self, learner: Learner, on_task: Callable[[int], None] | None = None) -> Report | None:
        """How the learner does; `on_task` is called with the number of tasks judged, after each."""
        if self.source is None:
            return None
        tasks, seed = self.settings.validation_tasks, self.settings.seed
        return evaluate(learner, self.source, tasks=tasks, seed=seed, timed=0, on_task=on_task)

    def score(self, report: Report | None, step: int) -> float:
        """The larger, the better."""
        if report is None:
            return float(step)
        return report.mean if self.higher_is_better else -report.mean

    @cached_property
    def higher_is_better(self) -> bool:
        """Whether a larger mean is better, by a task of the source."""
        assert self.source is not None
        task = self.source.sample(generator(self.settings.seed, "evaluate"))
        return isinstance(task, InteractiveTask) or task.space.higher_is_better


def figures(report: Report | None) -> dict[str, float]:
    """What the history keeps of a report."""
    if report is None:
        return {}
    found = {f"validation_{report.metric}": report.mean, "validation_half": report.interval.half}
    return found | ({"validation_loss": report.figures["loss"]} if "loss" in report.figures else {})
