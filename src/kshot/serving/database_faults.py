"""What a database's errors mean to a caller, and which of them pass by themselves."""

from __future__ import annotations

import secrets
import time

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from kshot.serving.faults import Busy, Conflict, Corrupt, StoreFull

TRIES = 4
_FULL = ("full", "disk I/O error", "No space", "unable to open", "readonly")
_FULL_STATES = {"53100", "53200", "58030"}
_CORRUPT_STATES = {"XX001", "XX002"}
_PASSING_STATES = {"40001", "40P01", "57P01", "57P02", "57P03", "53300"}


def fault(cause: BaseException) -> BaseException:
    """What a database's error means to a caller."""
    if isinstance(cause, IntegrityError):
        return Conflict("another request wrote this at the same moment; read it again")
    if isinstance(cause, PoolTimeout):
        return Busy("all connections to the database are in use; try again in a second")
    if not isinstance(cause, DBAPIError):
        return cause
    said, state = str(cause.orig).strip(), getattr(cause.orig, "sqlstate", None)
    if state in _FULL_STATES or (state is None and any(word in said for word in _FULL)):
        return StoreFull(f"nothing was changed: the store cannot write ({said}); free space")
    if state in _CORRUPT_STATES or "malformed" in said or "not a database" in said:
        return Corrupt(f"a page of the store is damaged ({said}); restore a backup")
    if passing(cause) or "locked" in said:
        return Busy(f"the database does not answer ({said}); try again in a second")
    return cause


def passing(cause: BaseException) -> bool:
    """Is it worth trying again? A lost connection, a deadlock, a restart."""
    if not isinstance(cause, DBAPIError):
        return False
    state = getattr(cause.orig, "sqlstate", None)
    lost = (
        type(cause.orig).__name__ == "OperationalError"
        and state is None
        and "sqlite" not in str(type(cause.orig))
    )
    return bool(cause.connection_invalidated or state in _PASSING_STATES or lost)


def pause(left: int) -> None:
    """Longer at each try, never equal for two."""
    time.sleep(0.1 * 2 ** (TRIES - 1 - left) * (0.5 + secrets.randbelow(1000) / 1000))
