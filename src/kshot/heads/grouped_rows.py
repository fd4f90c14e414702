"""Rows of numbers that are mostly zero, and of few different values in each, as hashed n-grams are."""

from __future__ import annotations

import numpy as np

_FEW = 4
"""Queries up to which they are multiplied one after the other; for more it pays to put the zeros back."""


class GroupedRows:
    """Rows [n, d] without their zeros: the values that occur in each row, each with the columns where it stands. A product
    adds up a query's numbers of each group and multiplies once, and whole rows are never written.

    Wide rows are cut into planes of columns, one behind the other, each with all rows.

    Args:
        shape: n, d. columns: of the values that are not zero, whole numbers [k], by plane, row and value.
        first: where each group of equal values begins, [g]. values: of each group, float32 [g].
        begins: at which group each row of each plane begins, [planes * n]; none is without a group.

    >>> rows = GroupedRows((2, 3), np.array([0, 2, 1]), np.array([0, 2]), np.float32([5, 7]), np.array([0, 1]))
    >>> np.asarray(rows).tolist()
    [[5.0, 0.0, 5.0], [0.0, 7.0, 0.0]]
    >>> rows.products(np.ones((1, 3), np.float32)).tolist()
    [[10.0, 7.0]]
    """

    __slots__ = ("begins", "columns", "first", "shape", "values")

    def __init__(
        self,
        shape: tuple[int, int],
        columns: np.ndarray,
        first: np.ndarray,
        values: np.ndarray,
        begins: np.ndarray,
    ) -> None:
        self.shape, self.columns, self.first, self.values, self.begins = shape, columns, first, values, begins

    @property
    def nbytes(self) -> int:
        """What it weighs, with the bytes that it was read from: parts of it are views of those."""
        return 2 * self.columns.nbytes + self.first.nbytes + self.values.nbytes + self.begins.nbytes

    def products(self, queries: np.ndarray) -> np.ndarray:
        """Inner products [m, n] with queries [m, d]."""
        if len(queries) == 1:
            return self._products(queries[0])[None]
        if len(queries) <= _FEW:
            return np.stack([self._products(query) for query in queries])
        whole: np.ndarray = queries @ np.asarray(self).T
        return whole

    def _products(self, query: np.ndarray) -> np.ndarray:
        sums: np.ndarray = np.add.reduceat(query.take(self.columns), self.first)
        sums *= self.values
        found: np.ndarray = np.add.reduceat(sums, self.begins)
        count = self.shape[0]
        return found if len(found) == count else found.reshape(-1, count).sum(0)

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        """All of it in float32 [n, d], made anew."""
        count, width = self.shape
        of_group = np.diff(self.first, append=len(self.columns))
        of_row = np.diff(self.begins, append=len(self.first))
        rows = np.tile(np.arange(count), len(self.begins) // max(count, 1)).repeat(of_row).repeat(of_group)
        whole = np.zeros(count * width, np.float32)
        whole[rows * width + self.columns] = self.values.repeat(of_group)
        return whole.reshape(self.shape)
