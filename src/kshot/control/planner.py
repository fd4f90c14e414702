"""The planner: guidance adapted to a few solved maps, with the weight at which A* is to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kshot.control.cost_to_go import CostToGo
from kshot.control.grids import Cell, Grid
from kshot.control.maps import as_grid, goal_of
from kshot.control.search import Route, search
from kshot.errors import SettingError, TaskError, UnsupportedError
from kshot.learners import Adapted
from kshot.seeds import generator

WEIGHTS = (1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
"""What is tried, for a learned guide and for weighted A* alike."""


@dataclass(frozen=True)
class Trial:
    """What a weight did on the solved maps: mean `expansions`, and mean extra cost over the least, `extra`."""

    weight: float
    expansions: float
    extra: float


@dataclass(frozen=True)
class Solved:
    """A question whose answer is known: a map, a start, a goal, the least cost, and a guide (None: straight)."""

    grid: Grid
    start: Cell
    goal: Cell
    least: float
    guide: np.ndarray | None = None


def choose_weight(questions: Sequence[Solved], *, extra: float = 0.02) -> Trial:
    """The weight of fewest expansions whose mean extra cost is at most `extra`; where none is, that of least extra.

    Raises:
        SettingError: `extra` is negative.
        TaskError: no question.

    >>> grid = Grid.of(np.ones((9, 9)))
    >>> choose_weight([Solved(grid, (0, 4), (8, 4), 8.0)]).extra
    0.0
    """
    if not extra >= 0:
        raise SettingError(f"extra is {extra}; it is a share of the least cost, for example 0.02")
    if not questions:
        raise TaskError(f"{len(questions)} questions were given; a weight is chosen on at least one")
    trials = [_try(questions, weight) for weight in WEIGHTS]
    good = [trial for trial in trials if trial.extra <= extra]
    return min(good, key=lambda t: t.expansions) if good else min(trials, key=lambda t: t.extra)


def _try(questions: Sequence[Solved], weight: float) -> Trial:
    routes = [search(q.grid, q.start, q.goal, guide=q.guide, weight=weight) for q in questions]
    over = [route.cost / q.least - 1 for route, q in zip(routes, questions, strict=True)]
    return Trial(weight, float(np.mean([r.expansions for r in routes])), float(np.mean(over)))


@dataclass(frozen=True)
class PathPlanner:
    """Plans on maps of a family that it was shown a few solved maps of. Make one with `path_planner`.

    Attributes:
        task: the adapted guidance.
        trial: the weight, and what it did on the solved maps, each guided without having been seen.
    """

    task: Adapted
    trial: Trial

    def field(self, grid: Any, goal: Any) -> np.ndarray:
        """The estimated cost to go that guides the search, [height, width]."""
        return np.asarray(self.task.predict([(grid, goal)]).fields[0], dtype=np.float64)

    def plan(self, grid: Any, start: Any, goal: Any) -> Route:
        """A way from `start` to `goal`, over free cells only; `path` is None where there is none.

        Args:
            grid: a `Grid`, or an array of costs with 0 for walls. start, goal: row and column.

        Raises:
            DataError: a map that is none, a cell outside of it or inside a wall.
        """
        given = as_grid(grid)
        first = given.inside(start, "start")
        return search(given, first, goal, guide=self.field(given, goal), weight=self.trial.weight)


def path_planner(task: Adapted, *, extra: float = 0.02, starts: int = 4, seed: int = 0) -> PathPlanner:
    """A planner with the weight chosen on the solved maps of an adapted `Guidance`.

    Each solved map is guided by the task adapted without it, exactly, so that the choice is honest.

    Args:
        extra: mean extra cost that is allowed, as a share of the least. starts: for each map. seed: of the starts.

    Raises:
        UnsupportedError: the task answers with something else than costs to go.
        TaskError: a single solved map.

    >>> import torch
    >>> from kshot.control import Guidance, MapEncoder, draw_family
    >>> family = draw_family("gaps", 3, torch.Generator().manual_seed(0), size=16)
    >>> planner = path_planner(Guidance(MapEncoder(width=4, features=3)).adapt(family.maps, family.fields))
    >>> grid, goal = family.problem(0)
    >>> planner.plan(grid, goal, goal).cost
    0.0
    """
    if not isinstance(task.space, CostToGo):
        raise UnsupportedError(
            f"the task answers with {task.space.kind}; a planner needs costs to go: adapt a kshot.control.Guidance"
        )
    if len(task) < 2:
        raise TaskError(f"{len(task)} solved map was given; choosing a weight needs at least 2")
    rng = generator(seed, "starts")
    fields = task.space.encode(task.targets).numpy()
    questions: list[Solved] = []
    for place in range(len(task)):
        guide = task.without({place}).outputs(task.embedded[place : place + 1])[0].numpy().astype(np.float64)
        grid, goal = as_grid(np.asarray(task.inputs[place][0])), goal_of(task.inputs[place])
        for start in far_starts(fields[place], starts, rng):
            questions.append(Solved(grid, start, goal, float(fields[place][start]), guide))
    return PathPlanner(task, choose_weight(questions, extra=extra))


def far_starts(field: np.ndarray, count: int, rng: torch.Generator) -> list[Cell]:
    """`count` starts drawn among the cells of known cost whose cost is in the upper 45 %, as Neural A* draws them.

    Raises:
        TaskError: no cell from which there is a way to go.
    """
    known = field > 0
    if not known.any():
        raise TaskError(f"of {field.size} cells none has a known cost above 0; give another solved map")
    far = np.argwhere(known & (field >= np.quantile(field[known], 0.55)))
    drawn = torch.randint(len(far), (count,), generator=rng).tolist()
    return [(int(far[i][0]), int(far[i][1])) for i in drawn]
