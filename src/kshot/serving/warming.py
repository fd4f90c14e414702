"""Reading beforehand what every question looks up, so that the first to many tasks do not each wait for the disk."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from kshot.serving.database import Database

_MOST = 500_000
"""Sealing keys up to which it is done: a quarter of a million models, whose small rows are about 130 megabytes. Forgetting
waits for a scan that goes on, so none may take long."""
_SCANS = (
    "SELECT count(*) FROM slots",
    "SELECT max(length(about)) FROM models",
    "SELECT max(length) FROM features",
)
_STEPS = 20_000


class Warming:
    """Has the system read the small tables of a SQLite database, 0.5 kB of each model, in a thread; the shelf stays where
    it is. Without it they come a page at a time: after 8,000 questions to 100,000 tasks one in twelve still waits for one.

    It is of use and never needed, so whatever goes wrong ends it.
    """

    def __init__(self, database: Database) -> None:
        self._database, self._stop = database, threading.Event()
        self._thread = threading.Thread(target=self._run, name="kshot-warm", daemon=True)
        if database.file is not None:
            self._thread.start()

    def wait(self) -> None:
        """Until it is done."""
        if self._thread.ident is not None:
            self._thread.join()

    def close(self) -> None:
        """End it early."""
        self._stop.set()
        self.wait()

    def _run(self) -> None:
        with contextlib.suppress(SQLAlchemyError), self._database.engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            raw.set_progress_handler(self._stop.is_set, _STEPS)
            try:
                with contextlib.suppress(raw.Error):
                    last = raw.execute("SELECT max(slot) FROM slots").fetchone()[0]
                    if last is not None and last <= _MOST:
                        with _no_neighbours(self._database.file):
                            for scan in (*_SCANS, *_SCANS):  # what was read once only is let go first
                                raw.execute(scan).fetchone()
            finally:
                raw.set_progress_handler(None, 0)


@contextlib.contextmanager
def _no_neighbours(file: Path | None) -> Iterator[None]:
    """Meanwhile the system reads no more of the database than is asked for. Between pages of the small tables lie those of
    examples, three times as many, and they would take the room of what is on the shelf.
    """
    held = [handle for handle in _handles() if file is not None and _leads_to(handle, file)]
    _advise(held, "POSIX_FADV_RANDOM")
    try:
        yield
    finally:
        _advise(held, "POSIX_FADV_NORMAL")


def _handles() -> list[int]:
    """Open files of this process, where the system tells them: SQLite does not."""
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return []


def _leads_to(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except OSError:  # closed since
        return False


def _advise(handles: Sequence[int], name: str) -> None:
    if not hasattr(os, name):
        return
    for handle in handles:
        with contextlib.suppress(OSError):
            os.posix_fadvise(handle, 0, 0, getattr(os, name))
