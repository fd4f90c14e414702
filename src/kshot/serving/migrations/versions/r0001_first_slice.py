"""The first slice: an example a row, nothing sealed.

Such databases were made without alembic; `upgrading` knows them by their tables.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "keys", sa.Column("digest", sa.String(64), primary_key=True), sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False), sa.Column("scopes", sa.String(64), nullable=False),
        sa.Column("made", sa.Float, nullable=False),
    )  # fmt: skip
    op.create_table(
        "models", sa.Column("id", sa.String(32), primary_key=True), sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False), sa.Column("base", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False), sa.Column("made", sa.Float, nullable=False),
    )  # fmt: skip
    op.create_index("models_of", "models", ["tenant", "id"])
    op.create_table(
        "versions", sa.Column("model", sa.String(32), primary_key=True), sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False), sa.Column("base", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False), sa.Column("space", sa.Text, nullable=False),
        sa.Column("examples", sa.Text, nullable=False), sa.Column("made", sa.Float, nullable=False),
    )  # fmt: skip
    op.create_table(
        "examples", sa.Column("model", sa.String(32), primary_key=True), sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False), sa.Column("label", sa.Text, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False), sa.Column("features", sa.LargeBinary),
        sa.Column("fingerprint", sa.String(64), nullable=False), sa.Column("digest", sa.LargeBinary, nullable=False),
    )  # fmt: skip
    op.create_table(
        "answers", sa.Column("tenant", sa.String(64), primary_key=True), sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("request", sa.String(64), nullable=False), sa.Column("model", sa.String(32), nullable=False),
        sa.Column("answer", sa.Text, nullable=False), sa.Column("made", sa.Float, nullable=False),
    )  # fmt: skip
