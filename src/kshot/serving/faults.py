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


class TooLarge(ServingError):
    """More bytes, pixels or examples than the limits allow."""

    status = 413


class Busy(ServingError):
    """The queue is full."""

    status = 503


class Corrupt(ServingError):
    """A stored example does not fit its checksum."""

    status = 500


class StoreFull(ServingError):
    """The disk is full; nothing was changed."""

    status = 507
