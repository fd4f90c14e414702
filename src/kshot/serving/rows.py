"""Rows of a store: what is asked of the tables, and what a row says once it is unsealed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from sqlalchemy import Connection, Row, Select, and_, bindparam, func, insert, literal_column, select, update
from torch import Tensor

from kshot.serving.faults import Corrupt, KeyReused, NotFound
from kshot.serving.packing import numbers_to_text, text_to_numbers
from kshot.serving.schema import ANSWERS, EXAMPLES, FEATURES, MODELS, SLOTS, STATES, VERSIONS
from kshot.serving.sealing import seal, unseal
from kshot.serving.sheets import Kept, Sheet, pack_sheet


class Version(NamedTuple):
    """One immutable version of a model; `space` is JSON, `numbers` are those of its examples, rising.

    `golden` are numbers of examples that it did not learn from and that must stay right.
    """

    model: str
    version: int
    base: str
    fingerprint: str
    space: str
    numbers: tuple[int, ...]
    golden: tuple[int, ...] = ()


class Stored(NamedTuple):
    """A version as it was read.

    Attributes:
        labels: of its examples, perhaps read later. features: float16 [n, ...]; None where some are not kept.
        state: what adapting computed, packed; None: not kept.
        kept: the small part of it that is kept beside features; None: not kept, or not read.
        next: the number of the next example. slot, secret: the model's sealing key when it was read.
    """

    version: Version
    labels: Sequence[Any]
    features: Tensor | None
    state: bytes | None
    kept: Kept | None
    next: int
    slot: int
    secret: bytes


class Draft(NamedTuple):
    """A version with everything sealed, ready to be inserted; `own` is its block's key.

    `sheet` is still to be sealed, for the row of features beside which it comes to lie.
    """

    version: Version
    tenant: str
    secret: bytes
    own: bytes
    next: int
    rows: dict[str, Any]
    sheet: bytes | None


_NEW_SLOT = insert(SLOTS).returning(SLOTS.c.slot)
# statements are made once: an insert made anew each time takes three times as long
NEW_MODEL, NEW_VERSION, NEW_EXAMPLES, NEW_FEATURES, NEW_STATE, NEW_ANSWER = map(
    insert, (MODELS, VERSIONS, EXAMPLES, FEATURES, STATES, ANSWERS)
)
_AT: dict[str, Any] = {
    name: bindparam(f"at_{name}") for name in ("model", "tenant", "version", "slot", "fingerprint", "block")
}
MOVE_MODEL = update(MODELS).where(
    MODELS.c.id == _AT["model"], MODELS.c.tenant == _AT["tenant"], MODELS.c.version == _AT["version"],
    MODELS.c.slot == _AT["slot"],
)  # fmt: skip
LAST_FEATURES = select(func.max(FEATURES.c.block)).where(
    FEATURES.c.model == _AT["model"], FEATURES.c.fingerprint == _AT["fingerprint"]
)
PUT_SHEET = update(FEATURES).where(
    FEATURES.c.model == _AT["model"], FEATURES.c.fingerprint == _AT["fingerprint"], FEATURES.c.block == _AT["block"]
)  # fmt: skip


def new_slot(connection: Connection, secret: bytes) -> int:
    """A place for a sealing key."""
    return int(connection.execute(_NEW_SLOT, {"secret": secret}).scalar_one())


def seal_body(secret: bytes, tenant: str, version: Version) -> bytes:
    """What a version holds, sealed by its model's key."""
    held = [version.space, numbers_to_text(version.numbers)]
    data = json.dumps([*held, numbers_to_text(version.golden)] if version.golden else held).encode()
    return seal(
        secret, data, "version", version.model, version.version, tenant, version.base, version.fingerprint
    )


def unseal_body(row: Row[Any]) -> Version:
    """The inverse of `seal_body`, of a row with the model's secret. Raises Corrupt."""
    place = (row.model, row.number, row.tenant, row.version_base, row.fingerprint)
    space, *numbers = json.loads(unseal(row.secret, row.body, "version", *place))
    return Version(
        row.model, int(row.number), row.version_base, row.fingerprint, space, *map(text_to_numbers, numbers)
    )


def sheet_place(tenant: str, model: str, block: int, fingerprint: str) -> tuple[object, ...]:
    """What a sheet is sealed for: the row of features beside which it lies."""
    return ("sheet", model, block, fingerprint, tenant)


def sheet_of(version: Version, kept: Kept) -> bytes:
    """A version's sheet, not sealed yet."""
    own = (version.version, version.base, version.space, version.numbers, version.golden)
    return pack_sheet(Sheet(*own, kept))


