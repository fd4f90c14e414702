"""Reading models, versions and examples of tenants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Row, func, select
from torch import Tensor

from kshot.heads.grouped_rows import GroupedRows
from kshot.serving import packing
from kshot.serving.blobs import Blobs
from kshot.serving.deferred import Deferred
from kshot.serving.faults import Corrupt, NotFound
from kshot.serving.packing import Block
from kshot.serving.rows import (
    ANSWER_QUERY,
    INPUTS_QUERY,
    MODEL_QUERY,
    MODELS_QUERY,
    NEWEST_QUERY,
    QUICK_QUERY,
    STATE_QUERY,
    VERSION_QUERY,
    Stored,
    Version,
    about_of,
    joined_features,
    missing,
    on_base_query,
    quick_queries,
    sheet_place,
    told_answer,
    unseal_body,
    versions_query,
)
from kshot.serving.schema import MODELS, VERSIONS
from kshot.serving.sealing import unseal
from kshot.serving.sheets import Sheet, unpack_sheet


class OnSheet(NamedTuple):
    """A version for who only answers. `slot` is that of the model's sealing key when it was read; features are float32
    [n, ...], or as they lie in groups."""

    slot: int
    fingerprint: str
    sheet: Sheet
    features: np.ndarray | GroupedRows


class _Found(NamedTuple):
    """A sheet, the row that names it, and what lies beside it of features, still sealed."""

    row: Any
    data: Any
    sheet: Sheet


class Reading(Blobs):
    """What a store tells. There is no method that reads a model without a tenant, but for who keeps house."""

    def answered(self, tenant: str, key: str, request: str) -> str | None:
        """What the first request with this key was answered; None: it is new. Raises KeyReused."""
        found = self.database.rows(ANSWER_QUERY, {"tenant": tenant, "key": key})
        return told_answer(found[0], tenant, key, request) if found else None

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
        found = self.database.rows(MODEL_QUERY, {"tenant": tenant, "model": model})
        if not found:
            raise NotFound(f"no model {model}")
        return about_of(found[0])["version"], int(found[0].slot)

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

    def look(self, tenant: str, model: str) -> list[Any]:
        """The rows that `quick` reads. What they name on the shelf is being fetched when this returns."""
        rows = self.database.rows(QUICK_QUERY, {"tenant": tenant, "model": model})
        self.ahead(rows)
        return rows

    def look_together(self, tenant: str, models: Sequence[str]) -> dict[str, list[Any]]:
        """As `look`, for several models at once."""
        found: dict[str, list[Any]] = {model: [] for model in models}
        asked = {"tenant": tenant, **{f"m{place}": model for place, model in enumerate(found)}}
        rows = self.database.rows(quick_queries(len(found)), asked)
        self.ahead(rows)
        for row in rows:
            found[row.id].append(row)
        for own in found.values():
            own.sort(key=lambda row: int(row.block))
        return found

    def quick(
        self, tenant: str, model: str, number: int | None = None, rows: list[Any] | None = None
    ) -> Stored:
        """As `version`, for who only answers: one short read where the version has a sheet, and its labels are read
        when somebody looks at them. What else is stored of the model is not looked at.

        Args:
            rows: of `look`, where that was done before.
        """
        rows = self.look(tenant, model) if rows is None else rows
        found = self._sheet(tenant, model, number, rows)
        features = None if found is None else self._features(model, found, rows)
        if found is None or features is None:
            return self.version(tenant, model, number)
        top, sheet = found.row, found.sheet
        own, base, space, numbers, golden, kept = sheet
        version = Version(model, own, base, top.fingerprint, space, numbers, golden)
        labels = Deferred(len(numbers), lambda: list(self.version(tenant, model, own).labels))
        return Stored(version, labels, features, None, kept, int(top.next), int(top.slot), bytes(top.secret))

    def on_sheet(
        self, tenant: str, model: str, number: int | None = None, rows: list[Any] | None = None
    ) -> OnSheet | None:
        """As `quick`, only what answering needs; None: it is not kept."""
        rows = self.look(tenant, model) if rows is None else rows
        found = self._sheet(tenant, model, number, rows)
        if found is None:
            return None
        row = found.row
        plain = self.plain_features(model, row, row.fingerprint, found.data)
        if plain is None:
            return None
        numbers, features = packing.read_features(plain)
        if numbers != found.sheet.numbers:
            whole = self._features(model, found, rows)
            if whole is None:
                return None
            features = whole.float().numpy()
        return OnSheet(row.slot, row.fingerprint, found.sheet, features)

    def _sheet(self, tenant: str, model: str, number: int | None, rows: Sequence[Any]) -> _Found | None:
        """The sheet of a version (None: the newest); None: there is none."""
        for row in reversed(rows):
            if row.sheet is None and row.sheet_place is None:
                continue
            data, sealed = self.beside(row)
            if sealed is None:
                continue
            place = sheet_place(tenant, model, row.block, row.fingerprint)
            plain = self.unsealed(unseal, row.sheet_place, row.secret, sealed, *place)
            sheet = None if plain is None else unpack_sheet(plain)
            if sheet is not None and sheet.version == (row.version if number is None else number):
                return _Found(row, data, sheet)
        return None

    def _features(self, model: str, found: _Found, rows: Sequence[Any]) -> Tensor | None:
        """Features of the examples of a sheet, float16 [n, ...]; None: some are not kept."""
        top = found.row
        parts = [
            self.features_of(model, row, top.fingerprint, found.data if row is top else None)
            for row in rows
            if row.fingerprint == top.fingerprint
        ]
        return joined_features(found.sheet.numbers, [part for part in parts if part is not None])

    def _stored(self, tenant: str, rows: Sequence[Row[Any]], kept: Row[Any] | None) -> Stored:
        top = rows[0]
        about_of(top)
        version = unseal_body(top)
        if any(row.block_secret is None for row in rows):
            raise Corrupt(f"model {version.model} lacks examples or their key; restore a backup")
        found = self._joined(tenant, top, version, rows)
        if len(found.labels) != len(version.numbers):
            raise Corrupt(
                f"model {version.model} lacks some of its {len(version.numbers)} examples; restore a backup"
            )
        if kept is None:
            return found
        sealed = self.fetched(kept.data, kept.artifact)
        place = ("state", version.model, version.version, version.fingerprint)
        return found._replace(state=unseal(top.secret, sealed, *place))

    def _joined(self, tenant: str, top: Any, version: Version, parts: Sequence[Any]) -> Stored:
        """A version out of its blocks; labels only of the examples that are there."""
        numbers: list[int] = []
        labels: list[Any] = []
        features = []
        for part in parts:
            own, told = self._labels(tenant, top.model, part)
            numbers += own
            labels += told
            features.append(self.features_of(top.model, part, version.fingerprint))
        if numbers != list(version.numbers):
            placed = {n: p for p, n in enumerate(numbers)}
            labels = [labels[placed[n]] for n in version.numbers if n in placed]
        joined = joined_features(version.numbers, [part for part in features if part is not None])
        return Stored(version, labels, joined, None, None, int(top.next), int(top.slot), bytes(top.secret))

    def _labels(self, tenant: str, model: str, part: Any) -> tuple[tuple[int, ...], list[Any]]:
        sealed = unseal(part.block_secret, part.labels, "labels", model, part.block, tenant)
        return packing.unpack_labels(sealed)

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
