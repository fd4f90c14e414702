"""Caches of tasks in a file beside a SQLite database: what an answer needs is one read, which can be begun beforehand.

A database spreads 20 kB over two or three pages, each found in the one before it, so a task that is not in memory costs
as many waits for the disk. Here it lies in one piece, and its row says where: the system is told to fetch it while
the input is still being encoded.

Nothing waits until these bytes are on disk, because they can be made again. Each piece is sealed, so what a power cut
took, or a byte that changed, is noticed when it is read, and counts as not kept.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from kshot.serving.faults import StoreFull

_OFFSET = 44
_WITHIN = (1 << _OFFSET) - 1
_BEGINS = getattr(os, "posix_fadvise", None)


class Shelf:
    """Pieces of bytes in files FILE.features.1, .2, ...; only the newest grows. Several processes may share it.

    Args:
        database: the file of the database.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shelf = Shelf(Path(folder) / "kshot.db")
    ...     place = shelf.put(b"four bytes and more")
    ...     shelf.get(place, 4), shelf.get(place + 15, 9)
    (b'four', None)
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._reads: dict[int, int] = {}
        self._end: tuple[int, int] | None = None

    def put(self, data: bytes) -> int:
        """Where these bytes lie from now on. Raises StoreFull."""
        with self._lock:
            try:
                number, handle = self._newest()
                if (written := os.write(handle, data)) == len(data):
                    # appending leaves the handle behind what it wrote, also where another process wrote meanwhile
                    return number << _OFFSET | os.lseek(handle, 0, os.SEEK_CUR) - len(data)
                cause = f"{written} of {len(data)} bytes"
            except OSError as error:
                cause = str(error)
        raise StoreFull(f"nothing was changed: features cannot be written ({cause}); free space")

    def get(self, place: int, length: int) -> bytes | None:
        """The bytes; None: they are not there."""
        handle = self._reading(place >> _OFFSET)
        if handle is None:
            return None
        try:
            found = os.pread(handle, length, place & _WITHIN)
        except OSError:
            return None
        return found if len(found) == length else None

    def ahead(self, place: int, length: int) -> None:
        """Have the system fetch bytes that will be asked for in a moment."""
        handle = self._reading(place >> _OFFSET)
        if handle is None or _BEGINS is None:
            return
        try:
            _BEGINS(handle, place & _WITHIN, length, os.POSIX_FADV_WILLNEED)
        except OSError:  # of no consequence: `get` waits for it
            return

    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for _, path in self.files())

    def files(self) -> Iterator[tuple[int, Path]]:
        """Files by their number."""
        for path in self._database.parent.glob(f"{self._database.name}.features.*"):
            if path.suffix[1:].isdecimal():
                yield int(path.suffix[1:]), path

    def fresh(self) -> list[Path]:
        """Begin a new file, and tell the old ones, to be deleted once no row names them."""
        with self._lock:
            old = list(self.files())
            self._leave()
            self._path(max([number for number, _ in old], default=0) + 1).touch(mode=0o600)
        return [path for _, path in old]

    def copy_to(self, database: Path) -> None:
        """The same files beside a copy of the database, on disk when this returns."""
        for number, path in self.files():
            with path.open("rb") as source, Shelf(database)._path(number).open("xb") as target:
                while part := source.read(2**20):
                    target.write(part)
                target.flush()
                os.fsync(target.fileno())

    def close(self) -> None:
        """Put what was written on disk, and let go of the files."""
        with self._lock:
            if self._end is not None:
                with contextlib.suppress(OSError):
                    os.fsync(self._end[1])
            self._leave()
            while self._reads:
                os.close(self._reads.popitem()[1])

    def _path(self, number: int) -> Path:
        return self._database.with_name(f"{self._database.name}.features.{number}")

    def _newest(self) -> tuple[int, int]:
        """The file that grows, and a handle that appends; another process may have begun a new one."""
        if self._end is not None and not os.fstat(self._end[1]).st_nlink:
            self._leave()
        if self._end is None:
            number = max((number for number, _ in self.files()), default=1)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._end = number, os.open(self._path(number), flags, 0o600)
        return self._end

    def _leave(self) -> None:
        if self._end is not None:
            os.close(self._end[1])
            self._end = None

    def _reading(self, number: int) -> int | None:
        handle = self._reads.get(number)
        if handle is not None:
            return handle
        with self._lock, contextlib.suppress(OSError):
            if number not in self._reads:
                self._reads[number] = os.open(self._path(number), os.O_RDONLY)
        return self._reads.get(number)
