"""One database: SQLite by default, PostgreSQL by URL. Writes are grouped, reads see one moment.

One writer thread gathers what is waiting into one transaction (group commit); a caller is answered after that
transaction is on disk.
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Select, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from kshot.errors import need
from kshot.serving.database_faults import TRIES, fault, passing, pause
from kshot.serving.faults import Busy, ServingError, StoreFull
from kshot.serving.prepared import QuickReads

T = TypeVar("T")
Work = Callable[[Connection], T]
_GATHER = 128
_PAGE = 4096


class Database:
    """An engine, its writer, and what its errors mean.

    Args:
        url: an SQLAlchemy URL, sqlite:///FILE or postgresql+psycopg://...
    """

    def __init__(self, url: str) -> None:
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        if url.startswith("postgresql"):
            need("psycopg", "postgres")
        self.sqlite = url.startswith("sqlite")
        more: dict[str, Any] = {"pool_size": 20, "max_overflow": 40}
        if not self.sqlite:
            more = {
                "pool_size": 8,
                "max_overflow": 24,
                "pool_pre_ping": True,
                "connect_args": {"client_encoding": "utf8"},
            }
        self.engine: Engine = create_engine(url, **more)
        if self.sqlite:
            event.listen(self.engine, "connect", _pragmas)
            event.listen(self.engine, "begin", _begin)
        self._writing = self.engine.execution_options(kshot_writes=True)
        isolation = {} if self.sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading = self.engine.execution_options(**isolation)
        self._quick = QuickReads(self.engine) if self.sqlite else None
        self._queue: queue.Queue[tuple[Work[Any], Future[Any]] | None] = queue.Queue(1024)
        self._writer: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def file(self) -> Path | None:
        """Where a SQLite database lies; None: it is another, or in memory."""
        name = self.engine.url.database
        return Path(name) if self.sqlite and name and name != ":memory:" else None

    def close(self) -> None:
        """Commit what waits and let go of the database."""
        with self._lock:
            self._closed = True
            writer = self._writer
        if writer is not None:
            self._queue.put(None)
            writer.join()
        if self._quick is not None:
            self._quick.close()
        self.engine.dispose()

    def change(self, work: Work[T]) -> T:
        """Run `work` in the writer's next transaction; returns when that is on disk.

        `work` runs again where the connection broke, so it changes nothing but the database.

        Raises:
            StoreFull: the disk is full. Busy: the database does not answer. Conflict: another was first.
        """
        return self.changing(work).result()

    def changing(self, work: Work[T]) -> Future[T]:
        """As `change`, without waiting: its result is there, or raised, when it is on disk."""
        done: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise Busy("the store is closed; the server is stopping")
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, name="kshot-writer", daemon=True)
                self._writer.start()
        self._queue.put((work, done))
        return done

    def read(self, work: Work[T]) -> T:
        """Run `work` on one moment's view of the database. Raises as `change`."""
        for left in reversed(range(TRIES)):
            try:
                with self._reading.connect() as connection:
                    return work(connection)
            except (DBAPIError, PoolTimeout) as cause:
                if not (left and passing(cause)):
                    raise fault(cause) from cause
                pause(left)
        raise AssertionError

    def rows(self, query: Select[Any], asked: Mapping[str, Any]) -> list[Any]:
        """All rows of one query, by the shortest way; `asked` has its parameters. Raises as `change`."""
        if self._quick is not None and (found := self._quick.rows(query, asked)) is not None:
            return found
        return self.read(lambda connection: list(connection.execute(query, dict(asked)).all()))

    def _write(self) -> None:
        stopping = False
        while not stopping:
            batch = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < _GATHER:
                    batch.append(self._queue.get_nowait())
            stopping = any(item is None for item in batch)
            if group := [item for item in batch if item is not None]:
                self._commit(group)

    def _commit(self, group: list[tuple[Work[Any], Future[Any]]]) -> None:
        for left in reversed(range(TRIES)):
            try:
                results = self._together([work for work, _ in group])
            except Exception as cause:
                if left and passing(cause):
                    pause(left)
                    continue
                for _, done in group:
                    done.set_exception(fault(cause))
                return
            for (_, done), (value, error) in zip(group, results, strict=True):
                if error is None:
                    done.set_result(value)
                else:
                    done.set_exception(error)
            return

    def _together(self, works: list[Work[Any]]) -> list[tuple[Any, BaseException | None]]:
        """All works in one transaction; one that refuses leaves nothing and does not harm the others."""
        results: list[tuple[Any, BaseException | None]] = []
        try:
            with self._writing.begin() as connection:
                for work in works:
                    try:
                        with connection.begin_nested() if len(works) > 1 else contextlib.nullcontext():
                            results.append((work(connection), None))
                    except (ServingError, ValueError, IntegrityError) as cause:
                        results.append((None, fault(cause)))
                        if len(works) == 1:
                            raise
        except (ServingError, ValueError, IntegrityError):
            if not (len(works) == 1 and results):
                raise
        return results

    def alone(self, statement: str) -> None:
        """Run a statement that stands in no transaction, as VACUUM. Raises as `change`."""
        try:
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                if self.sqlite:
                    raw: Any = connection.connection.dbapi_connection
                    raw.execute(statement)
                else:
                    connection.exec_driver_sql(statement)
        except DBAPIError as cause:
            raise fault(cause) from cause

    def rewrite(self, table: str) -> None:
        """PostgreSQL: write a table anew, so that old versions of its rows are in no file of it any more.

        Raises:
            Busy: an old transaction still sees them.
        """
        for _ in range(100):
            if self._rewritten(table):
                return
            time.sleep(0.1)
        raise Busy(f"an old transaction still sees overwritten rows of {table}; end it, then forget again")

    def _rewritten(self, table: str) -> bool:
        held: list[str] = []

        def heard(said: Any) -> None:
            held.append(said.message_detail or "")

        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            raw: Any = connection.connection.dbapi_connection
            raw.add_notice_handler(heard)
            try:
                connection.exec_driver_sql(f"VACUUM (FULL, VERBOSE) {table}")
            except DBAPIError as cause:
                raise fault(cause) from cause
            finally:
                raw.remove_notice_handler(heard)
        # "N dead row versions cannot be removed yet", in the server's language: the number comes first
        return all(found[0] == "0" for detail in held if (found := re.findall(r"\d+", detail)))

    def purge_log(self) -> None:
        """SQLite: what was overwritten leaves the write-ahead log too.

        Raises:
            Busy: a reader holds the log.
        """
        if not self.sqlite:
            return
        for _ in range(200):
            with self.engine.connect() as connection:
                raw: Any = connection.connection.dbapi_connection
                try:
                    busy = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                except Exception as cause:
                    raise StoreFull(f"the write-ahead log cannot be emptied ({cause}); free space") from cause
            if not busy:
                return
            time.sleep(0.02)
        raise Busy("overwritten bytes are still in the write-ahead log (a reader holds it); forget again")


def _pragmas(connection: Any, _: Any) -> None:
    connection.isolation_level = None
    for rule in (
        f"page_size={_PAGE}", "busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON",
        "cache_size=-1024",
    ):  # fmt: skip
        connection.execute(f"PRAGMA {rule}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("kshot_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
