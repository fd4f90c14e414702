"""All that answering needs of a version lies in one sealed sheet beside its features."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column and drop what it replaces. It is a cache: a model's first answer fills it."""
    op.add_column("features", sa.Column("sheet", sa.LargeBinary))
    for name in ("labels", "solved"):
        op.drop_column("features", name)
