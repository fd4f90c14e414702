"""All that answering needs of a version beside its features, as one blob: a cold question unseals it and is ready."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from kshot.serving.packing import numbers_to_text, text_to_numbers

_MARK = b"kst4"
_NO_GAUGE = (math.nan,) * 4
_FLOAT = np.dtype(np.float32)
_HEAD = struct.Struct("<4sHIdddd")
"""The mark of this layout, bytes of what many tasks have alike, bytes of the space, and the gauge (NaN: none of it)."""


class Kept(NamedTuple):
    """What adapting computed that is small beside the features, and worth not computing again.

    Attributes:
        solved: float32 arrays by name, for `Learner.grown`; empty: the learner solves again.
        gauge: the task's own measure of scores, `Gauge.numbers`; None: its base was never calibrated.
    """

    solved: Mapping[str, np.ndarray]
    gauge: tuple[float, ...] | None


class Sheet(NamedTuple):
    """A version without its id and fingerprint, which the row tells; see `Version`."""

    version: int
    base: str
    space: str
    numbers: tuple[int, ...]
    golden: tuple[int, ...]
    kept: Kept


class _Alike(NamedTuple):
    """What tasks with as many examples and classes have alike; `parts` are the name and shape of each array, and how
    many bytes behind the first it begins."""

    version: int
    base: str
    numbers: tuple[int, ...]
    golden: tuple[int, ...]
    parts: list[tuple[str, tuple[int, ...], int]]


def pack_sheet(sheet: Sheet) -> bytes:
    """Bytes of a sheet.

    >>> kept = Kept({"dual": np.ones((2, 3), np.float32), "scale": np.ones(1, np.float32)}, (0.5, 2.0))
    >>> back = unpack_sheet(pack_sheet(Sheet(3, "desk", "{}", (0, 1, 2), (), kept)))
    >>> back.version, back.numbers, back.kept.gauge, back.kept.solved["dual"].shape
    (3, (0, 1, 2), (0.5, 2.0), (2, 3))
    """
    numbers, golden = numbers_to_text(sheet.numbers), numbers_to_text(sheet.golden)
    shapes = {name: list(array.shape) for name, array in sheet.kept.solved.items()}
    alike = json.dumps([sheet.version, sheet.base, numbers, golden, shapes], separators=(",", ":")).encode()
    space = sheet.space.encode()
    gauge = (*(sheet.kept.gauge or ()), *_NO_GAUGE)[: len(_NO_GAUGE)]
    alike += b" " * (-(_HEAD.size + len(alike) + len(space)) % 4)  # numbers lie at multiples of their size
    values = [array.tobytes() for array in sheet.kept.solved.values()]
    return b"".join([_HEAD.pack(_MARK, len(alike), len(space), *gauge), alike, space, *values])


def unpack_sheet(data: bytes) -> Sheet | None:
    """The inverse of `pack_sheet`; None: it is of an older layout, and to be made again."""
    mark, alike, space, *gauge = _HEAD.unpack_from(data)
    if mark != _MARK:
        return None
    first = _HEAD.size + alike
    second = first + space
    version, base, numbers, golden, parts = _alike(data[_HEAD.size : first])
    solved = {name: np.ndarray(shape, _FLOAT, data, second + behind) for name, shape, behind in parts}
    kept = Kept(solved, tuple(number for number in gauge if number == number) or None)
    return Sheet(version, base, data[first:second].decode(), numbers, golden, kept)


@lru_cache(1024)
def _alike(told: bytes) -> _Alike:
    version, base, numbers, golden, shapes = json.loads(told)
    parts, behind = [], 0
    for name, shape in shapes.items():
        parts.append((name, tuple(shape), behind))
        behind += _FLOAT.itemsize * math.prod(shape)
    return _Alike(version, base, text_to_numbers(numbers), text_to_numbers(golden), parts)
