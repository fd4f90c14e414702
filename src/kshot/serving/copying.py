"""A whole copy of a store, of one moment, while it is in use: any database to any other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select, text

from kshot.errors import DataError
from kshot.serving.artifacts import Artifacts
from kshot.serving.blobs import Blobs
from kshot.serving.database import Database
from kshot.serving.schema import EXAMPLES, FEATURES, SLOTS, STATES, metadata
from kshot.serving.shelf import Shelf
from kshot.serving.upgrading import ready, revision

_ROWS = 256


class Copying(Blobs):
    """What a store does to be copied."""

    def backup(self, path: Path) -> Path:
        """A copy as a SQLite file, with large blobs in the folder `path`.artifacts beside it, and features in files
        `path`.features.1 and so on; without those they are made again.

        Raises:
            DataError: there is something at `path` already.
        """
        if path.exists():
            raise DataError(f"{path} is there already; give the name of a new file")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if self.database.sqlite:
                self.database.alone("VACUUM INTO " + quoted(path))
                copy = Database(f"sqlite:///{path.absolute()}")
                try:
                    self._copy_artifacts(copy, f"file://{path.absolute()}.artifacts")
                finally:
                    copy.close()
                if self.shelf is not None:
                    self.shelf.copy_to(path)
            else:
                self.copy_to(f"sqlite:///{path.absolute()}", f"file://{path.absolute()}.artifacts")
            _on_disk(path)
        except BaseException:
            for left in (
                path,
                *(Path(f"{path}{end}") for end in ("-wal", "-shm")),
                *(p for _, p in Shelf(path).files()),
            ):
                left.unlink(missing_ok=True)
            raise
        return path

    def copy_to(self, url: str, artifacts: str | None) -> int:
        """Copy everything to another database, which must be empty; how many rows.

        Raises:
            DataError: the other database holds something.
        """
        target = Database(url)
        try:
            if target.read(revision) is not None:
                raise DataError("the target database holds tables already; give an empty one")
            ready(target)
            count = self.database.read(lambda source: target.change(lambda to: self._copied(source, to)))
            self._copy_artifacts(target, artifacts)
        finally:
            target.close()
        return count

    def _copied(self, source: Connection, target: Connection) -> int:
        count = 0
        for table in metadata.sorted_tables:
            found = source.execution_options(stream_results=True, yield_per=_ROWS).execute(select(table))
            for part in found.partitions(_ROWS):
                rows = [dict(row._mapping) for row in part]
                target.execute(insert(table), rows if table is not FEATURES else list(map(self._whole, rows)))
                count += len(part)
        if target.dialect.name == "postgresql":
            last = target.execute(select(func.max(SLOTS.c.slot))).scalar()
            if last is not None:
                name = text("SELECT setval(pg_get_serial_sequence('slots', 'slot'), :last)")
                target.execute(name, {"last": last})
        return count

    def _whole(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of features with what it names on the shelf; what is not there any more is not kept."""
        if self.shelf is None:
            return row
        for place, length, held in (("place", "length", "data"), ("sheet_place", "sheet_length", "sheet")):
            if row[place] is not None:
                row[held] = self.shelf.get(row[place], row[length])
                row[place] = row[length] = None
        return row

    def _copy_artifacts(self, target: Database, url: str | None) -> None:
        """The artifacts that the copy names."""
        names = target.read(named_artifacts)
        if not names:
            return
        if url is None or self.artifacts is None:
            raise DataError(f"the store has {len(names)} artifacts; say where they go")
        place = Artifacts(url)
        for name in sorted(names):
            place.put(self.artifacts.get(name))


def named_artifacts(connection: Connection) -> set[str]:
    """All artifacts that rows name."""
    found: set[str] = set()
    for table in (EXAMPLES, FEATURES, STATES):
        query = select(table.c.artifact).where(table.c.artifact.is_not(None))
        found |= {str(name) for name in connection.execute(query).scalars()}
    return found


def quoted(path: Path) -> str:
    """A path as a literal of SQL."""
    return "'" + str(path).replace("'", "''") + "'"


def _on_disk(path: Path) -> None:
    handle: Any = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
