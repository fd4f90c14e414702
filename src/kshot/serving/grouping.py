"""Features that are mostly zero and of few different values in each row, as bytes: see `kshot.heads.grouped_rows`.

A byte tells the column within a plane of 256; of more than four planes there would be too many short groups, so then there
is one, and two bytes tell the column. What an answer needs is told as it is needed, so reading computes next to nothing.
"""

from __future__ import annotations

import struct

import numpy as np

from kshot.heads.grouped_rows import GroupedRows

_COUNTS = struct.Struct("<II")
"""How many values are not zero, and how many groups they make."""
_PLANE, _PLANES, _WIDEST = 256, 4, 1 << 16


def pack_groups(features: np.ndarray, there: np.ndarray) -> bytes | None:
    """float16 [n, d]: values of the groups, their beginnings, those of each row of each plane, ends of planes, columns. None:
    they have other axes, or are too wide.

    Args:
        there: which values are not zero, bool [n * d].

    >>> features = np.zeros((2, 500), np.float16)
    >>> features[0, [3, 300]] = 0.5
    >>> np.array_equal(read_groups(pack_groups(features, features.reshape(-1) != 0), 0, (2, 500)), features)
    True
    """
    if features.ndim != 2 or not 0 < features.shape[1] <= _WIDEST or not len(features):
        return None
    count, width = features.shape
    planes, kind = _planes(width)
    bits = features.reshape(-1).view(np.uint16)
    places = np.flatnonzero(there)
    row = places // width
    column = places - row * width
    if planes > 1:
        row += (column >> 8) * count
        column &= 0xFF
    held = np.bincount(row, minlength=planes * count)
    keys = row << 32 | bits[places].astype(np.int64) << 16 | column
    if not held.all():  # an empty row keeps a zero, so that none is without a group
        keys = np.concatenate([keys, np.flatnonzero(held == 0) << 32])
        held = np.maximum(held, 1)
    keys.sort()
    above = keys >> 16
    new = np.ones(len(keys), np.bool_)
    np.not_equal(above[1:], above[:-1], out=new[1:])
    first, starts, place = np.flatnonzero(new), held.cumsum() - held, _place(len(keys))
    # narrower numbers keep the lowest bits
    parts = (
        above[first].astype(np.uint16), first.astype(place), np.searchsorted(first, starts).astype(place),
        starts[count::count].astype(np.uint32), keys.astype(kind),
    )  # fmt: skip
    return b"".join([_COUNTS.pack(len(keys), len(first)), *(part.tobytes() for part in parts)])


def read_groups(data: bytes | memoryview, at: int, shape: tuple[int, ...]) -> GroupedRows:
    """The inverse of `pack_groups`, out of these bytes of `data`."""
    rows, width = shape
    planes, kind = _planes(width)
    count, groups = _COUNTS.unpack_from(data, at)
    place = _place(count)
    at += _COUNTS.size
    values = np.frombuffer(data, np.float16, groups, at).astype(np.float32)
    at += 2 * groups
    first = np.frombuffer(data, place, groups, at)
    at += first.nbytes
    begins = np.frombuffer(data, place, planes * rows, at)
    at += begins.nbytes
    ends = struct.unpack_from(f"<{planes - 1}I", data, at)
    columns = np.frombuffer(data, kind, count, at + 4 * len(ends))
    if planes > 1:
        columns = columns.astype(np.uint16)
        for end in ends:
            columns[end:] += _PLANE
    return GroupedRows((rows, width), columns, first, values, begins)


def _planes(width: int) -> tuple[int, type[np.unsignedinteger]]:
    """How many planes rows of this width have, and the number type of columns within one."""
    if width <= _PLANE * _PLANES:
        return -(-width // _PLANE), np.uint8
    return 1, np.uint16


def _place(count: int) -> type[np.unsignedinteger]:
    """The number type of places among so many values."""
    return np.uint16 if count < 1 << 16 else np.uint32
