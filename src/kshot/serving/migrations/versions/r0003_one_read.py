"""A prediction reads one row: beside features lie their block's key and labels, and what adapting computed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; copy keys' places and sealed labels, which fit because both belong to the same block."""
    op.add_column("features", sa.Column("slot", sa.BigInteger))
    op.add_column("features", sa.Column("labels", sa.LargeBinary))
    op.add_column("features", sa.Column("solved", sa.LargeBinary))
    owner = "FROM examples WHERE examples.model = features.model AND examples.block = features.block"
    op.execute(f"UPDATE features SET slot = (SELECT slot {owner}), labels = (SELECT labels {owner})")
