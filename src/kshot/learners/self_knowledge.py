"""What a base knows about its own answers, measured over many tasks and carried in it as one table.

One row per number of classes and of examples a class, because temperature, accuracy and the usual
scores depend on both. `kshot.trust.calibrate` fills the table; this module reads it when a task answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kshot.errors import SettingError
from kshot.tasks.spaces import Classes, OutputSpace
from kshot.tasks.spaces.sureness import LEVELS, UNCALIBRATED, Sureness

if TYPE_CHECKING:
    from kshot.learners.learner import Learner

_USUAL_LEVEL, _LEVEL_WEIGHT = 0.5, 2
_USUAL_SPREAD, _SPREAD_WEIGHT = 0.2, 4
"""What a task's level and spread are drawn to, and as how many examples that counts. The level's was chosen among 0, 1, 2, 4,
8 and 16 on five intent sets, each judged by what the other four say: with two and with four known messages were lost most
nearly as asked, at every size of task, and two leans less on other tasks."""


@dataclass(frozen=True)
class Cell:
    """What was measured on `tasks` tasks of `ways` classes with `shots` examples each.

    Attributes:
        accuracy: mean over tasks; low, high: between them lie nine of ten tasks.
        temperature: what turns scores into probabilities, in units of the task's span (see `Gauge`).
        sureness: quantiles of how familiar known inputs are, and of how ill true labels fit.
    """

    ways: float
    shots: float
    accuracy: float
    low: float
    high: float
    temperature: float
    sureness: Sureness

    @property
    def tasks(self) -> float:
        """How many tasks were measured."""
        return self.sureness.tasks

    def row(self) -> Tensor:
        """As a row of the table."""
        own = self.sureness
        numbers = [self.ways, self.shots, self.accuracy, self.low, self.high, math.log(self.temperature)]
        quantiles = [own.familiarity, own.nonconformity, *([] if own.standing is None else [own.standing])]
        return torch.from_numpy(
            np.concatenate([[*numbers, own.tasks, own.refused, _LEVEL_WEIGHT], *quantiles])
        )

    @classmethod
    def of(cls, values: np.ndarray) -> Cell:
        """From a row of the table. Of an older one, whose tasks measured themselves otherwise, `standing` is left out."""
        count = len(values) % len(LEVELS)  # 8 in older rows
        ways, shots, accuracy, low, high, heat, tasks, refused, *weight = values[:count].tolist()
        familiarity, nonconformity, *standing = values[count:].reshape(-1, len(LEVELS))
        sureness = Sureness(
            familiarity, nonconformity, tasks, refused, *(standing if weight == [_LEVEL_WEIGHT] else ())
        )
        return cls(ways, shots, accuracy, low, high, math.exp(heat), sureness)


def cells(learner: Learner) -> list[Cell]:
    """All rows of a base's table, by ways and shots; empty where it was never calibrated."""
    rows = learner.self_knowledge.numpy(force=True).astype(np.float64)
    return sorted(map(Cell.of, rows), key=lambda cell: (cell.ways, cell.shots))


def known(learner: Learner, ways: float, shots: float) -> Cell | None:
    """What the base knows about tasks of this size; None where it was never calibrated."""
    return among(learner.self_knowledge, ways, shots)


def among(table: Tensor, ways: float, shots: float) -> Cell | None:
    """What a table says of tasks of this size, between its rows; None where it has none.

    Linear in log(shots) among rows of as many ways, then linear in log(ways). Outside of what was measured
    the nearest rows speak.
    """
    if not len(table):
        return None
    rows = table.numpy(force=True).astype(np.float64)
    own = np.stack([_between(rows[rows[:, 0] == value], 1, shots) for value in np.unique(rows[:, 0])])
    return Cell.of(_between(own, 0, ways))


def _between(rows: np.ndarray, column: int, value: float) -> np.ndarray:
    """One row between `rows`, linear in the logarithm of a column."""
    rows = rows[np.argsort(rows[:, column])]
    places = np.log(rows[:, column])
    at = float(np.clip(math.log(value), places[0], places[-1]))
    above = int(np.searchsorted(places, at))
    below = max(above - 1, 0)
    width = places[above] - places[below]
    share = (at - places[below]) / width if width > 0 else 1.0
    between: np.ndarray = rows[below] + share * (rows[above] - rows[below])
    return between


