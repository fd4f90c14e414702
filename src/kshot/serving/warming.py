"""Reading beforehand what every question looks up, so that the first to many tasks do not each wait for the disk."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from kshot.serving.database import Database

_MOST = 4_000_000
"""Sealing keys up to which it is done: two million models, whose small rows are about one gigabyte."""
_SCANS = (
    "SELECT count(*) FROM slots",
    "SELECT max(length(about)) FROM models",
    "SELECT count(*) FROM features",
    "SELECT max(length) FROM features NOT INDEXED",
)
_STEPS = 20_000


def warm(database: Database, stop: threading.Event) -> None:
    """Have the system read the small tables of a SQLite database, 0.5 kB of each model; the shelf stays where it is.

    Without it they come a page at a time: after 10,000 questions to 100,000 tasks one in five still waits for one.
    It is of use and never needed, so whatever goes wrong ends it.

    Args:
        stop: ends it early.
    """
    if database.file is None:
        return
    with contextlib.suppress(SQLAlchemyError), database.engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        raw.set_progress_handler(stop.is_set, _STEPS)
        try:
            with contextlib.suppress(raw.Error):
                last = raw.execute("SELECT max(slot) FROM slots").fetchone()[0]
                if last is not None and last <= _MOST:
                    for scan in (*_SCANS, *_SCANS):  # what was read once only is let go first
                        raw.execute(scan).fetchone()
        finally:
            raw.set_progress_handler(None, 0)
