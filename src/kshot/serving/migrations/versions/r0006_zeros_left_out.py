"""Features may be packed without their zeros, which an older kshot cannot read."""

from __future__ import annotations

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Nothing in the tables changes. What was packed before is read as it is."""
