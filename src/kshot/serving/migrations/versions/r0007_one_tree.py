"""SQLite keeps the table of features by its key: a question reads one page of it, not one of an index and one of the table.

Features may also be packed in groups, which an older kshot cannot read.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Write the table anew. What was packed before is read as it is."""
    if op.get_bind().dialect.name != "sqlite":
        return
    op.rename_table("features", "older_features")
    blob = sa.LargeBinary
    made = op.create_table(
        "features",
        sa.Column("model", sa.String(32), primary_key=True), sa.Column("block", sa.Integer, primary_key=True),
        sa.Column("fingerprint", sa.String(64), primary_key=True), sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("slot", sa.BigInteger), sa.Column("data", blob), sa.Column("artifact", sa.String(64)),
        sa.Column("sheet", blob), sa.Column("place", sa.BigInteger), sa.Column("length", sa.Integer),
        sa.Column("sheet_place", sa.BigInteger), sa.Column("sheet_length", sa.Integer), sqlite_with_rowid=False,
    )  # fmt: skip
    names = ", ".join(column.name for column in made.columns)
    op.execute(f"INSERT INTO features ({names}) SELECT {names} FROM older_features ORDER BY model, block")
    op.drop_table("older_features")
