"""Examples in sealed blocks, features in a table of their own, keys that can be destroyed.

Models are moved one after the other in one transaction: a killed upgrade leaves the old database as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
import torch
from alembic import op

from kshot import storage
from kshot.serving.faults import Corrupt
from kshot.serving.packing import Block, numbers_to_text, pack_features, pack_inputs, pack_labels
from kshot.serving.sealing import new_key, seal

revision = "0002"
down_revision = "0001"

_OLD = ("models", "versions", "examples", "answers")


def upgrade() -> None:
    """Make the new tables, move every model, drop the old tables."""
    op.drop_index("models_of", "models")
    for name in _OLD:
        op.rename_table(name, f"old_{name}")
    if op.get_bind().dialect.name == "postgresql":
        for name in _OLD:  # names of constraints are not renamed with their table
            op.execute(f"ALTER INDEX {name}_pkey RENAME TO old_{name}_pkey")
    _make()
    connection = op.get_bind()
    metadata = sa.MetaData()
    metadata.reflect(connection)
    tables = metadata.tables
    for model in connection.execute(sa.select(tables["old_models"]).order_by("id")).all():
        _move(connection, tables, model)
    for name in _OLD:
        op.drop_table(f"old_{name}")


def _make() -> None:
    number, slot, blob, text = sa.Integer, sa.BigInteger, sa.LargeBinary, sa.String
    op.create_table(
        "slots", sa.Column("slot", slot().with_variant(number, "sqlite"), primary_key=True),
        sa.Column("secret", blob(16), nullable=False),
    )  # fmt: skip
    op.create_table(
        "models", sa.Column("id", text(32), primary_key=True), sa.Column("tenant", text(64), nullable=False),
        sa.Column("base", text(64), nullable=False), sa.Column("version", number, nullable=False),
        sa.Column("next", number, nullable=False), sa.Column("slot", slot, nullable=False),
        sa.Column("about", blob, nullable=False), sa.Column("made", sa.Float, nullable=False), sqlite_with_rowid=False,
    )  # fmt: skip
    op.create_index("models_of", "models", ["tenant", "id"])
    op.create_table(
        "versions", sa.Column("model", text(32), primary_key=True), sa.Column("version", number, primary_key=True),
        sa.Column("tenant", text(64), nullable=False), sa.Column("base", text(64), nullable=False),
        sa.Column("fingerprint", text(64), nullable=False), sa.Column("body", blob, nullable=False),
        sa.Column("made", sa.Float, nullable=False), sqlite_with_rowid=False,
    )  # fmt: skip
    op.create_table(
        "examples", sa.Column("model", text(32), primary_key=True), sa.Column("block", number, primary_key=True),
        sa.Column("tenant", text(64), nullable=False), sa.Column("slot", slot, nullable=False),
        sa.Column("labels", blob, nullable=False), sa.Column("inputs", blob), sa.Column("artifact", text(64)),
    )  # fmt: skip
    op.create_table(
        "features", sa.Column("model", text(32), primary_key=True), sa.Column("block", number, primary_key=True),
        sa.Column("fingerprint", text(64), primary_key=True), sa.Column("tenant", text(64), nullable=False),
        sa.Column("data", blob), sa.Column("artifact", text(64)),
    )  # fmt: skip
    op.create_table(
        "states", sa.Column("model", text(32), primary_key=True), sa.Column("version", number, primary_key=True),
        sa.Column("tenant", text(64), nullable=False), sa.Column("data", blob), sa.Column("artifact", text(64)),
    )  # fmt: skip
    op.create_table(
        "answers", sa.Column("tenant", text(64), primary_key=True), sa.Column("key", text(200), primary_key=True),
        sa.Column("model", text(32), nullable=False), sa.Column("answer", blob, nullable=False),
        sa.Column("made", sa.Float, nullable=False), sqlite_with_rowid=False,
    )  # fmt: skip
    op.create_index("answers_of", "answers", ["model"])
    op.create_table("trash", sa.Column("artifact", text(64), primary_key=True))
    if op.get_bind().dialect.name == "postgresql":  # sealed bytes do not compress: do not try
        for table, column in (("features", "data"), ("states", "data"), ("examples", "inputs")):
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")


def _move(connection: sa.Connection, tables: Any, model: Any) -> None:
    """One model with its versions, examples and answers."""
    old = {name: tables[f"old_{name}"] for name in _OLD}
    here, tenant = model.id, model.tenant
    secret = new_key()
    versions = connection.execute(
        sa.select(old["versions"]).where(old["versions"].c.model == here).order_by("version")
    ).all()
    examples = connection.execute(sa.select(old["examples"]).where(old["examples"].c.model == here)).all()
    rows = {int(row.id[1:]): row for row in examples}
    for row in versions:
        named = sorted(int(name[1:]) for name in json.loads(row.examples))
        place = ("version", here, row.version, tenant, row.base, row.fingerprint)
        body = seal(secret, json.dumps([row.space, numbers_to_text(named)]).encode(), *place)
        connection.execute(tables["versions"].insert().values(
            model=here, version=row.version, tenant=tenant, base=row.base, fingerprint=row.fingerprint, body=body,
            made=row.made))  # fmt: skip
    for number, numbers in _blocks(versions, rows):
        _block(connection, tables, model, number, {n: rows[n] for n in numbers})
    slot = _slot(connection, tables, secret)
    connection.execute(tables["models"].insert().values(
        id=here, tenant=tenant, base=model.base, version=model.version, next=max(rows, default=-1) + 1, slot=slot,
        about=seal(secret, model.name.encode(), "name", here, tenant, model.version, model.base), made=model.made,
    ))  # fmt: skip
    for row in connection.execute(sa.select(old["answers"]).where(old["answers"].c.model == here)).all():
        sealed = seal(secret, json.dumps([row.request, row.answer]).encode(), "answer", row.tenant, row.key)
        connection.execute(tables["answers"].insert().values(
            tenant=row.tenant, key=row.key, model=here, answer=sealed, made=row.made))  # fmt: skip


def _slot(connection: sa.Connection, tables: Any, secret: bytes) -> int:
    slots = tables["slots"]
    return int(connection.execute(slots.insert().values(secret=secret).returning(slots.c.slot)).scalar_one())


def _blocks(versions: Any, rows: dict[int, Any]) -> Iterator[tuple[int, list[int]]]:
    """Numbers of the examples by the version that first names them."""
    seen: set[int] = set()
    for row in versions:
        fresh = sorted({int(name[1:]) for name in json.loads(row.examples)} & rows.keys() - seen)
        seen.update(fresh)
        if fresh:
            yield row.version, fresh


def _block(connection: sa.Connection, tables: Any, model: Any, number: int, rows: dict[int, Any]) -> None:
    here, tenant, key = model.id, model.tenant, new_key()
    for n, row in rows.items():
        _checked(here, n, row)
    prints = {row.fingerprint for row in rows.values()}
    kept = [row.features for row in rows.values()]
    block = Block(
        tuple(rows),
        [json.loads(r.label) for r in rows.values()],
        [_input(bytes(r.input)) for r in rows.values()],
    )
    slot = _slot(connection, tables, key)
    connection.execute(tables["examples"].insert().values(
        model=here, block=number, tenant=tenant, slot=slot,
        labels=seal(key, pack_labels(block), "labels", here, number, tenant),
        inputs=seal(key, pack_inputs(block.inputs), "inputs", here, number, tenant)))  # fmt: skip
    if len(prints) == 1 and all(kept) and len({len(x) for x in kept}) == 1:
        fingerprint = prints.pop()
        values = torch.frombuffer(bytearray(b"".join(kept)), dtype=torch.float16).reshape(len(kept), -1)
        data = seal(
            key, pack_features(block.numbers, values), "features", here, number, fingerprint, squeeze=False
        )
        connection.execute(tables["features"].insert().values(
            model=here, block=number, fingerprint=fingerprint, tenant=tenant, data=data))  # fmt: skip


def _checked(model: str, number: int, row: Any) -> None:
    found = hashlib.sha256()
    parts = (row.id.encode(), row.label.encode(), row.input, row.features or b"", row.fingerprint.encode())
    for part in parts:
        found.update(len(part).to_bytes(8, "little") + part)
    if found.digest() != bytes(row.digest):
        raise Corrupt(
            f"example 'e{number}' of model {model} does not fit its checksum; nothing was changed: delete that model "
            "with the kshot that made it, or restore a backup"
        )


def _input(blob: bytes) -> Any:
    if blob[:1] in (b'"', b"[", b"{"):
        return json.loads(blob)
    return storage.unpack(blob, "a stored example")[1]["input"]
