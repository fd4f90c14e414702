"""Examples that are read when somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any


class Deferred(Sequence[Any]):
    """Inputs or labels that are read when somebody looks at them.

    >>> later = Deferred(2, lambda: ["x", "y"])
    >>> len(later), later[1]
    (2, 'y')
    """

    def __init__(self, count: int, read: Callable[[], list[Any]]) -> None:
        self._count, self._read, self._found = count, read, list[Any]()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        return self.all()[place]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.all())

    def all(self) -> list[Any]:
        """All of them."""
        if not self._found:
            self._found = self._read()
        return self._found
