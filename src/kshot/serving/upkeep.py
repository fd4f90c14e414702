"""Forgetting, deleting, keeping only so much, and giving room back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, update

from kshot.serving.blobs import INLINE, Blobs
from kshot.serving.copying import named_artifacts
from kshot.serving.faults import NotFound
from kshot.serving.forgetting import Left, Rewrite, destroy, discard
from kshot.serving.schema import ANSWERS, EXAMPLES, FEATURES, MODELS, SLOTS, STATES, TRASH, VERSIONS
from kshot.serving.shelf import Shelf

DAY = 86400.0
HOUR = 3600.0


_KEY = (FEATURES.c.model, FEATURES.c.block, FEATURES.c.fingerprint)
_PLACES = (FEATURES.c.place, FEATURES.c.length, FEATURES.c.sheet_place, FEATURES.c.sheet_length)


class Upkeep(Blobs):
    """What a store does about the past.

    Attributes:
        keep_versions: of each model, the newest so many; None: all.
        keep_answers: seconds that answers to idempotency keys are kept.
    """

    keep_versions: int | None = None
    keep_answers: float = DAY

    def forget(self, tenant: str, model: str, numbers: Collection[int], left: Left) -> None:
        """Delete examples from all versions, with the answers of idempotency keys; nothing readable stays.

        Versions that have too few examples without them are deleted too, but not the newest.

        Raises:
            NotFound: no such model or example. DataError: too few examples would be left.
        """
        self.database.change(
            lambda connection: Rewrite(self, connection, tenant, model).forget(set(numbers), left)
        )
        self.purge()

    def drop(self, tenant: str, model: str) -> None:
        """Delete a model with everything of it. Raises NotFound."""

        def work(connection: Connection) -> None:
            query = select(MODELS.c.slot).where(MODELS.c.tenant == tenant, MODELS.c.id == model)
            slot = connection.execute(query).scalar()
            if slot is None:
                raise NotFound(f"no model {model}")
            slots = (
                connection.execute(select(EXAMPLES.c.slot).where(EXAMPLES.c.model == model)).scalars().all()
            )
            destroy(connection, [slot, *slots])
            for table in (EXAMPLES, FEATURES, STATES):
                query = select(table.c.artifact).where(table.c.model == model, table.c.artifact.is_not(None))
                discard(connection, connection.execute(query).scalars().all())
            for table in (VERSIONS, EXAMPLES, FEATURES, STATES, ANSWERS):
                connection.execute(delete(table).where(table.c.tenant == tenant, table.c.model == model))
            connection.execute(delete(MODELS).where(MODELS.c.tenant == tenant, MODELS.c.id == model))

        self.database.change(work)
        self.purge()

    def purge(self) -> None:
        """What was overwritten leaves the files: the log, artifacts, and on PostgreSQL the old rows of keys."""
        self.empty_trash()
        if self.database.sqlite:
            self.database.purge_log()
        else:
            self.database.rewrite(SLOTS.name)

    def empty_trash(self) -> None:
        """Delete artifacts that no row names any more."""
        names = self.database.read(lambda c: list(c.execute(select(TRASH.c.artifact)).scalars()))
        if not names or self.artifacts is None:
            return
        for name in names:
            self.artifacts.drop(name)
        self.database.change(lambda c: c.execute(delete(TRASH).where(TRASH.c.artifact.in_(names))).rowcount)

    def sweep(self, left: Left, *, orphans: bool = True) -> dict[str, int]:
        """Apply what is to be kept: old answers, old versions, artifacts without a row. Tells how many went.

        Args:
            orphans: also look through all artifacts; without it this is quick enough for a start.
        """
        old = time.time() - self.keep_answers
        gone = {"answers": self.database.change(
            lambda c: int(c.execute(delete(ANSWERS).where(ANSWERS.c.made < old)).rowcount))}  # fmt: skip
        gone["versions"] = self._old_versions(left)
        gone["artifacts"] = self._orphans() if orphans else 0
        self.tidy_shelf()
        if gone["versions"]:
            self.purge()
        return gone

    def _old_versions(self, left: Left) -> int:
        most = self.keep_versions
        if most is None:
            return 0
        query = select(VERSIONS.c.tenant, VERSIONS.c.model).group_by(VERSIONS.c.tenant, VERSIONS.c.model)
        found = self.database.read(lambda c: c.execute(query.having(func.count() > most)).all())
        count = 0
        for tenant, model in found:
            with contextlib.suppress(NotFound):
                count += self._thinned(tenant, model, most, left)
        return count

    def _thinned(self, tenant: str, model: str, most: int, left: Left) -> int:
        return self.database.change(
            lambda connection: Rewrite(self, connection, tenant, model).thin(most, left)
        )

    def _orphans(self) -> int:
        if self.artifacts is None:
            return 0

        names = [*self.artifacts.names(older=HOUR)]  # first: what comes later has a row before it is that old
        kept = self.database.read(named_artifacts)
        lost = [name for name in names if name not in kept]
        for name in lost:
            self.artifacts.drop(name)
        return len(lost)

    def drop_features(self, fingerprint: str | None = None) -> int:
        """Drop the cache of features, of one base or of all; they are made again when a task is asked. How many."""
        where = FEATURES.c.fingerprint == fingerprint if fingerprint else FEATURES.c.model.is_not(None)

        def work(connection: Connection) -> int:
            query = select(FEATURES.c.artifact).where(where, FEATURES.c.artifact.is_not(None))
            discard(connection, connection.execute(query).scalars().all())
            return int(connection.execute(delete(FEATURES).where(where)).rowcount)

        count = self.database.change(work)
        self.empty_trash()
        self.tidy_shelf()
        return count

    def tidy_shelf(self) -> None:
        """Write the shelf anew where no row names most of it any more. Who still has the old files open can read them."""
        shelf = self.shelf
        if shelf is None:
            return
        held = func.coalesce(FEATURES.c.length, 0) + func.coalesce(FEATURES.c.sheet_length, 0)
        used = self.database.read(lambda c: int(c.execute(select(func.sum(held))).scalar() or 0))
        if shelf.size() <= 2 * used + INLINE * bool(used):
            return
        old: list[Path] = []

        def work(connection: Connection) -> None:
            old[:] = shelf.fresh()
            named = or_(FEATURES.c.place.is_not(None), FEATURES.c.sheet_place.is_not(None))
            for row in connection.execute(select(*_KEY, *_PLACES).where(named)).all():
                here = [column == value for column, value in zip(_KEY, row, strict=False)]
                connection.execute(update(FEATURES).where(*here).values(**_moved(shelf, row)))

        self.database.change(work)
        for path in old:
            path.unlink(missing_ok=True)


def _moved(shelf: Shelf, row: Any) -> dict[str, int | None]:
    """Where features and sheet of a row lie now; what cannot be read is not kept any more."""
    told: dict[str, int | None] = dict.fromkeys(("place", "length", "sheet_place", "sheet_length"))
    data = None if row.place is None else shelf.get(row.place, row.length)
    sheet = None if row.sheet_place is None else shelf.get(row.sheet_place, row.sheet_length)
    place = shelf.put((data or b"") + (sheet or b""))
    if data is not None:
        told |= {"place": place, "length": len(data)}
    if sheet is not None:
        told |= {"sheet_place": place + len(data or b""), "sheet_length": len(sheet)}
    return told