def joined_features(numbers: Sequence[int], parts: Sequence[tuple[tuple[int, ...], Tensor]]) -> Tensor | None:
    """Features of the examples with these numbers; None where one has none or they do not fit together."""
    if len(parts) == 1 and parts[0][0] == numbers:
        return parts[0][1]
    held = [n for own, _ in parts for n in own]
    if not parts or len({part.shape[1:] for _, part in parts}) > 1:
        return None
    whole = torch.cat([part for _, part in parts]) if len(parts) > 1 else parts[0][1]
    if held == list(numbers):
        return whole
    place = {n: p for p, n in enumerate(held)}
    return whole[[place[n] for n in numbers]] if place.keys() >= set(numbers) else None


_SECRET = SLOTS.c.secret
MODELS_QUERY = select(MODELS, MODELS.c.id.label("model"), _SECRET).join_from(
    MODELS, SLOTS, SLOTS.c.slot == MODELS.c.slot
)
_OWN = and_(MODELS.c.tenant == bindparam("tenant"), MODELS.c.id == bindparam("model"))
MODEL_QUERY = MODELS_QUERY.where(_OWN)


_BLOCK_SLOTS = SLOTS.alias("block_slots")


def _version(condition: Any, *columns: Any) -> Any:
    """A version with its model, and whether a state of it is kept; `columns` come behind."""
    head = (
        MODELS, MODELS.c.id.label("model"), _SECRET, VERSIONS.c.version.label("number"),
        VERSIONS.c.base.label("version_base"), VERSIONS.c.fingerprint, VERSIONS.c.body,
        STATES.c.model.label("kept_state"),
    )  # fmt: skip
    return (
        select(*head, *columns)
        .join_from(MODELS, SLOTS, SLOTS.c.slot == MODELS.c.slot)
        .join(
            VERSIONS, and_(VERSIONS.c.model == MODELS.c.id, condition, VERSIONS.c.tenant == MODELS.c.tenant)
        )
        .outerjoin(STATES, and_(STATES.c.model == MODELS.c.id, STATES.c.version == VERSIONS.c.version))
        .where(_OWN)
    )


def _one(condition: Any) -> Any:
    """A version with its model, all blocks of that, and their features on the version's base: a row a block."""
    features = and_(
        FEATURES.c.model == EXAMPLES.c.model,
        FEATURES.c.block == EXAMPLES.c.block,
        FEATURES.c.fingerprint == VERSIONS.c.fingerprint,
    )
    columns = (
        EXAMPLES.c.block, EXAMPLES.c.labels, _BLOCK_SLOTS.c.secret.label("block_secret"), FEATURES.c.data,
        FEATURES.c.artifact.label("features_artifact"), FEATURES.c.place, FEATURES.c.length,
    )  # fmt: skip
    return (
        _version(condition, *columns)
        .outerjoin(EXAMPLES, and_(EXAMPLES.c.model == MODELS.c.id, EXAMPLES.c.tenant == MODELS.c.tenant))
        .outerjoin(_BLOCK_SLOTS, _BLOCK_SLOTS.c.slot == EXAMPLES.c.slot)
        .outerjoin(FEATURES, features)
        .order_by(EXAMPLES.c.block)
    )


NEWEST_QUERY, VERSION_QUERY = (
    _one(VERSIONS.c.version == MODELS.c.version),
    _one(VERSIONS.c.version == bindparam("number")),
)


_QUICK = (
    select(
        MODELS.c.id, MODELS.c.base, MODELS.c.version, MODELS.c.next, MODELS.c.slot, _SECRET, FEATURES.c.block, FEATURES.c.fingerprint,
        _BLOCK_SLOTS.c.secret.label("block_secret"), FEATURES.c.data, FEATURES.c.artifact.label("features_artifact"),
        FEATURES.c.sheet, FEATURES.c.place, FEATURES.c.length, FEATURES.c.sheet_place, FEATURES.c.sheet_length,
    )
    .join_from(MODELS, SLOTS, SLOTS.c.slot == MODELS.c.slot)
    .join(FEATURES, and_(FEATURES.c.model == MODELS.c.id, FEATURES.c.tenant == MODELS.c.tenant))
    .join(_BLOCK_SLOTS, _BLOCK_SLOTS.c.slot == FEATURES.c.slot)
)  # fmt: skip
"""A model with all its rows of features, where everything stands that answering needs: few pages are read."""
QUICK_QUERY = _QUICK.where(_OWN).order_by(FEATURES.c.block)


