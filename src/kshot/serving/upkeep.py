"""Forgetting, deleting, keeping only so much, and giving room back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from kshot.errors import DataError
from kshot.serving.blobs import Blobs
from kshot.serving.copying import named_artifacts
from kshot.serving.faults import NotFound
from kshot.serving.packing import unpack_labels
from kshot.serving.rows import (
    INPUTS_QUERY,
    MODEL_QUERY,
    about_of,
    new_slot,
    seal_body,
    unseal_body,
    versions_query,
)
from kshot.serving.schema import ANSWERS, EXAMPLES, FEATURES, MODELS, SLOTS, STATES, TRASH, VERSIONS
from kshot.serving.sealing import new_key, seal, unseal

DAY = 86400.0
HOUR = 3600.0
_DEAD = bytes(16)

Left = Callable[[list[Any], str], str | None]
"""Labels that are left and the space before, to the space of these alone; None: too few are left."""


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
            lambda connection: _Rewrite(self, connection, tenant, model).forget(set(numbers), left)
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
            lambda connection: _Rewrite(self, connection, tenant, model).thin(most, left)
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
        return count


class _Rewrite:
    """One model's past, written anew under new keys; the old keys are destroyed."""

    def __init__(self, store: Upkeep, connection: Connection, tenant: str, model: str) -> None:
        self.store, self.connection, self.tenant, self.model = store, connection, tenant, model
        asked = {"tenant": tenant, "model": model}
        top = connection.execute(MODEL_QUERY, asked).first()
        if top is None:
            raise NotFound(f"no model {model}")
        self.top: Row[Any] = top
        self.rows = connection.execute(INPUTS_QUERY, asked).all()
        self.versions = connection.execute(versions_query(tenant, model)).all()
        self.labels: dict[int, Any] = {}
        self.held: dict[int, tuple[int, ...]] = {}
        for row in self.rows:
            numbers, labels = unpack_labels(
                unseal(row.secret, row.labels, "labels", model, row.block, tenant)
            )
            self.labels |= dict(zip(numbers, labels, strict=True))
            self.held[row.block] = numbers

    def forget(self, gone: set[int], left: Left) -> None:
        missing = sorted(gone - self.labels.keys())
        if missing:
            raise NotFound(f"example 'e{missing[0]}' is not in model {self.model}")
        self._versions(gone, set(), left)
        self._blocks(gone)

    def thin(self, most: int, left: Left) -> int:
        """Drop all versions but the newest, and examples that no version names any more."""
        old = {int(row.number) for row in self.versions[:-most]}
        named = {n for row in self.versions[-most:] for n in unseal_body(row).numbers}
        gone = self.labels.keys() - named
        self._versions(set(gone), old, left)
        self._blocks(set(gone))
        return len(old)

    def _versions(self, gone: set[int], old: set[int], left: Left) -> None:
        """Versions and their states under a new key of the model."""
        secret, top = new_key(), self.top
        for row in self.versions:
            version = unseal_body(row)
            here = (VERSIONS.c.model == self.model, VERSIONS.c.version == row.number)
            stay = tuple(n for n in version.numbers if n not in gone)
            space: str | None = version.space
            if len(stay) < len(version.numbers):
                space = left([self.labels[n] for n in stay], version.space)
            if space is None and row.number == top.version:
                raise DataError(
                    f"without these {len(gone)} examples model {self.model} has too few classes; delete the model"
                )
            self._state(row, secret, keep=row.number not in old and len(stay) == len(version.numbers))
            if space is None or row.number in old:
                self.connection.execute(delete(VERSIONS).where(*here))
                continue
            body = seal_body(secret, self.tenant, version._replace(space=space, numbers=stay))
            self.connection.execute(update(VERSIONS).where(*here).values(body=body))
        about = seal(
            secret, about_of(top)["name"].encode(), "name", self.model, self.tenant, top.version, top.base
        )
        slot = new_slot(self.connection, secret)
        self.connection.execute(
            update(MODELS).where(MODELS.c.id == self.model).values(slot=slot, about=about)
        )
        self.connection.execute(
            delete(ANSWERS).where(ANSWERS.c.tenant == self.tenant, ANSWERS.c.model == self.model)
        )
        destroy(self.connection, [top.slot])

    def _state(self, row: Row[Any], secret: bytes, keep: bool) -> None:
        here = (STATES.c.model == self.model, STATES.c.version == row.number)
        found = self.connection.execute(select(STATES.c.data, STATES.c.artifact).where(*here)).first()
        if found is None:
            return
        self.connection.execute(delete(STATES).where(*here))
        discard(self.connection, [found.artifact] if found.artifact else [])
        if keep:
            place = ("state", self.model, int(row.number), row.fingerprint)
            plain = unseal(self.top.secret, self.store.fetched(found.data, found.artifact), *place)
            data, artifact = self.store.placed(seal(secret, plain, *place))
            self.connection.execute(insert(STATES).values(
                model=self.model, version=row.number, tenant=self.tenant, data=data, artifact=artifact))  # fmt: skip

    def _blocks(self, gone: set[int]) -> None:
        """Blocks that lose examples, under new keys."""
        for row in self.rows:
            if not gone.intersection(self.held[row.block]):
                continue
            here = (EXAMPLES.c.model == self.model, EXAMPLES.c.block == row.block)
            cached = (FEATURES.c.model == self.model, FEATURES.c.block == row.block)
            features = self.connection.execute(select(FEATURES).where(*cached)).all()
            old = [*([row.artifact] if row.artifact else []), *(f.artifact for f in features if f.artifact)]
            keep = set(self.held[row.block]) - gone
            key = new_key()
            rest = self.store.block_of(row).only(keep) if keep else None
            kept = [made for f in features if (made := self._less(row, f, keep, key)) is not None]
            self.connection.execute(delete(EXAMPLES).where(*here))
            self.connection.execute(delete(FEATURES).where(*cached))
            destroy(self.connection, [row.slot])
            discard(self.connection, old)
            if rest is None:
                continue
            made = self.store.block_rows(key, self.tenant, self.model, row.block, rest, "")
            slot = new_slot(self.connection, key)
            self.connection.execute(insert(EXAMPLES).values(slot=slot, **made["examples"]))
            if kept:
                self.connection.execute(insert(FEATURES), kept)

    def _less(self, row: Row[Any], features: Row[Any], keep: set[int], key: bytes) -> dict[str, Any] | None:
        """The row of a block's features without those of forgotten examples, under its new key."""
        numbers, values = self.store.cached(row, features)
        places = [place for place, n in enumerate(numbers) if n in keep]
        if not places:
            return None
        own = [numbers[p] for p in places]
        where = (self.tenant, self.model, row.block, features.fingerprint)
        return self.store.features_row(key, *where, own, values[places])


def destroy(connection: Connection, slots: Collection[int]) -> None:
    """Overwrite sealing keys where they lie."""
    connection.execute(update(SLOTS).where(SLOTS.c.slot.in_(list(slots))).values(secret=_DEAD))


def discard(connection: Connection, artifacts: Collection[str]) -> None:
    """Note artifacts to be deleted once this is committed."""
    for name in set(artifacts):
        there = connection.execute(select(TRASH.c.artifact).where(TRASH.c.artifact == name)).scalar()
        if there is None:
            connection.execute(insert(TRASH).values(artifact=name))
