"""Writing a model's past anew without some of its examples, under new keys."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from kshot.errors import DataError
from kshot.serving.blobs import Blobs
from kshot.serving.faults import Corrupt, NotFound
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

_DEAD = bytes(16)

Left = Callable[[list[Any], str], str | None]
"""Labels that are left and the space before, to the space of these alone; None: too few are left."""


class Rewrite:
    """One model's past, written anew under new keys; the old keys are destroyed."""

    def __init__(self, store: Blobs, connection: Connection, tenant: str, model: str) -> None:
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
        kept = [unseal_body(row) for row in self.versions[-most:]]
        named = {n for version in kept for n in (*version.numbers, *version.golden)}
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
            golden = tuple(n for n in version.golden if n not in gone)
            body = seal_body(secret, self.tenant, version._replace(space=space, numbers=stay, golden=golden))
            self.connection.execute(update(VERSIONS).where(*here).values(body=body))
        about = seal(
            secret, about_of(top)["name"].encode(), "name", self.model, self.tenant, top.version, top.base
        )
        slot = new_slot(self.connection, secret)
        self.connection.execute(
            update(MODELS).where(MODELS.c.id == self.model).values(slot=slot, about=about)
        )
        none = self.store.sheet_columns(None)
        self.connection.execute(update(FEATURES).where(FEATURES.c.model == self.model).values(**none))
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
            if gone.intersection(self.held[row.block]):
                self._block(row, set(self.held[row.block]) - gone)

    def _block(self, row: Row[Any], keep: set[int]) -> None:
        here = (EXAMPLES.c.model == self.model, EXAMPLES.c.block == row.block)
        cached = (FEATURES.c.model == self.model, FEATURES.c.block == row.block)
        features = self.connection.execute(select(FEATURES).where(*cached)).all()
        old = [*([row.artifact] if row.artifact else []), *(f.artifact for f in features if f.artifact)]
        rest = self.store.block_of(row).only(keep) if keep else None
        self.connection.execute(delete(EXAMPLES).where(*here))
        self.connection.execute(delete(FEATURES).where(*cached))
        destroy(self.connection, [row.slot])
        discard(self.connection, old)
        if rest is None:
            return
        key = new_key()
        made = self.store.block_rows(key, self.tenant, self.model, row.block, rest, "")["examples"]
        slot = new_slot(self.connection, key)
        self.connection.execute(insert(EXAMPLES).values(slot=slot, **made))
        kept = [less for f in features if (less := self._less(row, f, keep, key)) is not None]
        if kept:
            self.connection.execute(insert(FEATURES), [{**less, "slot": slot} for less in kept])

    def _less(self, row: Row[Any], features: Row[Any], keep: set[int], key: bytes) -> dict[str, Any] | None:
        """The row of a block's features without those of forgotten examples, under its new key."""
        try:
            numbers, values = self.store.cached(row, features)
        except Corrupt:
            if features.place is None:
                raise
            return None  # lost from the shelf: made again when the model is asked
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