@dataclass(frozen=True)
class Gauge:
    """A task's own measure of scores, read off what it answers its examples.

    Attributes:
        others: mean score of an example for the classes it does not belong to.
        span: how much higher, on average, its own class scores.
        level, spread: mean and standard deviation of the familiarity of examples that are answered without
            themselves, both drawn to what is usual the more, the fewer they are; NaN where that was not measured. An
            example that is alone in its class is answered by the other classes: how far these lie apart is all that
            one example a class can tell.

    Bare scores shift with the number of classes and examples, with the head and with the kind of input.
    In units of the span, from `others` on, they hardly do: a temperature and a threshold learned on some
    tasks then serve others.
    """

    others: float
    span: float
    level: float = math.nan
    spread: float = math.nan

    @classmethod
    def of(cls, own: Tensor, targets: Tensor, left_out: Tensor | None = None) -> Gauge:
        """From scores of a task's examples [n, classes] and their classes [n].

        Args:
            left_out: their scores by the task without each, [n, classes]; -inf: the class is not there without it.

        >>> Gauge.of(torch.tensor([[0.0, -4.0], [-4.0, 0.0]]), torch.tensor([0, 1])).numbers
        (-4.0, 4.0)
        """
        own = own.double()
        mine = own.gather(1, targets.unsqueeze(1))
        others = float((own.sum() - mine.sum()) / max(own.numel() - len(own), 1))
        # contradicting or identical examples: differences of scores are then rounding, not evidence
        least = 1e-3 * float(own.abs().max()) + 1e-12
        gauge = cls(others, max(float(mine.mean()) - others, least))
        if left_out is None:
            return gauge
        found = gauge.familiarity(left_out)
        found = found[found.isfinite()]
        if not len(found):
            return gauge
        level = (float(found.sum()) + _LEVEL_WEIGHT * _USUAL_LEVEL) / (len(found) + _LEVEL_WEIGHT)
        squares = len(found) * float(found.var(correction=0)) + _SPREAD_WEIGHT * _USUAL_SPREAD**2
        return replace(gauge, level=level, spread=math.sqrt(squares / (len(found) + _SPREAD_WEIGHT)))

    @property
    def numbers(self) -> tuple[float, ...]:
        """The gauge as numbers: `Gauge(*numbers)` is the same."""
        known = (self.others, self.span, self.level, self.spread)
        return known[:2] if math.isnan(self.level) else known

    def sureness(self, known: Sureness) -> Sureness:
        """`known` with the quantiles of familiarity that this task's own examples, left out, tell, where they do."""
        if math.isnan(self.level) or known.standing is None:
            return known
        return replace(known, familiarity=self.level + self.spread * known.standing)

    def familiarity(self, outputs: Tensor) -> Tensor:
        """How well the best class fits, [m]: 1 as well as the examples fit their own class, 0 as ill as they
        fit the others, on average; `outputs` are scores [m, classes].

        >>> Gauge(others=-4.0, span=4.0).familiarity(torch.tensor([[-1.0, -9.0], [-4.0, -5.0]])).tolist()
        [0.75, 0.0]
        """
        return (outputs.double().amax(1) - self.others) / self.span


def settings_of(
    learner: Learner, space: OutputSpace, gauge: Gauge | None, cell: Cell | None, refused: float | None = None
) -> dict[str, Any]:
    """Settings for `space.decode`: from what is known of tasks of this size, else the base's two plain numbers.

    Args:
        refused: requested share of wrongly refused inputs; None: the base's own.

    Raises:
        SettingError: a share is requested, and the base was never calibrated or the answers are no classes.
    """
    if gauge is None or cell is None:
        _unasked(space, refused)
        return {"temperature": float(learner.temperature), "threshold": float(learner.threshold)}
    sureness = gauge.sureness(cell.sureness)
    return {
        "temperature": cell.temperature * gauge.span,
        "threshold": sureness.threshold(refused),
        "familiar": gauge.familiarity,
        "sureness": sureness,
    }


def _unasked(space: OutputSpace, refused: float | None) -> None:
    if refused is None:
        return
    if isinstance(space, Classes):
        raise SettingError(f"refused is {refused!r}, but " + UNCALIBRATED.format(what="share of refusals"))
    raise SettingError(
        f"refused is {refused!r}, but this task answers with {space.kind}; only classes are refused"
    )


def table_of(found: Sequence[Cell]) -> Tensor:
    """The table of these rows, [cells, columns] in float32: a few kilobytes."""
    if not found:
        return torch.zeros(0, 0)
    return torch.stack([cell.row() for cell in _all_standing(found)]).float()


def _all_standing(found: Sequence[Cell]) -> list[Cell]:
    """All cells with quantiles of `standing`, or none: where nothing could be left out the nearest size says it, for tasks
    that are of a size in between."""
    known = [cell for cell in found if cell.sureness.standing is not None]

    def nearest(cell: Cell) -> Cell:
        return min(
            known, key=lambda c: (abs(math.log(c.ways / cell.ways)), abs(math.log(c.shots / cell.shots)))
        )

    def full(cell: Cell) -> Cell:
        return replace(cell, sureness=replace(cell.sureness, standing=nearest(cell).sureness.standing))

    return [full(cell) for cell in found] if known else list(found)
