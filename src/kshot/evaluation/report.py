"""A report: figures of a learner over many tasks, each with its interval and its regime."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Interval:
    """A mean over tasks with its 95 % interval (normal approximation)."""

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """From one value per task.

        >>> Interval.of([0.0, 1.0]).mean
        0.5
        """
        count = len(values)
        mean = math.fsum(values) / count
        spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / max(count - 1, 1))
        half = 1.96 * spread / math.sqrt(count)
        return cls(mean, mean - half, mean + half, count)

    @property
    def half(self) -> float:
        """Half the interval's width: what stands behind the plus-minus sign."""
        return self.high - self.mean


@dataclass(frozen=True)
class Report:
    """How well a learner does on tasks of a source.

    Attributes:
        metric: name of the main figure; values: it, one per task.
        regime: "inductive" or "transductive".
        protocol: how the tasks were made, for people ("5-way 1-shot, 15 queries").
        figures: further means by name. per_class: accuracy of each class over all tasks.
        reliability: of a calibrated base, marginal over tasks: "ece" (calibration error), "coverage" and "set_size"
            of the sets for 90 %, "raw_coverage" and "raw_set_size" before an empty set gets its best guess, and
            "refused", the share of these known inputs that is called unknown.
        adapt_ms: median milliseconds from a task's raw examples to a task that answers, encoding included
            (see `kshot.evaluation.time_to_adapt`); NaN where it was not measured.
    """

    metric: str
    values: tuple[float, ...]
    regime: str
    protocol: str
    figures: Mapping[str, float] = field(default_factory=dict)
    per_class: Mapping[str, float] = field(default_factory=dict)
    reliability: Mapping[str, float] = field(default_factory=dict)
    adapt_ms: float = float("nan")
    seed: int = 0

    @property
    def interval(self) -> Interval:
        return Interval.of(self.values)

    @property
    def mean(self) -> float:
        return self.interval.mean

    def __str__(self) -> str:
        i = self.interval
        if self.metric == "accuracy":
            figure = f"{100 * i.mean:.2f} +- {100 * i.half:.2f} %"
        else:
            figure = f"{self.metric} {i.mean:.4g} +- {i.half:.2g}"
        return f"{figure}, {self.regime}, {self.protocol} ({i.count} tasks)"

    def to_json(self) -> dict[str, Any]:
        """A flat JSON object."""
        i = self.interval
        return {
            "metric": self.metric,
            "value": i.mean,
            "low": i.low,
            "high": i.high,
            "n_tasks": i.count,
            "regime": self.regime,
            "protocol": self.protocol,
            "adapt_ms": None if math.isnan(self.adapt_ms) else self.adapt_ms,  # JSON has no NaN
            "seed": self.seed,
            **{f"mean_{name}": value for name, value in self.figures.items()},
            **self.reliability,
        }
