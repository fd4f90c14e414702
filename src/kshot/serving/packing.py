"""Examples and features of a model as compact bytes."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kshot import storage
from kshot.heads.grouped_rows import GroupedRows
from kshot.serving.grouping import pack_groups, read_groups

_AXES = struct.Struct("<HB")
_SPARSE, _GROUPED, _KINDS = 0x80, 0x40, 0xC0
"""Set in the number of axes of features whose zeros are left out, or which lie in groups (see `grouping`)."""
_WORTH = 0.75
"""Of the bytes of all values; zeros are left out where no more than this is left."""


class Block(NamedTuple):
    """Examples that came together.

    Attributes:
        numbers: their numbers in the model, rising; labels: as JSON values.
        inputs: as the encoder read them: JSON values or tensors.
        features: float16 [n, ...]; None: not kept.
    """

    numbers: tuple[int, ...]
    labels: list[Any]
    inputs: list[Any]
    features: Tensor | None = None

    def only(self, keep: set[int]) -> Block:
        """Those with these numbers."""
        places = [place for place, number in enumerate(self.numbers) if number in keep]
        return Block(
            tuple(self.numbers[p] for p in places), [self.labels[p] for p in places],
            [self.inputs[p] for p in places], None if self.features is None else self.features[places],
        )  # fmt: skip


def numbers_to_text(numbers: Sequence[int]) -> str:
    """Rising numbers as ranges.

    >>> numbers_to_text([0, 1, 2, 5, 7, 8])
    '0-2,5,7-8'
    """
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in parts)


@lru_cache(1024)
def text_to_numbers(text: str) -> tuple[int, ...]:
    """The inverse of `numbers_to_text`.

    >>> text_to_numbers('0-2,5')
    (0, 1, 2, 5)
    """
    found: list[int] = []
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)


def pack_labels(block: Block) -> bytes:
    """Numbers and labels."""
    return json.dumps([numbers_to_text(block.numbers), block.labels], separators=(",", ":")).encode()


def unpack_labels(data: bytes) -> tuple[tuple[int, ...], list[Any]]:
    """Numbers and labels."""
    numbers, labels = json.loads(data)
    return text_to_numbers(numbers), labels


def pack_inputs(items: Sequence[Any]) -> bytes:
    """Inputs with their content hashes: JSON, or where they are tensors a safetensors file."""
    hashes = [content_hash(item) for item in items]
    if not all(isinstance(item, Tensor) for item in items):
        return json.dumps({"hashes": hashes, "inputs": list(items)}, separators=(",", ":")).encode()
    alike = len({(item.dtype, tuple(item.shape)) for item in items}) == 1
    tensors = (
        {"inputs": torch.stack(list(items))} if alike else {str(n): item for n, item in enumerate(items)}
    )
    return storage.pack({"what": "examples", "hashes": hashes, "count": len(items)}, tensors)


def unpack_inputs(data: bytes) -> list[Any]:
    """The inputs."""
    if data[:1] == b"{":
        return list(json.loads(data)["inputs"])
    manifest, tensors = storage.unpack(data, "stored examples")
    if "inputs" in tensors:
        return list(tensors["inputs"].unbind())
    return [tensors[str(n)] for n in range(manifest["count"])]


def content_hash(item: Any) -> str:
    """32 digits that tell an input from any other."""
    if isinstance(item, Tensor):
        flat = item.detach().cpu().contiguous().reshape(-1)
        body = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        return hashlib.sha256(f"{item.dtype}{tuple(item.shape)}".encode() + body).hexdigest()[:32]
    return hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()[:32]


def pack_features(numbers: Sequence[int], features: Tensor) -> bytes:
    """float16 [n, ...] of the examples with these numbers: those, the shape, then the values. Where most are zero, zeros
    are left out, and a bit for each value says where the others stand; or where the others are few different ones in each
    row too, as hashed n-grams are, each of those is told once, with its columns.

    >>> wide = torch.zeros(2, 1000, dtype=torch.float16)
    >>> wide[1, 7] = 2.0
    >>> packed = pack_features((0, 4), wide)
    >>> numbers, again = unpack_features(packed)
    >>> len(packed), numbers, torch.equal(again, wide)
    (91, (0, 4), True)
    """
    flat: np.ndarray = features.contiguous().numpy().reshape(-1)
    there = (flat.view(np.uint16) & 0x7FFF) != 0  # both zeros; faster than comparing numbers
    marks, kind = b"", 0
    sparse = (flat.size + 7) // 8 + 2 * int(np.count_nonzero(there))
    if sparse <= _WORTH * 2 * flat.size:
        groups = pack_groups(flat.reshape(features.shape), there)
        if groups is not None and len(groups) < sparse:
            kind, values = _GROUPED, groups
        else:
            marks, kind, values = np.packbits(there).tobytes(), _SPARSE, flat[there].tobytes()
    else:
        values = flat.tobytes()
    named = numbers_to_text(numbers).encode()
    # so that values begin at an even place where this is unsealed
    named += b" " * ((len(named) + len(marks)) % 2)
    head = struct.pack(f"<HB{features.ndim}I", len(named), features.ndim | kind, *features.shape)
    return b"".join([head, named, marks, values])


def unpack_features(data: bytes | memoryview) -> tuple[tuple[int, ...], Tensor]:
    """Numbers, and float16 [n, ...]."""
    head, start = _features_head(data)
    if head.grouped:
        whole = np.asarray(read_groups(data, start, head.shape))
        return head.numbers, torch.from_numpy(whole).half()
    body = bytearray(memoryview(data)[start + head.marks :])  # a copy, because bytes cannot be written to
    values = torch.frombuffer(body, dtype=torch.float16) if body else torch.zeros(0, dtype=torch.float16)
    if head.marks:
        values = torch.from_numpy(_spread(data, head, start, values.numpy()))
    return head.numbers, values.reshape(head.shape)


def read_features(data: memoryview) -> tuple[tuple[int, ...], np.ndarray | GroupedRows]:
    """As `unpack_features`, but float32 by numpy, or as they lie in groups, for who needs no tensor; `data` can be written
    to."""
    head, start = _features_head(data)
    if head.grouped:
        return head.numbers, read_groups(data, start, head.shape)
    first = start + head.marks
    if first == len(data):
        return head.numbers, np.zeros(head.shape, np.float32)
    # torch widens 25 rows of 384 in a third of the time that numpy takes
    values: np.ndarray = torch.frombuffer(data, dtype=torch.float16, offset=first).float().numpy()
    if head.marks:
        values = _spread(data, head, start, values)
    return head.numbers, values.reshape(head.shape)


class _Head(NamedTuple):
    """What stands before the values; `marks` are the bytes that say which are not zero, `grouped` that they lie in groups."""

    numbers: tuple[int, ...]
    shape: tuple[int, ...]
    size: int
    marks: int
    grouped: bool


def _features_head(data: bytes | memoryview) -> tuple[_Head, int]:
    """The head of packed features, and where it ends."""
    length, axes = _AXES.unpack_from(data)
    end = _AXES.size + 4 * (axes & ~_KINDS) + length
    return _head(bytes(data[:end])), end


@lru_cache(1024)
def _head(told: bytes) -> _Head:
    """Many tasks have the same."""
    length, axes = _AXES.unpack_from(told)
    shape = struct.unpack_from(f"<{axes & ~_KINDS}I", told, _AXES.size)
    size = math.prod(shape)
    numbers = text_to_numbers(told[len(told) - length :].decode())
    return _Head(numbers, shape, size, (size + 7) // 8 if axes & _SPARSE else 0, bool(axes & _GROUPED))


def _spread(data: bytes | memoryview, head: _Head, start: int, values: np.ndarray) -> np.ndarray:
    """All values [size], of those that are not zero."""
    marks = np.unpackbits(np.frombuffer(data, np.uint8, head.marks, start), count=head.size)
    whole = np.zeros(head.size, values.dtype)
    whole[marks.view(np.bool_).nonzero()[0]] = values  # by places it takes half of the time that a mask takes
    return whole
