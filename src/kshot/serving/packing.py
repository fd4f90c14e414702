"""Examples and features of a model as compact bytes."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kshot import storage


class Block(NamedTuple):
    """Examples that came together.

    Attributes:
        numbers: their numbers in the model, rising; labels: as JSON values.
        inputs: as the encoder read them: JSON values or tensors.
        features: float16 [n, ...]; None: not kept.
        solved: what adapting to these and all earlier examples computed, as far as it is worth keeping beside
            features: small float32 tensors by name; None: nothing.
    """

    numbers: tuple[int, ...]
    labels: list[Any]
    inputs: list[Any]
    features: Tensor | None = None
    solved: Mapping[str, Tensor] | None = None

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
    """float16 [n, ...] of the examples with these numbers: those, the shape, then the values."""
    named = numbers_to_text(numbers).encode()
    head = struct.pack(f"<HB{features.ndim}I", len(named), features.ndim, *features.shape)
    return head + named + features.contiguous().numpy().tobytes()


def unpack_features(data: bytes) -> tuple[tuple[int, ...], Tensor]:
    """Numbers, and float16 [n, ...]."""
    length, axes = struct.unpack_from("<HB", data)
    shape = struct.unpack_from(f"<{axes}I", data, 3)
    start = 3 + 4 * axes
    numbers = text_to_numbers(data[start : start + length].decode())
    body = bytearray(memoryview(data)[start + length :])  # a copy, because bytes cannot be written to
    if not body:
        return numbers, torch.zeros(shape, dtype=torch.float16)
    return numbers, torch.frombuffer(body, dtype=torch.float16).reshape(shape)


def pack_solved(solved: Mapping[str, Tensor]) -> bytes:
    """Small float32 tensors by name: names and shapes, then the values.

    >>> back = unpack_solved(pack_solved({"dual": torch.ones(2, 3), "scale": torch.ones(1)}))
    >>> back["dual"].shape
    torch.Size([2, 3])
    """
    named = json.dumps({name: list(t.shape) for name, t in solved.items()}, separators=(",", ":")).encode()
    parts = [tensor.detach().cpu().contiguous().numpy().tobytes() for tensor in solved.values()]
    return struct.pack("<H", len(named)) + named + b"".join(parts)


def unpack_solved(data: bytes) -> dict[str, Tensor]:
    """The tensors."""
    (length,) = struct.unpack_from("<H", data)
    names, shapes, sizes = _layout(data[2 : 2 + length])
    values = torch.frombuffer(bytearray(memoryview(data)[2 + length :]), dtype=torch.float32)
    parts = zip(shapes, values.split_with_sizes(sizes), strict=True)
    return dict(
        zip(names, [part if len(shape) == 1 else part.view(shape) for shape, part in parts], strict=True)
    )


@lru_cache(256)
def _layout(named: bytes) -> tuple[list[str], list[list[int]], list[int]]:
    """Names, shapes and sizes out of a header; tasks with as many examples and classes share one."""
    shapes: dict[str, list[int]] = json.loads(named)
    return list(shapes), list(shapes.values()), [math.prod(shape) for shape in shapes.values()]
