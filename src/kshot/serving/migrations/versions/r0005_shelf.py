"""Features and sheets may lie in a file beside the database; their row then says where."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns. What lies in rows stays there."""
    for name, kind in (
        ("place", sa.BigInteger), ("length", sa.Integer), ("sheet_place", sa.BigInteger), ("sheet_length", sa.Integer),
    ):  # fmt: skip
        op.add_column("features", sa.Column(name, kind))
