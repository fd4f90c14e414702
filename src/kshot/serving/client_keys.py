"""Keys of clients: only their hashes are stored."""

from __future__ import annotations

import time

from sqlalchemy import delete, insert, select

from kshot.serving.database import Database
from kshot.serving.schema import KEYS


class ClientKeys:
    """What a store knows of the keys that clients send."""

    database: Database

    def put_key(self, digest: str, prefix: str, tenant: str, scopes: str) -> None:
        """Keep a key's hash."""
        row = insert(KEYS).values(
            digest=digest, prefix=prefix, tenant=tenant, scopes=scopes, made=time.time()
        )
        self.database.change(lambda connection: connection.execute(row).rowcount)

    def key(self, digest: str) -> tuple[str, str] | None:
        """Tenant and scopes of a key's hash."""
        query = select(KEYS).where(KEYS.c.digest == digest)
        found = self.database.read(lambda connection: connection.execute(query).first())
        return None if found is None else (found.tenant, found.scopes)

    def has_keys(self) -> bool:
        """Was any key made?"""
        query = select(KEYS.c.digest).limit(1)
        return self.database.read(lambda connection: connection.execute(query).first() is not None)

    def list_keys(self) -> list[tuple[str, str, str, float]]:
        """First characters, tenant, scopes and birth of every key, the oldest first."""
        query = select(KEYS.c.prefix, KEYS.c.tenant, KEYS.c.scopes, KEYS.c.made).order_by(KEYS.c.made)
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return [(str(p), str(t), str(s), float(m)) for p, t, s, m in rows]

    def revoke(self, prefix: str) -> int:
        """Delete the keys that start so; how many there were."""
        gone = delete(KEYS).where(KEYS.c.prefix == prefix)
        return self.database.change(lambda connection: int(connection.execute(gone).rowcount))
