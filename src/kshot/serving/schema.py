"""The tables of a store. Every row of a tenant carries the tenant, and every query names it."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

KEYS = Table(
    "keys", metadata,
    Column("digest", String(64), primary_key=True), Column("prefix", String(16), nullable=False),
    Column("tenant", String(64), nullable=False), Column("scopes", String(64), nullable=False),
    Column("made", Float, nullable=False),
)  # fmt: skip
MODELS = Table(
    "models", metadata,
    Column("id", String(32), primary_key=True), Column("tenant", String(64), nullable=False),
    Column("name", String(200), nullable=False), Column("base", String(64), nullable=False),
    Column("version", Integer, nullable=False), Column("made", Float, nullable=False),
    Index("models_of", "tenant", "id"),
)  # fmt: skip
VERSIONS = Table(
    "versions", metadata,
    Column("model", String(32), primary_key=True), Column("version", Integer, primary_key=True),
    Column("tenant", String(64), nullable=False), Column("base", String(64), nullable=False),
    Column("fingerprint", String(64), nullable=False), Column("space", Text, nullable=False),
    Column("examples", Text, nullable=False), Column("made", Float, nullable=False),
)  # fmt: skip
EXAMPLES = Table(
    "examples", metadata,
    Column("model", String(32), primary_key=True), Column("id", String(16), primary_key=True),
    Column("tenant", String(64), nullable=False), Column("label", Text, nullable=False),
    Column("input", LargeBinary, nullable=False), Column("features", LargeBinary),
    Column("fingerprint", String(64), nullable=False), Column("digest", LargeBinary(32), nullable=False),
)  # fmt: skip
ANSWERS = Table(
    "answers", metadata,
    Column("tenant", String(64), primary_key=True), Column("key", String(200), primary_key=True),
    Column("request", String(64), nullable=False), Column("model", String(32), nullable=False),
    Column("answer", Text, nullable=False), Column("made", Float, nullable=False),
)  # fmt: skip
