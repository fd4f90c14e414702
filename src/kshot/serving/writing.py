"""Writing versions and what is computed of them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import torch
from sqlalchemy import Connection, delete, insert, select, update
from torch import Tensor

from kshot.serving import packing
from kshot.serving.faults import Conflict, NotFound
from kshot.serving.packing import Block
from kshot.serving.reading import Reading
from kshot.serving.rows import (
    INPUTS_QUERY,
    LAST_FEATURES,
    MODEL_QUERY,
    MOVE_MODEL,
    NEW_ANSWER,
    NEW_EXAMPLES,
    NEW_FEATURES,
    NEW_MODEL,
    NEW_STATE,
    NEW_VERSION,
    PUT_SHEET,
    Draft,
    Stored,
    Version,
    about_of,
    answer_of,
    committed,
    new_slot,
    seal_body,
    sheet_of,
    sheet_place,
)
from kshot.serving.schema import EXAMPLES, FEATURES, MODELS, SLOTS, STATES, VERSIONS
from kshot.serving.sealing import new_key, seal, unseal
from kshot.serving.sheets import Kept


class Writing(Reading):
    """What a store does to keep versions."""

    def put_version(
        self,
        tenant: str,
        version: Version,
        block: Block | None,
        *,
        name: str = "",
        before: Stored | None = None,
        key: tuple[str, str] | None = None,
        answer: Callable[[], str] = str,
        state: bytes | None = None,
        kept: Kept | None = None,
    ) -> str:
        """Store a version with its new examples; returns the answer of the first request with this key.

        Args:
            before: what the version was made from; None: it is the first of a new model.
            key: an idempotency key and the digest of its request.
            state, kept: what adapting computed, where it is worth keeping.
            answer: makes what the request is answered: while the rows are inserted, or where there is no key and nothing
                of it is stored, while the disk writes.

        Raises:
            Conflict: the model has changed since `before`. KeyReused: another request had this key.
        """
        draft = self._draft(tenant, version, block, before, state, kept)
        if key is None:
            return self._put_unkeyed(draft, name, before, answer)
        told: Future[str] = Future()
        mark = key

        def work(connection: Connection) -> str:
            if (found := answer_of(connection, tenant, *mark)) is not None:
                return found
            if not committed(connection, draft):
                self._insert(connection, draft, name, before)
            said = told.result()  # made meanwhile, by who asked
            sealed = seal(draft.secret, json.dumps([mark[1], said]).encode(), "answer", tenant, mark[0])
            connection.execute(NEW_ANSWER, {
                "tenant": tenant, "key": mark[0], "model": version.model, "answer": sealed, "made": time.time()})  # fmt: skip
            return said

        done = self.database.changing(work)
        try:
            told.set_result(answer())
        except BaseException:
            told.set_exception(Conflict(f"nothing was changed: the answer about {version.model} failed"))
            raise
        try:
            return done.result()
        except Conflict:
            # another process may have answered the same key in this moment
            if (found := self.answered(tenant, *mark)) is not None:
                return found
            raise

    def _put_unkeyed(self, draft: Draft, name: str, before: Stored | None, answer: Callable[[], str]) -> str:
        begun, inserted = False, threading.Event()

        def work(connection: Connection) -> None:
            nonlocal begun
            try:
                if not (begun and committed(connection, draft)):
                    begun = True
                    self._insert(connection, draft, name, before)
            finally:
                inserted.set()

        done = self.database.changing(work)
        done.add_done_callback(lambda _: inserted.set())  # also where it never came to that
        inserted.wait()  # two threads would share the interpreter, and the disk would begin later
        try:
            return answer()
        finally:
            done.result()

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

    def put_sheet(self, tenant: str, stored: Stored, kept: Kept) -> Future[None]:
        """Keep a sheet of the newest version, where it lacks one, with the next transaction; of another nothing is kept.
        Nobody need wait for the result. It is Conflict where the model has changed since it was read.
        """
        version, sheet = stored.version, sheet_of(stored.version, kept)

        def work(connection: Connection) -> None:
            head = connection.execute(MODEL_QUERY, {"tenant": tenant, "model": version.model}).first()
            if head is None or head.slot != stored.slot:
                raise Conflict(f"model {version.model} has changed; read it again")
            if head.version == version.version:
                self._keep_sheet(connection, tenant, version, stored.secret, sheet)

        return self.database.changing(work)

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
                rows.append((row.slot, {**made, "slot": row.slot}))

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

    def put_many(self, tenant: str, given: Sequence[tuple[Version, Block, Kept | None]]) -> None:
        """Store first versions of new models, all in one transaction: a door for filling a store.

        Raises:
            Conflict: one of the models is there already.
        """
        drafts = [self._draft(tenant, version, block, None, None, kept) for version, block, kept in given]

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
            for table, name in ((EXAMPLES, "examples"), (FEATURES, "features")):
                own = zip(drafts, slots[1::2], strict=True)
                if made := [{**d.rows[name], "slot": slot} for d, slot in own if name in d.rows]:
                    connection.execute(insert(table), made)

        self.database.change(work)

    def _draft(
        self,
        tenant: str,
        version: Version,
        block: Block | None,
        before: Stored | None,
        state: bytes | None,
        kept: Kept | None,
    ) -> Draft:
        """Everything sealed, large blobs written: what is left is inserting rows."""
        model, number = version.model, version.version
        secret = new_key() if before is None else before.secret
        rows: dict[str, Any] = {"version": {
            "model": model, "version": number, "tenant": tenant, "base": version.base,
            "fingerprint": version.fingerprint, "body": seal_body(secret, tenant, version), "made": time.time(),
        }}  # fmt: skip
        own = new_key()
        sheet = None if kept is None else sheet_of(version, kept)
        if block is not None:
            sealed = None
            if sheet is not None and block.features is not None:
                place = sheet_place(tenant, model, number, version.fingerprint)
                sealed, sheet = seal(secret, sheet, *place, squeeze=False), None
            rows |= self.block_rows(own, tenant, model, number, block, version.fingerprint, sealed)
        if state is not None:
            sealed = seal(secret, state, "state", model, number, version.fingerprint)
            data, artifact = self.placed(sealed)
            rows["state"] = {"model": model, "version": number, "tenant": tenant, "data": data, "artifact": artifact}  # fmt: skip
        first = max(block.numbers) + 1 if block is not None else 0
        after = max(first, 0 if before is None else before.next)
        return Draft(version, tenant, secret, own, after, rows, sheet)

    def _insert(self, connection: Connection, draft: Draft, name: str, before: Stored | None) -> None:
        version, tenant = draft.version, draft.tenant
        values = {"base": version.base, "version": version.version, "next": draft.next}
        if before is None:
            slot = new_slot(connection, draft.secret)
            connection.execute(NEW_MODEL, {
                "id": version.model, "tenant": tenant, "slot": slot, "about": _about(name, draft), "made": time.time(),
                **values})  # fmt: skip
        else:
            about = self._about_moved(connection, draft, before)
            moved = connection.execute(MOVE_MODEL, {
                "at_model": version.model, "at_tenant": tenant, "at_version": before.version.version,
                "at_slot": before.slot, "about": about, **values})  # fmt: skip
            if moved.rowcount != 1:
                raise Conflict(f"model {version.model} is no longer at version {before.version.version}; read it again")  # fmt: skip
        connection.execute(NEW_VERSION, draft.rows["version"])
        if "examples" in draft.rows:
            slot = new_slot(connection, draft.own)
            connection.execute(NEW_EXAMPLES, {"slot": slot, **draft.rows["examples"]})
            if "features" in draft.rows:
                connection.execute(NEW_FEATURES, {"slot": slot, **draft.rows["features"]})
        if "state" in draft.rows:
            connection.execute(NEW_STATE, draft.rows["state"])
        if draft.sheet is not None:
            self._keep_sheet(connection, tenant, version, draft.secret, draft.sheet)

    def _keep_sheet(
        self, connection: Connection, tenant: str, version: Version, secret: bytes, sheet: bytes
    ) -> None:
        """Put a sheet beside the last features of its model on its base, where it is the first that is looked at."""
        own = {"at_model": version.model, "at_fingerprint": version.fingerprint}
        block = connection.execute(LAST_FEATURES, own).scalar()
        if block is not None:
            place = sheet_place(tenant, version.model, block, version.fingerprint)
            sealed = self.sheet_columns(seal(secret, sheet, *place, squeeze=False))
            connection.execute(PUT_SHEET, {**own, "at_block": block, **sealed})

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


def _about(name: str, draft: Draft) -> bytes:
    """A model's name, sealed for its newest version."""
    version = draft.version
    place = (version.model, draft.tenant, version.version, version.base)
    return seal(draft.secret, name.encode(), "name", *place)