@cache
def quick_queries(count: int) -> Select[Any]:
    """As `QUICK_QUERY`, for so many models of a tenant, bound as m0, m1, ...; in no order.

    The tenant is compared as an expression, lest SQLite goes by the index of tenants and ids: nothing else needs its
    pages, so where memory is short they are not in it.
    """
    names: list[Any] = [bindparam(f"m{place}") for place in range(count)]
    own = MODELS.c.tenant.concat(literal_column("''")) == bindparam("tenant")
    return _QUICK.where(own, MODELS.c.id.in_(names))


STATE_QUERY = select(STATES).where(
    STATES.c.model == bindparam("model"),
    STATES.c.tenant == bindparam("tenant"),
    STATES.c.version == bindparam("version"),
)
_MINE = and_(EXAMPLES.c.tenant == bindparam("tenant"), EXAMPLES.c.model == bindparam("model"))
INPUTS_QUERY = (
    select(EXAMPLES, _SECRET)
    .join_from(EXAMPLES, SLOTS, SLOTS.c.slot == EXAMPLES.c.slot)
    .where(_MINE)
    .order_by(EXAMPLES.c.block)
)
_BODY = select(
    VERSIONS.c.model, VERSIONS.c.version.label("number"), VERSIONS.c.tenant, VERSIONS.c.base.label("version_base"),
    VERSIONS.c.fingerprint, VERSIONS.c.body, _SECRET,
).join_from(VERSIONS, MODELS, MODELS.c.id == VERSIONS.c.model).join(SLOTS, SLOTS.c.slot == MODELS.c.slot)  # fmt: skip
ANSWER_QUERY = (
    select(ANSWERS, _SECRET)
    .join_from(ANSWERS, MODELS, MODELS.c.id == ANSWERS.c.model)
    .join(SLOTS, SLOTS.c.slot == MODELS.c.slot)
    .where(ANSWERS.c.tenant == bindparam("tenant"), ANSWERS.c.key == bindparam("key"))
)
_BODY_QUERY = select(VERSIONS.c.body).where(
    VERSIONS.c.model == bindparam("model"), VERSIONS.c.version == bindparam("version")
)


def versions_query(tenant: str, model: str) -> Select[Any]:
    """All versions of a model, rising, each with the model's key."""
    own = (VERSIONS.c.tenant == tenant, VERSIONS.c.model == model)
    return _BODY.where(*own).order_by(VERSIONS.c.version)


def on_base_query(base: str, but: str) -> Select[Any]:
    """Models whose newest version is on a base, with another fingerprint than `but`."""
    newest = and_(VERSIONS.c.model == MODELS.c.id, VERSIONS.c.version == MODELS.c.version)
    query = select(MODELS.c.tenant, MODELS.c.id).join_from(MODELS, VERSIONS, newest)
    return query.where(VERSIONS.c.base == base, VERSIONS.c.fingerprint != but)


def about_of(row: Row[Any]) -> dict[str, Any]:
    """id, name, base, version, made of a model. Raises Corrupt."""
    name = unseal(row.secret, row.about, "name", row.model, row.tenant, row.version, row.base).decode()
    return {"id": row.model, "name": name, "base": row.base, "version": int(row.version), "made": row.made}


def answer_of(connection: Connection, tenant: str, key: str, request: str) -> str | None:
    """What the first request with a key was answered; None: it is new. Raises KeyReused."""
    found = connection.execute(ANSWER_QUERY, {"tenant": tenant, "key": key}).first()
    return None if found is None else told_answer(found, tenant, key, request)


def told_answer(found: Any, tenant: str, key: str, request: str) -> str:
    """What a row of `ANSWER_QUERY` says. Raises KeyReused."""
    first, answer = json.loads(unseal(found.secret, found.answer, "answer", tenant, key))
    if first != request:
        raise KeyReused(f"Idempotency-Key {key!r} came with another request before; use a new key")
    return str(answer)


def committed(connection: Connection, draft: Draft) -> bool:
    """Was this very draft committed before, and the connection lost while it was being told so?"""
    own = draft.rows["version"]
    found = connection.execute(_BODY_QUERY, {"model": own["model"], "version": own["version"]}).scalar()
    return found is not None and bytes(found) == own["body"]


def missing(connection: Connection, tenant: str, model: str, number: int | None) -> Any:
    """Say what there is not."""
    found = connection.execute(MODEL_QUERY, {"tenant": tenant, "model": model}).first()
    if found is None:
        there = connection.execute(
            select(MODELS.c.id).where(_OWN), {"tenant": tenant, "model": model}
        ).scalar()
        if there is not None:
            raise Corrupt(f"model {model} lacks its sealing key; restore a backup")
        raise NotFound(f"no model {model}")
    if number is None:
        raise Corrupt(f"model {model} lacks its newest version {found.version}; restore a backup")
    raise NotFound(f"no version {number} of model {model}")
