"""The tables of a store, as the newest migration leaves them. Every row of a tenant carries the tenant.

What tells anything of an example is sealed (see `sealing`): labels, inputs, features, states, class names, model
names, answers of idempotency keys. The sealing keys are in a table of their own, so forgetting is overwriting one.

SQLite keeps tables of short rows by their keys, without an index beside them: a cold read is a few pages fewer. Those of
features are short because what is long lies on the shelf; other long rows would make such a tree deep.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    event,
)

metadata = MetaData()

KEYS = Table(
    "keys", metadata,
    Column("digest", String(64), primary_key=True), Column("prefix", String(16), nullable=False),
    Column("tenant", String(64), nullable=False), Column("scopes", String(64), nullable=False),
    Column("made", Float, nullable=False),
)  # fmt: skip
"""Keys of clients; only their hashes."""

SLOTS = Table(
    "slots", metadata,
    Column("slot", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("secret", LargeBinary(16), nullable=False),
)  # fmt: skip
"""Sealing keys. Rows are only ever appended, and overwritten in their place by zeros: nothing moves them, so no
stale copy of a key stays in a page, as it can of any other row (SQLite's secure_delete does not reach those)."""

MODELS = Table(
    "models", metadata,
    Column("id", String(32), primary_key=True), Column("tenant", String(64), nullable=False),
    Column("base", String(64), nullable=False), Column("version", Integer, nullable=False),
    Column("next", Integer, nullable=False), Column("slot", BigInteger, nullable=False),
    Column("about", LargeBinary, nullable=False), Column("made", Float, nullable=False),
    Index("models_of", "tenant", "id"),
    sqlite_with_rowid=False,
)  # fmt: skip
"""`next`: the number of the next example. `about`: the sealed name."""

VERSIONS = Table(
    "versions", metadata,
    Column("model", String(32), primary_key=True), Column("version", Integer, primary_key=True),
    Column("tenant", String(64), nullable=False), Column("base", String(64), nullable=False),
    Column("fingerprint", String(64), nullable=False), Column("body", LargeBinary, nullable=False),
    Column("made", Float, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip
"""`body`: space and numbers of the examples, sealed by the model's key."""

EXAMPLES = Table(
    "examples", metadata,
    Column("model", String(32), primary_key=True), Column("block", Integer, primary_key=True),
    Column("tenant", String(64), nullable=False), Column("slot", BigInteger, nullable=False),
    Column("labels", LargeBinary, nullable=False), Column("inputs", LargeBinary),
    Column("artifact", String(64)),
)  # fmt: skip
"""Examples that came together, `block` is the version that brought them. Large inputs are an artifact."""

FEATURES = Table(
    "features", metadata,
    Column("model", String(32), primary_key=True), Column("block", Integer, primary_key=True),
    Column("fingerprint", String(64), primary_key=True), Column("tenant", String(64), nullable=False),
    Column("slot", BigInteger), Column("data", LargeBinary), Column("artifact", String(64)),
    Column("sheet", LargeBinary), Column("place", BigInteger), Column("length", Integer),
    Column("sheet_place", BigInteger), Column("sheet_length", Integer),
    sqlite_with_rowid=False,
)  # fmt: skip
"""A cache: float16 features of a block's examples on one base, sealed by the block's key; `slot` says where that is.
Beside them lies what else a prediction needs of one version, sealed by the model's key (see `sheets`). Both lie in the
row, or where a place is given, on the shelf (see `shelf`)."""

STATES = Table(
    "states", metadata,
    Column("model", String(32), primary_key=True), Column("version", Integer, primary_key=True),
    Column("tenant", String(64), nullable=False), Column("data", LargeBinary), Column("artifact", String(64)),
)  # fmt: skip
"""A cache: what adapting computed, where computing it takes long; sealed by the model's key."""

ANSWERS = Table(
    "answers", metadata,
    Column("tenant", String(64), primary_key=True), Column("key", String(200), primary_key=True),
    Column("model", String(32), nullable=False), Column("answer", LargeBinary, nullable=False),
    Column("made", Float, nullable=False), Index("answers_of", "model"),
    sqlite_with_rowid=False,
)  # fmt: skip
"""First answers by idempotency key, with the request's digest, sealed by the model's key."""

TRASH = Table("trash", metadata, Column("artifact", String(64), primary_key=True))
"""Artifacts that no row names any more and that are still to be deleted."""

for _table, _column in (
    (FEATURES, "data"),
    (STATES, "data"),
    (EXAMPLES, "inputs"),
):  # sealed bytes do not compress
    _ddl = DDL(f"ALTER TABLE {_table.name} ALTER COLUMN {_column} SET STORAGE EXTERNAL")  # type: ignore[no-untyped-call]
    event.listen(_table, "after_create", _ddl.execute_if(dialect="postgresql"))
