"""Models of tenants on disk. Examples are the truth, features and states are caches.

There is no method that reads a model without a tenant. A version is immutable; only `forget` changes the past.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sqlalchemy import delete

from kshot.serving import upgrading
from kshot.serving.artifacts import Artifacts
from kshot.serving.checking import Checking
from kshot.serving.client_keys import ClientKeys
from kshot.serving.copying import Copying
from kshot.serving.database import Database
from kshot.serving.faults import ServingError
from kshot.serving.packing import Block
from kshot.serving.rows import Stored, Version
from kshot.serving.schema import ANSWERS
from kshot.serving.shelf import Shelf
from kshot.serving.upkeep import Upkeep
from kshot.serving.writing import Writing

__all__ = ["Block", "Store", "Stored", "Version"]


class Store(Writing, ClientKeys, Copying, Checking, Upkeep):
    """Models of tenants.

    Args:
        url: an SQLAlchemy URL; `Store.at(folder)` makes the one of a SQLite file.
        artifacts: where large blobs go, as fsspec takes it; None: into the rows.

    Raises:
        SettingError: the database has an older or newer schema.
    """

    def __init__(self, url: str, artifacts: str | None = None) -> None:
        self.database = Database(url)
        self.artifacts = Artifacts(artifacts) if artifacts else None
        file = self.database.file
        self.shelf = None if file is None else Shelf(file)
        try:
            upgrading.ready(self.database)
            self.empty_trash()
        except BaseException:
            self.database.close()
            raise

    @classmethod
    def at(cls, folder: Path, artifacts: str | None = None) -> Store:
        """The SQLite store of a folder, made where there is none; large blobs go beside it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = folder.absolute()
        return cls(f"sqlite:///{place / 'kshot.db'}", artifacts or f"file://{place / 'artifacts'}")

    @property
    def engine(self) -> Any:
        """SQLAlchemy's engine."""
        return self.database.engine

    def close(self) -> None:
        """Commit what waits and let go of the database."""
        self.database.close()
        if self.shelf is not None:
            self.shelf.close()

    def writable(self) -> bool:
        """Can something be committed now?"""
        old = time.time() - self.keep_answers
        try:
            self.database.change(lambda c: c.execute(delete(ANSWERS).where(ANSWERS.c.made < old)).rowcount)
        except ServingError:
            return False
        return True
