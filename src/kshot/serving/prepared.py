"""Queries of the hot path, compiled once and run by SQLite's own driver.

A question to a task that is not in memory is one or two short reads. Through SQLAlchemy each costs 0.2 ms beside the
database's 0.02: a connection out of the pool, BEGIN, the statement's cache key, rows, ROLLBACK. One SELECT sees one
moment by itself, so nothing of that is needed for it.
"""

from __future__ import annotations

from collections import deque, namedtuple
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, Select
from sqlalchemy.exc import SQLAlchemyError

_IDLE = 16


class Prepared:
    """One query with named parameters, for one engine of SQLite."""

    def __init__(self, engine: Engine, query: Select[Any]) -> None:
        compiled = query.compile(engine)
        self.text, self.order = str(compiled), tuple(compiled.positiontup or ())
        self.row: Any = namedtuple("Row", [column.key for column in query.selected_columns])  # type: ignore[misc]


class QuickReads:
    """Runs prepared queries on connections of its own.

    Args:
        engine: of a SQLite database; its connections come with the engine's settings.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: deque[Any] = deque()
        self._known: dict[int, tuple[Any, Prepared]] = {}

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()

    def rows(self, query: Select[Any], asked: Mapping[str, Any]) -> list[Any] | None:
        """All rows as named tuples; None where the driver refused, and SQLAlchemy shall say why."""
        held = self._known.get(id(query))
        if held is None:
            held = self._known.setdefault(id(query), (query, Prepared(self._engine, query)))
        prepared = held[1]
        try:
            connection = self._idle.pop() if self._idle else self._opened()
        except IndexError:  # another thread was quicker
            connection = self._opened()
        except SQLAlchemyError:
            return None
        try:
            found = connection.execute(prepared.text, [asked[name] for name in prepared.order]).fetchall()
        except connection.Error:
            connection.close()
            return None
        if len(self._idle) < _IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        return list(map(prepared.row._make, found))

    def _opened(self) -> Any:
        held = self._engine.raw_connection()
        connection = held.driver_connection
        held.detach()
        return connection
