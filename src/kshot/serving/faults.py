"""What a service can refuse, each with the HTTP status that says so."""

from __future__ import annotations

from kshot.errors import KshotError


class ServingError(KshotError):
    """Base of what a service refuses."""

    status = 500


class NotFound(ServingError):
    """No such thing, or one of another tenant: nobody can tell which."""

    status = 404


class Conflict(ServingError):
    """The model has another version than the caller's If-Match says."""

    status = 412


class KeyReused(ServingError):
    """An idempotency key came back with another request."""

    status = 422


class Denied(ServingError):
    """No key, a wrong one, or one that lacks the scope."""

    status = 401


class Forbidden(ServingError):
    """The key lacks the scope, or the request comes from where it must not."""

    status = 403


class MatchMissing(ServingError):
    """This server changes a model only with If-Match."""

    status = 428


class StillRunning(ServingError):
    """The first request with this idempotency key has no answer yet."""

    status = 409


class TooLarge(ServingError):
    """More bytes, pixels or examples than the limits allow."""

    status = 413


class Busy(ServingError):
    """The queue is full, or too much is asked at once; `seconds` later it may go."""

    status = 503

    def __init__(self, message: str, seconds: float = 1.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class Corrupt(ServingError):
    """A stored example does not fit its checksum."""

    status = 500


class StoreFull(ServingError):
    """The disk is full; nothing was changed."""

    status = 507
