"""Search on grids: A*, weighted A*, Dijkstra, and A* guided by any field.

Hart, Nilsson and Raphael (1968), "A Formal Basis for the Heuristic Determination of Minimum Cost Paths";
Pohl (1970), "Heuristic search viewed as path finding in a graph" (weights).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

import numpy as np

from kshot.control.grids import MOVES, Cell, Grid
from kshot.errors import DataError, SettingError


@dataclass(frozen=True)
class Route:
    """What a search found.

    Attributes:
        path: cells from start to goal; None: there is no way, which is certain, for all that can be reached was
            looked at.
        cost: of the path; infinite where there is none.
        expanded: cells whose neighbours were looked at, in order; a cell may be looked at again where a guide
            misled, and counts again.
    """

    path: tuple[Cell, ...] | None
    cost: float
    expanded: tuple[Cell, ...] = field(repr=False)

    @property
    def expansions(self) -> int:
        """How many cells were expanded: what a search costs where looking at a cell is dear."""
        return len(self.expanded)


def search(
    grid: Grid, start: Any, goal: Any, *, guide: np.ndarray | None = None, weight: float = 1.0
) -> Route:
    """The cheapest way from `start` to `goal` as far as `guide` allows, by A*: lowest g + weight * h first.

    With the default guide, the cost without walls, the path costs at most `weight` times the least. Dijkstra's
    algorithm is `weight=0`. Among equals the cell that seems nearer to the goal is taken first.

    Args:
        start, goal: row and column.
        guide: estimated cost to go from every cell, [height, width]; infinite or NaN only inside walls.
        weight: how far the guide is trusted, at least 0.

    Raises:
        DataError: a cell outside the map or inside a wall, a guide of another shape, one that holds NaN.
        SettingError: a weight below 0.

    >>> grid = Grid.of(np.array([[1, 0, 1], [1, 0, 1], [1, 1, 1]]))
    >>> search(grid, (0, 0), (0, 2)).path
    ((0, 0), (1, 0), (2, 1), (1, 2), (0, 2))
    >>> print(search(Grid.of(np.array([[1, 0, 1]])), (0, 0), (0, 2)).path)
    None
    """
    if not weight >= 0 or math.isinf(weight):
        raise SettingError(f"weight is {weight}; it is a number of at least 0, for example 1.5")
    first, last = grid.inside(start, "start"), grid.inside(goal, "goal")
    told = grid.straight(last) if guide is None else _checked(guide, grid)
    return _Run(grid, told, weight).run(first, last)


def _checked(guide: np.ndarray, grid: Grid) -> np.ndarray:
    found = np.asarray(guide, dtype=np.float64)
    if found.shape != grid.shape:
        raise DataError(f"the guide has shape {found.shape}, the map {grid.shape}; they must be equal")
    if not bool(np.isfinite(found[grid.free]).all()):
        raise DataError(
            "the guide is NaN or infinite in a free cell; every free cell needs a finite estimate"
        )
    return found


class _Run:
    """One search, on flat lists with a wall around: several times faster than arrays."""

    def __init__(self, grid: Grid, guide: np.ndarray, weight: float) -> None:
        self.width = grid.shape[1] + 2
        # the cost is in front of a move: a wall around spares the question whether a cell lies inside
        self.enter: list[float] = np.pad(grid.cost, 1, constant_values=np.inf).ravel().tolist()
        self.h: list[float] = np.pad(weight * np.where(grid.free, guide, 0.0), 1).ravel().tolist()
        self.moves = [r * self.width + c for r, c in MOVES]

    def run(self, first: Cell, last: Cell) -> Route:
        start, goal = self._flat(first), self._flat(last)
        enter, h, moves = self.enter, self.h, self.moves
        g = {start: 0.0}
        parent: dict[int, int] = {}
        expanded: list[int] = []
        queue = [(h[start], h[start], start, 0.0)]
        while queue:
            _, _, cell, cost = heappop(queue)
            if cost > g[cell]:
                continue  # a cheaper way to it was found after it had been queued
            if cell == goal:
                return Route(self._path(parent, goal), cost, self._cells(expanded))
            expanded.append(cell)
            for step in moves:
                near = cell + step
                new = cost + enter[near]
                if new < g.get(near, math.inf):
                    g[near], parent[near] = new, cell
                    heappush(queue, (new + h[near], h[near], near, new))
        return Route(None, math.inf, self._cells(expanded))

    def _flat(self, cell: Cell) -> int:
        return (cell[0] + 1) * self.width + cell[1] + 1

    def _cells(self, flat: list[int]) -> tuple[Cell, ...]:
        return tuple((place // self.width - 1, place % self.width - 1) for place in flat)

    def _path(self, parent: dict[int, int], goal: int) -> tuple[Cell, ...]:
        path = [goal]
        while path[-1] in parent:
            path.append(parent[path[-1]])
        return self._cells(path[::-1])
