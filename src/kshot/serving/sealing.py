"""Bytes that cannot be read without a key, nor changed or moved to another row unnoticed: AES-GCM.

Forgetting is destroying the key. Databases leave stale copies of rows where a page was split or merged, in logs and
in free space; without the key they say nothing. The same tag is the checksum of what is stored.
"""

from __future__ import annotations

import os
import zlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kshot.serving.faults import Corrupt

_NONCE, _TAG = 12, 16
_PLAIN, _DEFLATED = b"\0", b"\1"


def new_key() -> bytes:
    """A fresh random key of 16 bytes."""
    return os.urandom(16)


def seal(key: bytes, data: bytes, *place: object, squeeze: bool = True) -> bytes:
    """`data` sealed for one place: a table, and what names the row. Compressed where that makes it smaller."""
    body = _PLAIN + data
    if squeeze and len(data) > 64:
        small = zlib.compress(data, 6)
        body = _DEFLATED + small if len(small) < len(data) else body
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, body, _bound(place))


def unseal(key: bytes, sealed: bytes | memoryview, *place: object) -> bytes:
    """What was sealed for this place.

    Raises:
        Corrupt: a byte of it, of its key or of its place has changed.

    >>> key = new_key()
    >>> unseal(key, seal(key, b"hello", "labels", "m_1", 1), "labels", "m_1", 1)
    b'hello'
    """
    view = memoryview(sealed)
    try:
        body = AESGCM(key).decrypt(view[:_NONCE], view[_NONCE:], _bound(place))
    except (InvalidTag, ValueError):
        raise _damaged(place) from None
    return zlib.decompress(body[1:]) if body[:1] == _DEFLATED else body[1:]


def unseal_large(key: bytes, sealed: bytes | memoryview, *place: object) -> memoryview:
    """As `unseal`, into memory that can be written to and without another copy: for what tensors are made on.

    >>> key = new_key()
    >>> bytes(unseal_large(key, seal(key, b"hello", "features", "m_1"), "features", "m_1"))
    b'hello'
    """
    view = memoryview(sealed)
    try:
        body = bytearray(len(view) - _NONCE - _TAG)
        AESGCM(key).decrypt_into(view[:_NONCE], view[_NONCE:], _bound(place), body)
    except (InvalidTag, ValueError):
        raise _damaged(place) from None
    if body[:1] == _DEFLATED:
        return memoryview(bytearray(zlib.decompress(body[1:])))
    return memoryview(body)[1:]


def _damaged(place: tuple[object, ...]) -> Corrupt:
    named = " ".join(map(str, place[:3]))
    return Corrupt(
        f"{named}: stored bytes do not fit their checksum; restore a backup, other models are not affected"
    )


def _bound(place: tuple[object, ...]) -> bytes:
    return "\0".join(map(str, place)).encode()
