"""The contract of a store of manifests and tensors: whole or not there, and no byte goes unnoticed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kshot import storage
from kshot.testing.claims import claim, refuses, same

Write = Callable[[Path, Mapping[str, Any], Mapping[str, Tensor]], Any]
Read = Callable[[Path], tuple[dict[str, Any], dict[str, Tensor]]]


def check_store(folder: Path, write: Write = storage.write, read: Read = storage.read) -> None:
    """Write, read, flip every byte, cut at many lengths.

    Args:
        folder: an empty folder to work in.
        write, read: the store; kshot's own by default.

    Raises:
        AssertionError: a rule is broken; the sentence says which.
    """
    path = folder / "value.kshot"
    manifest, tensors = _value()
    write(path, manifest, tensors)
    left = sorted(file.name for file in folder.iterdir())
    claim(left == [path.name], f"writing one file left {left}")
    told, found = read(path)
    claim(
        {key: told.get(key) for key in manifest} == manifest, f"the manifest {manifest} came back as {told}"
    )
    claim(found.keys() == tensors.keys(), f"tensors {sorted(tensors)} came back as {sorted(found)}")
    for name, tensor in tensors.items():
        claim(
            same(tensor.contiguous(), found[name]),
            f"tensor {name!r} came back with other bits, shape or type",
        )
    blob = path.read_bytes()
    claim(_smaller_than_storage(blob), f"{len(blob)} bytes: a view was written with all of its storage")
    for place in range(len(blob)):
        damaged = bytearray(blob)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(bytes(damaged))
        refuses(lambda: read(path), path.name, f"one bit flipped at byte {place} of {len(blob)}")
    for length in (*range(0, len(blob), 13), len(blob) - 1):
        path.write_bytes(blob[:length])
        refuses(lambda: read(path), path.name, f"cut to {length} of {len(blob)} bytes")
    path.write_bytes(blob + b"\0")
    refuses(lambda: read(path), path.name, "one byte too many")
    path.unlink()
    refuses(lambda: read(path), path.name, "a file that does not exist")


def _value() -> tuple[dict[str, Any], dict[str, Tensor]]:
    wide = torch.arange(4096, dtype=torch.float32)
    return {"what": "check", "name": "größe 大", "list": [1, 2.5, None, True]}, {
        "view": wide[3:7],
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "double": torch.tensor([1 / 3], dtype=torch.float64),
        "whole": torch.tensor([[-1, 2**40]]),
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(float("-inf")),
    }


def _smaller_than_storage(blob: bytes) -> bool:
    return len(blob) < 4096 * 4
