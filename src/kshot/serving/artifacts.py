"""Large bytes outside of the database, by content hash, through fsspec: a folder, S3, GCS, Azure.

Files are written once, before the row that names them; one without a row does no harm and is swept later.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any

from kshot.errors import need
from kshot.serving.faults import Corrupt, StoreFull

_NAME = re.compile(r"[0-9a-f]{64}")


class Artifacts:
    """Bytes by their SHA-256.

    Args:
        url: where, as fsspec takes it: file:///var/kshot, s3://bucket/folder, memory://x.
    """

    def __init__(self, url: str) -> None:
        core = need("fsspec.core", "serve")
        self.url = url
        self.files, self.root = core.url_to_fs(url)
        self.local = "file" in (
            self.files.protocol if isinstance(self.files.protocol, tuple) else (self.files.protocol,)
        )

    def put(self, data: bytes) -> str:
        """Keep bytes; returns their name, when they are on disk.

        Raises:
            StoreFull: they cannot be written.
        """
        name = hashlib.sha256(data).hexdigest()
        path = self._path(name)
        try:
            self.files.makedirs(path.rpartition("/")[0], exist_ok=True)
            if self.local:
                _write(path, data)
            else:
                self.files.pipe_file(path, data)
        except OSError as cause:
            raise StoreFull(
                f"nothing was changed: {len(data)} bytes cannot be written to the artifacts ({cause}); free space"
            ) from cause
        return name

    def get(self, name: str) -> bytes:
        """The bytes of a name.

        Raises:
            Corrupt: they are gone or changed.
        """
        try:
            data: bytes = self.files.cat_file(self._path(name))
        except FileNotFoundError:
            raise Corrupt(f"artifact {name[:12]} is gone; restore a backup of the artifacts") from None
        if hashlib.sha256(data).hexdigest() != name:
            raise Corrupt(
                f"artifact {name[:12]} does not fit its checksum; restore a backup of the artifacts"
            )
        return data

    def drop(self, name: str) -> None:
        """Delete the bytes of a name, where they are."""
        with contextlib.suppress(FileNotFoundError):
            self.files.rm_file(self._path(name))

    def names(self, older: float = 0.0) -> Iterator[str]:
        """Names that have been there for `older` seconds."""
        now = time.time()
        found: dict[str, Any] = (
            self.files.find(self.root, detail=True) if self.files.exists(self.root) else {}
        )
        for path, info in found.items():
            age = now - float(info.get("mtime") or _stamp(info) or 0.0)
            name = path.rpartition("/")[2]
            if age < older:
                continue
            if _NAME.fullmatch(name):
                yield name
            elif name.startswith(".part-"):
                self.files.rm_file(path)

    def _path(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise Corrupt(f"{name[:80]!r} is no name of an artifact; restore a backup")
        return f"{self.root}/{name[:2]}/{name}"


def _write(path: str, data: bytes) -> None:
    """In one step and on disk, also the folder's entry."""
    folder = os.path.dirname(path)
    part = os.path.join(folder, f".part-{secrets.token_hex(8)}")
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    with contextlib.suppress(OSError):  # Windows opens no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _stamp(info: dict[str, Any]) -> float:
    when: Any = info.get("LastModified") or info.get("last_modified") or info.get("created") or 0.0
    return float(when.timestamp()) if hasattr(when, "timestamp") else float(when)
