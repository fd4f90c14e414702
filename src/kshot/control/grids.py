"""Grid worlds: what may be entered, at which cost, and the exact cost to go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kshot.errors import DataError

MOVES = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Steps (rows, columns) to the 8 neighbours."""

Cell = tuple[int, int]
"""Row and column."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A map of `cost` [height, width]: what entering a cell costs, infinite for walls.

    Moves go to the 8 neighbours, past corners of walls too; each costs what the cell it enters costs, diagonal
    or not. This is the convention of the planning datasets of Neural A* (Yonetani et al. 2021).

    Raises:
        DataError: no map of two axes, or a cost that is not above 0.

    >>> Grid.of(np.array([[True, False], [True, True]])).cost.tolist()
    [[1.0, inf], [1.0, 1.0]]
    """

    cost: np.ndarray

    def __post_init__(self) -> None:
        cost = np.asarray(self.cost, dtype=np.float64)
        if cost.ndim != 2 or 0 in cost.shape:
            raise DataError(f"a map has shape {cost.shape}; it has two axes, rows and columns")
        if not bool((cost > 0).all()):
            worst = cost.ravel()[~(cost.ravel() > 0)][0]
            raise DataError(
                f"a cell costs {worst}; costs are above 0, and infinite for walls: for a map of free cells use "
                "Grid.of(free)"
            )
        object.__setattr__(self, "cost", cost)

    @classmethod
    def of(cls, free: Any) -> Grid:
        """Of a map that is true (or above 0) where one may go; every free cell costs 1."""
        return cls(np.where(np.asarray(free) > 0, 1.0, np.inf))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.cost.shape[0], self.cost.shape[1])

    @cached_property
    def free(self) -> np.ndarray:
        """Where one may go, [height, width]."""
        return np.asarray(np.isfinite(self.cost))

    def inside(self, cell: Any, name: str = "cell") -> Cell:
        """`cell` as row and column.

        Raises:
            DataError: it is no pair, lies outside the map, or inside a wall.
        """
        try:
            row, column = (int(part) for part in cell)
        except (TypeError, ValueError):
            raise DataError(f"{name} is {cell!r}; give a row and a column, for example (0, 3)") from None
        if not (0 <= row < self.shape[0] and 0 <= column < self.shape[1]):
            raise DataError(
                f"{name} is {(row, column)}; the map has {self.shape[0]} rows and {self.shape[1]} columns"
            )
        if not self.free[row, column]:
            raise DataError(f"{name} {(row, column)} lies inside a wall; choose a free cell")
        return row, column

    def straight(self, goal: Cell) -> np.ndarray:
        """The cost to `goal` if there were no walls and every cell cost as little as the cheapest, [height, width].

        Never too high, so A* with it is exact. With every move at the same cost it is Chebyshev's distance.
        """
        rows, columns = np.indices(self.shape)
        far = np.maximum(np.abs(rows - goal[0]), np.abs(columns - goal[1]))
        cheapest = float(self.cost[self.free].min()) if self.free.any() else 1.0
        return np.asarray(cheapest * far)

    def cost_to_go(self, goal: Any) -> np.ndarray:
        """The exact cost from every cell to `goal`, [height, width], infinite where there is no way.

        Dijkstra (1959) from the goal, over moves turned round.

        >>> Grid.of(np.ones((2, 4))).cost_to_go((0, 0)).tolist()
        [[0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 2.0, 3.0]]
        """
        from scipy.sparse.csgraph import dijkstra  # type: ignore[import-untyped]  # comes with scikit-learn

        row, column = self.inside(goal, "goal")
        found = dijkstra(self._reversed, indices=row * self.shape[1] + column)
        return np.asarray(found).reshape(self.shape)

    def toward(self, goal: Any) -> tuple[np.ndarray, np.ndarray]:
        """The exact cost to `goal` from every cell, as `cost_to_go`, and the next cell on a cheapest way there.

        Returns:
            costs [cells] and numbers of cells [cells], row after row; -9999 at the goal and where there is no way.

        >>> Grid.of(np.ones((1, 3))).toward((0, 2))[1].tolist()
        [1, 2, -9999]
        """
        from scipy.sparse.csgraph import dijkstra

        row, column = self.inside(goal, "goal")
        found = dijkstra(self._reversed, indices=row * self.shape[1] + column, return_predecessors=True)
        return found[0], found[1]

    @cached_property
    def _reversed(self) -> Any:
        """All moves turned round, as a sparse matrix of costs: entry [to, from]."""
        from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

        height, width = self.shape
        number = np.arange(height * width).reshape(self.shape)
        to, start, price = [], [], []
        for rows, columns in MOVES:
            own = (
                slice(max(-rows, 0), height - max(rows, 0)),
                slice(max(-columns, 0), width - max(columns, 0)),
            )
            next_ = (
                slice(max(rows, 0), height + min(rows, 0)),
                slice(max(columns, 0), width + min(columns, 0)),
            )
            open_ = self.free[own] & self.free[next_]
            start.append(number[own][open_])
            to.append(number[next_][open_])
            price.append(self.cost[next_][open_])
        ends = (np.concatenate(to), np.concatenate(start))
        return csr_matrix((np.concatenate(price), ends), shape=(number.size, number.size))
