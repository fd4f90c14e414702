"""Models of tenants on disk. Examples are the truth, features and states are caches.

There is no method that reads a model without a tenant. A version is immutable; only `forget` changes the past.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import Connection, Row, delete, func, insert, select, update
from torch import Tensor

from kshot.serving import packing, upgrading
from kshot.serving.artifacts import Artifacts
from kshot.serving.checking import Checking
from kshot.serving.client_keys import ClientKeys
from kshot.serving.copying import Copying
from kshot.serving.database import Database
from kshot.serving.faults import Conflict, Corrupt, NotFound, ServingError
from kshot.serving.packing import Block
from kshot.serving.rows import (
    INPUTS_QUERY,
    MODEL_QUERY,
    MODELS_QUERY,
    NEWEST_QUERY,
    STATE_QUERY,
    VERSION_QUERY,
    Draft,
    Stored,
    Version,
    about_of,
    answer_of,
    committed,
    joined_features,
    missing,
    new_slot,
    on_base_query,
    seal_body,
    unseal_body,
    versions_query,
)
from kshot.serving.schema import ANSWERS, EXAMPLES, FEATURES, MODELS, SLOTS, STATES, VERSIONS
from kshot.serving.sealing import new_key, seal, unseal
from kshot.serving.upkeep import Upkeep

__all__ = ["Block", "Store", "Stored", "Version"]


class Store(ClientKeys, Copying, Checking, Upkeep):
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

    # writing

    def put_version(
        self,
        tenant: str,
        version: Version,
        block: Block | None,
        *,
        name: str = "",
        before: Stored | None = None,
        key: tuple[str, str] | None = None,
        answer: str = "",
        state: bytes | None = None,
    ) -> str:
        """Store a version with its new examples; returns the answer of the first request with this key.

        Args:
            before: what the version was made from; None: it is the first of a new model.
            key: an idempotency key and the digest of its request.

        Raises:
            Conflict: the model has changed since `before`. KeyReused: another request had this key.
        """
        draft = self._draft(tenant, version, block, before, state)

        def work(connection: Connection) -> str:
            if key is not None and (found := answer_of(connection, tenant, *key)) is not None:
                return found
            if not committed(connection, draft):
                self._insert(connection, draft, name, before)
            if key is not None:
                sealed = seal(draft.secret, json.dumps([key[1], answer]).encode(), "answer", tenant, key[0])
                connection.execute(insert(ANSWERS).values(
                    tenant=tenant, key=key[0], model=version.model, answer=sealed, made=time.time()))  # fmt: skip
            return answer

        try:
            return self.database.change(work)
        except Conflict:
            # another process may have answered the same key in this moment
            if key is not None and (found := self.answered(tenant, *key)) is not None:
                return found
            raise

    def put_state(self, tenant: str, stored: Stored, state: bytes) -> None:
        """Keep what adapting a version computed. Raises Conflict where the model has changed since it was read."""
        version = stored.version
        sealed = seal(stored.secret, state, "state", version.model, version.version, version.fingerprint)
        data, artifact = self.placed(sealed)

        def work(connection: Connection) -> None:
            head = connection.execute(MODEL_QUERY, {"tenant": tenant, "model": version.model}).first()
            if head is None or head.slot != stored.slot:
                raise Conflict(f"model {version.model} has changed; read it again")
            connection.execute(
                insert(STATES).values(
                    model=version.model, version=version.version, tenant=tenant, data=data, artifact=artifact
                )
            )

        self.database.change(work)

    def put_features(self, tenant: str, model: str, fingerprint: str, features: Mapping[int, Tensor]) -> None:
        """Keep features of examples on a base, by number."""
        asked = {"tenant": tenant, "model": model}
        rows = []
        for row in self.database.read(lambda connection: connection.execute(INPUTS_QUERY, asked).all()):
            labels = unseal(row.secret, row.labels, "labels", model, row.block, tenant)
            own = [n for n in packing.unpack_labels(labels)[0] if n in features]
            if own:
                block = torch.stack([features[n] for n in own])
                made = self.features_row(row.secret, tenant, model, row.block, fingerprint, own, block)
                rows.append((row.slot, made))

        def work(connection: Connection) -> None:
            for slot, made in rows:
                query = select(EXAMPLES.c.slot).where(
                    EXAMPLES.c.model == model, EXAMPLES.c.block == made["block"]
                )
                if connection.execute(query).scalar() != slot:
                    continue  # an example of it was forgotten in this moment
                here = [FEATURES.c[name] == made[name] for name in ("model", "block", "fingerprint")]
                connection.execute(delete(FEATURES).where(*here))
                connection.execute(insert(FEATURES).values(**made))

        self.database.change(work)

    def rename(self, tenant: str, model: str, name: str) -> None:
        """Give a model another name. Raises NotFound."""

        def work(connection: Connection) -> None:
            found = connection.execute(MODEL_QUERY, {"tenant": tenant, "model": model}).first()
            if found is None:
                raise NotFound(f"no model {model}")
            about = seal(found.secret, name.encode(), "name", model, tenant, found.version, found.base)
            connection.execute(update(MODELS).where(MODELS.c.id == model).values(about=about))

        self.database.change(work)

    def put_many(self, tenant: str, made: Sequence[tuple[Version, Block]]) -> None:
        """Store first versions of new models, all in one transaction: a door for filling a store.

        Raises:
            Conflict: one of the models is there already.
        """
        drafts = [self._draft(tenant, version, block, None, None) for version, block in made]

        def work(connection: Connection) -> None:
            secrets = [secret for draft in drafts for secret in (draft.secret, draft.own)]
            query = insert(SLOTS).returning(SLOTS.c.slot, sort_by_parameter_order=True)
            slots = connection.execute(query, [{"secret": secret} for secret in secrets]).scalars().all()
            models = [
                {
                    "id": draft.version.model, "tenant": tenant, "slot": slot, "about": _about("", draft),
                    "made": time.time(), "base": draft.version.base, "version": draft.version.version, "next": draft.next,
                }
                for draft, slot in zip(drafts, slots[::2], strict=True)
            ]  # fmt: skip
            connection.execute(insert(MODELS), models)
            connection.execute(insert(VERSIONS), [draft.rows["version"] for draft in drafts])
            examples = zip(drafts, slots[1::2], strict=True)
            connection.execute(
                insert(EXAMPLES), [{"slot": slot, **d.rows["examples"]} for d, slot in examples]
            )
            if kept := [draft.rows["features"] for draft in drafts if "features" in draft.rows]:
                connection.execute(insert(FEATURES), kept)

        self.database.change(work)

    def _draft(
        self, tenant: str, version: Version, block: Block | None, before: Stored | None, state: bytes | None
    ) -> Draft:
        """Everything sealed, large blobs written: what is left is inserting rows."""
        model, number = version.model, version.version
        secret = new_key() if before is None else before.secret
        rows: dict[str, Any] = {"version": {
            "model": model, "version": number, "tenant": tenant, "base": version.base,
            "fingerprint": version.fingerprint, "body": seal_body(secret, tenant, version), "made": time.time(),
        }}  # fmt: skip
        own = new_key()
        if block is not None:
            rows |= self.block_rows(own, tenant, model, number, block, version.fingerprint)
        if state is not None:
            sealed = seal(secret, state, "state", model, number, version.fingerprint)
            data, artifact = self.placed(sealed)
            rows["state"] = {"model": model, "version": number, "tenant": tenant, "data": data, "artifact": artifact}  # fmt: skip
        first = max(block.numbers) + 1 if block is not None else 0
        return Draft(version, tenant, secret, own, max(first, 0 if before is None else before.next), rows)

    def _insert(self, connection: Connection, draft: Draft, name: str, before: Stored | None) -> None:
        version, tenant = draft.version, draft.tenant
        values = {"base": version.base, "version": version.version, "next": draft.next}
        if before is None:
            slot = new_slot(connection, draft.secret)
            connection.execute(insert(MODELS).values(
                id=version.model, tenant=tenant, slot=slot, about=_about(name, draft), made=time.time(), **values))  # fmt: skip
        else:
            about = self._about_moved(connection, draft, before)
            moved = connection.execute(update(MODELS).where(
                MODELS.c.id == version.model, MODELS.c.tenant == tenant, MODELS.c.version == before.version.version,
                MODELS.c.slot == before.slot).values(about=about, **values))  # fmt: skip
            if moved.rowcount != 1:
                raise Conflict(f"model {version.model} is no longer at version {before.version.version}; read it again")  # fmt: skip
        connection.execute(insert(VERSIONS).values(**draft.rows["version"]))
        if "examples" in draft.rows:
            slot = new_slot(connection, draft.own)
            connection.execute(insert(EXAMPLES).values(slot=slot, **draft.rows["examples"]))
        for table, name in ((FEATURES, "features"), (STATES, "state")):
            if name in draft.rows:
                connection.execute(insert(table).values(**draft.rows[name]))

    @staticmethod
    def _about_moved(connection: Connection, draft: Draft, before: Stored) -> bytes:
        """The model's name, sealed for its new version."""
        version, tenant = draft.version, draft.tenant
        found = connection.execute(MODEL_QUERY, {"tenant": tenant, "model": version.model}).first()
        if found is None:
            raise NotFound(f"no model {version.model}")
        if found.slot != before.slot or found.version != before.version.version:
            raise Conflict(f"model {version.model} is no longer at version {before.version.version}; read it again")  # fmt: skip
        return _about(about_of(found)["name"], draft)

    # reading

    def answered(self, tenant: str, key: str, request: str) -> str | None:
        """What the first request with this key was answered; None: it is new. Raises KeyReused."""
        return self.database.read(lambda connection: answer_of(connection, tenant, key, request))

    def model(self, tenant: str, model: str) -> dict[str, Any]:
        """id, name, base, version, made. Raises NotFound."""
        found = self.database.read(
            lambda c: c.execute(MODEL_QUERY, {"tenant": tenant, "model": model}).first()
        )
        if found is None:
            raise NotFound(f"no model {model}")
        return about_of(found)

    def head(self, tenant: str, model: str) -> tuple[int, int]:
        """Newest version, and the number of the sealing key, another one after anything was forgotten.

        Raises:
            NotFound: no such model.
        """
        found = self.database.read(
            lambda c: c.execute(MODEL_QUERY, {"tenant": tenant, "model": model}).first()
        )
        if found is None:
            raise NotFound(f"no model {model}")
        return about_of(found)["version"], int(found.slot)

    def models(self, tenant: str, after: str, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` models behind the id `after`, in the order of ids."""
        query = (
            MODELS_QUERY.where(MODELS.c.tenant == tenant, MODELS.c.id > after)
            .order_by(MODELS.c.id)
            .limit(limit)
        )
        return [about_of(row) for row in self.database.read(lambda c: c.execute(query).all())]

    def count(self, tenant: str | None = None) -> int:
        """Models of a tenant; None: of all."""
        query = select(func.count()).select_from(MODELS)
        if tenant is not None:
            query = query.where(MODELS.c.tenant == tenant)
        return self.database.read(lambda connection: int(connection.execute(query).scalar_one()))

    def on_base(self, base: str, but: str, after: str, limit: int) -> list[tuple[str, str]]:
        """Tenant and id of up to `limit` models behind the id `after` whose newest version is on this base, but not
        on its weights with the fingerprint `but`. For who moves the whole store."""
        query = on_base_query(base, but).where(MODELS.c.id > after).order_by(MODELS.c.id).limit(limit)
        return [(row.tenant, row.id) for row in self.database.read(lambda c: c.execute(query).all())]

    def count_on(self, base: str, but: str) -> int:
        """How many models `on_base` lists in all."""
        query = select(func.count()).select_from(on_base_query(base, but).subquery())
        return self.database.read(lambda connection: int(connection.execute(query).scalar_one()))

    def versions(self, tenant: str, model: str) -> list[int]:
        """Numbers of the versions there are, rising."""
        query = select(VERSIONS.c.version).where(VERSIONS.c.tenant == tenant, VERSIONS.c.model == model)
        return self.database.read(lambda c: [int(n) for n in c.execute(query.order_by(VERSIONS.c.version)).scalars()])  # fmt: skip

    def outline(self, tenant: str, model: str, before: int, limit: int) -> list[Version]:
        """Up to `limit` versions under the number `before`, the newest first."""
        query = versions_query(tenant, model).where(VERSIONS.c.version < before)
        query = query.order_by(None).order_by(VERSIONS.c.version.desc()).limit(limit)
        return [unseal_body(row) for row in self.database.read(lambda c: c.execute(query).all())]

    def version(self, tenant: str, model: str, number: int | None = None) -> Stored:
        """A version (None: the newest), without its inputs: see `inputs`.

        Raises:
            NotFound: no such model or version. Corrupt: a stored byte changed.
        """
        asked = {"tenant": tenant, "model": model, "number": number}
        query = NEWEST_QUERY if number is None else VERSION_QUERY

        def work(connection: Connection) -> Any:
            rows = connection.execute(query, asked).all()
            if not rows:
                return missing(connection, tenant, model, number), None
            if rows[0].kept_state is None:
                return rows, None
            return rows, connection.execute(STATE_QUERY, {**asked, "version": rows[0].number}).first()

        return self._stored(tenant, *self.database.read(work))

    def _stored(self, tenant: str, rows: Sequence[Row[Any]], kept: Row[Any] | None) -> Stored:
        top = rows[0]
        about_of(top)
        version = unseal_body(top)
        numbers: list[int] = []
        labels: list[Any] = []
        parts = []
        for row in rows:
            if row.block_secret is None:
                raise Corrupt(f"model {version.model} lacks examples or their key; restore a backup")
            sealed = unseal(row.block_secret, row.labels, "labels", row.model, row.block, tenant)
            own, told = packing.unpack_labels(sealed)
            numbers += own
            labels += told
            parts.append(self.features_of(row, top.fingerprint))
        if numbers != list(version.numbers):
            place = {n: p for p, n in enumerate(numbers)}
            if not place.keys() >= set(version.numbers):
                lost = sorted(set(version.numbers) - place.keys())[:3]
                raise Corrupt(f"model {version.model} lacks its examples {lost}; restore a backup")
            labels = [labels[place[n]] for n in version.numbers]
        joined = joined_features(version.numbers, [part for part in parts if part is not None])
        state = None
        if kept is not None:
            sealed = self.fetched(kept.data, kept.artifact)
            state = unseal(top.secret, sealed, "state", version.model, version.version, version.fingerprint)
        return Stored(version, labels, joined, state, int(top.next), int(top.slot), bytes(top.secret))

    def inputs(self, tenant: str, model: str, numbers: Sequence[int]) -> list[Any]:
        """The inputs of examples of these numbers, as the encoder read them.

        Raises:
            NotFound: no such example. Corrupt: a stored byte changed.
        """
        blocks = self.blocks(tenant, model)
        found = {n: item for block in blocks for n, item in zip(block.numbers, block.inputs, strict=True)}
        lost = [n for n in numbers if n not in found]
        if lost:
            raise NotFound(f"example 'e{lost[0]}' is not in model {model}")
        return [found[n] for n in numbers]

    def blocks(self, tenant: str, model: str) -> list[Block]:
        """All examples of a model, without features."""
        asked = {"tenant": tenant, "model": model}
        rows = self.database.read(lambda connection: connection.execute(INPUTS_QUERY, asked).all())
        return [self.block_of(row) for row in rows]

    def writable(self) -> bool:
        """Can something be committed now?"""
        old = time.time() - self.keep_answers
        try:
            self.database.change(lambda c: c.execute(delete(ANSWERS).where(ANSWERS.c.made < old)).rowcount)
        except ServingError:
            return False
        return True


def _about(name: str, draft: Draft) -> bytes:
    """A model's name, sealed for its newest version."""
    version = draft.version
    place = (version.model, draft.tenant, version.version, version.base)
    return seal(draft.secret, name.encode(), "name", *place)
