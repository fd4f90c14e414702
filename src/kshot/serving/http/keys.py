"""Keys: 256 random bits, kept as SHA-256; whose they are and what they allow."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from fastapi import Depends, Request

from kshot.errors import SettingError
from kshot.serving.faults import Busy, Forbidden
from kshot.serving.limits import Limits
from kshot.serving.service import Service

SCOPES = ("read", "predict", "adapt", "admin")
"""What a key may allow; `admin` allows all."""
_FRESH = 1.0
_HELD = 10_000


class Caller(NamedTuple):
    """Who asks: a tenant, and what its key allows. `limited`: rates hold for it."""

    tenant: str
    scopes: frozenset[str]
    limited: bool = True


EVERYBODY = Caller("local", frozenset(SCOPES), limited=False)
"""Who asks where there are no keys."""


def make_key(service: Service, tenant: str, scopes: str = "read,predict,adapt") -> str:
    """A new key of a tenant; only its hash is stored, so it is shown this once.

    Raises:
        SettingError: an unknown scope, or a name that is no tenant.
    """
    unknown = sorted(set(scopes.split(",")) - set(SCOPES))
    if unknown:
        raise SettingError(f"scope {unknown[0]!r} is not known; choose of {', '.join(SCOPES)}")
    if not tenant.isprintable() or not 0 < len(tenant) <= 64:
        raise SettingError(f"tenant is {tenant[:80]!r}; give it a name of 1 to 64 printable characters")
    key = "ks_" + secrets.token_urlsafe(32)
    service.store.put_key(hashlib.sha256(key.encode()).hexdigest(), key[:11], tenant, scopes)
    return key


def bearer(header: bytes) -> bytes:
    """The key of an Authorization header."""
    kind, _, key = header.partition(b" ")
    return key.strip() if kind.lower() == b"bearer" else b""


class Authority:
    """Tells callers by their keys. A key that was found is believed for a second, so revoking takes that long.

    Args:
        keys: False: everybody is the tenant `local`.
    """

    def __init__(self, service: Service, limits: Limits, *, keys: bool) -> None:
        self._service, self._keys, self._limits = service, keys, limits
        self._known: OrderedDict[str, tuple[float, Caller]] = OrderedDict()
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()

    async def caller(self, key: bytes) -> Caller | None:
        """Whose key this is; None: nobody's."""
        if not self._keys:
            return EVERYBODY
        if not key or len(key) > 200:
            return None
        digest = hashlib.sha256(key).hexdigest()
        held = self._known.get(digest)
        if held is not None and time.monotonic() - held[0] < _FRESH:
            return held[1]
        found = await asyncio.get_running_loop().run_in_executor(None, self._service.store.key, digest)
        if found is None:
            self._known.pop(digest, None)
            return None
        caller = Caller(found[0], frozenset(found[1].split(",")))
        self._known[digest] = (time.monotonic(), caller)
        while len(self._known) > _HELD:
            self._known.popitem(last=False)
        return caller

    def allow(self, caller: Caller, scope: str) -> None:
        """Raise Forbidden where the key lacks the scope, Busy where the tenant asks too fast."""
        if not caller.scopes & {scope, "admin"}:
            raise Forbidden(f"this key has the scopes {','.join(sorted(caller.scopes))}; {scope!r} is needed")
        rate = {"adapt": self._limits.adapts_per_second, "predict": self._limits.predicts_per_second}.get(
            scope
        )
        if rate is None or not caller.limited:
            return
        bucket = self._buckets.setdefault((caller.tenant, scope), Bucket(rate))
        while len(self._buckets) > _HELD:
            self._buckets.popitem(last=False)
        wait = bucket.take()
        if wait > 0:
            slow = Busy(f"more than {rate:g} requests a second that need {scope!r}; wait {wait:.2g} s", wait)
            slow.status = 429
            raise slow


class Bucket:
    """A token bucket: `rate` a second, twice that at once.

    >>> bucket = Bucket(1.0)
    >>> [bucket.take(now=0.0) for _ in range(3)], bucket.take(now=2.0)
    ([0.0, 0.0, 1.0], 0.0)
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.left = max(1.0, 2 * rate)
        self._then: float | None = None

    def take(self, now: float | None = None) -> float:
        """Take one; 0, or the seconds until there is one to take."""
        now = time.monotonic() if now is None else now
        passed = 0.0 if self._then is None else now - self._then
        self.left = min(max(1.0, 2 * self.rate), self.left + passed * self.rate)
        self._then = now
        if self.left < 1:
            return (1 - self.left) / self.rate
        self.left -= 1
        return 0.0


def scopes(authority: Authority) -> Callable[[str], Any]:
    """`allowed("adapt")` as a FastAPI dependency that gives the tenant, or refuses."""

    def allowed(scope: str) -> Any:
        async def tenant(request: Request) -> str:
            caller: Caller = request.state.caller
            authority.allow(caller, scope)
            return caller.tenant

        tenant.needs = scope  # type: ignore[attr-defined]
        return Depends(tenant)

    return allowed
