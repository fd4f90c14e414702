"""All that answering needs of a version beside its features, as one blob: a cold question unseals it and is ready."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from kshot.serving.packing import numbers_to_text, text_to_numbers

_HEAD = struct.Struct("<HHI")


class Kept(NamedTuple):
    """What adapting computed that is small beside the features, and worth not computing again.

    Attributes:
        solved: float32 tensors by name, for `Learner.grown`; empty: the learner solves again.
        gauge: the task's own measure of scores, (others, span); None: its base was never calibrated.
    """

    solved: Mapping[str, Tensor]
    gauge: tuple[float, float] | None


class Sheet(NamedTuple):
    """A version without its id and fingerprint, which the row tells; see `Version`."""

    version: int
    base: str
    space: str
    numbers: tuple[int, ...]
    golden: tuple[int, ...]
    kept: Kept


def pack_sheet(sheet: Sheet) -> bytes:
    """Bytes of a sheet.

    >>> kept = Kept({"dual": torch.ones(2, 3), "scale": torch.ones(1)}, (0.5, 2.0))
    >>> back = unpack_sheet(pack_sheet(Sheet(3, "desk", "{}", (0, 1, 2), (), kept)))
    >>> back.version, back.numbers, back.kept.gauge, back.kept.solved["dual"].shape
    (3, (0, 1, 2), (0.5, 2.0), torch.Size([2, 3]))
    """
    numbers, golden = numbers_to_text(sheet.numbers), numbers_to_text(sheet.golden)
    told = _json([sheet.version, sheet.base, numbers, golden, sheet.kept.gauge])
    shapes = _json({name: list(t.shape) for name, t in sheet.kept.solved.items()})
    space = sheet.space.encode()
    values = [tensor.detach().cpu().contiguous().numpy().tobytes() for tensor in sheet.kept.solved.values()]
    return b"".join([_HEAD.pack(len(told), len(shapes), len(space)), told, shapes, space, *values])


def unpack_sheet(data: bytes) -> Sheet:
    """The inverse of `pack_sheet`."""
    told, shapes, space = _HEAD.unpack_from(data)
    first = _HEAD.size + told
    second = first + shapes
    third = second + space
    version, base, numbers, golden, gauge = json.loads(data[_HEAD.size : first])
    solved = _tensors(data[first:second], data[third:])
    kept = Kept(solved, None if gauge is None else (gauge[0], gauge[1]))
    return Sheet(
        version, base, data[second:third].decode(), text_to_numbers(numbers), text_to_numbers(golden), kept
    )


def _tensors(shapes: bytes, values: bytes) -> dict[str, Tensor]:
    if not values:
        return {}
    names, sizes, parts = _layout(shapes)
    flat = torch.frombuffer(
        bytearray(values), dtype=torch.float32
    )  # a copy, because bytes cannot be written to
    split = zip(parts, flat.split_with_sizes(sizes), strict=True)
    return dict(
        zip(names, [part if len(shape) == 1 else part.view(shape) for shape, part in split], strict=True)
    )


@lru_cache(256)
def _layout(shapes: bytes) -> tuple[list[str], list[int], list[list[int]]]:
    """Names, sizes and shapes; tasks with as many examples and classes share one."""
    told: dict[str, list[int]] = json.loads(shapes)
    return list(told), [math.prod(shape) for shape in told.values()], list(told.values())


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
