"""What a source of tasks is, cheaply, as JSON: so that a run is not resumed on other data by mistake."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from kshot.data import Pool, Streamed
from kshot.encoders.encoder import tensor_bytes

_ROWS = 16
"""Examples of a pool that are looked at."""


def identity(value: Any) -> Any:
    """Kind and settings of a source, sampler or transform; equal ones give equal JSON.

    Of a pool it looks at the classes, their sizes and a few examples, so it costs next to nothing. A source
    of your own that is no dataclass may define `identity()`, a JSON object; otherwise its type stands for it.

    >>> from kshot.tasks import NWayKShot
    >>> identity(NWayKShot(5, 1, 15))
    {'kind': 'NWayKShot', 'ways': 5, 'shots': 1, 'queries': 15}
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value
    own = getattr(value, "identity", None)
    if callable(own) and not isinstance(value, type):
        return own()
    if isinstance(value, Pool):
        return _pool(value)
    if isinstance(value, Streamed):
        return identity(value.source)  # workers change nothing about the tasks
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, Mapping):
        return {str(key): identity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [identity(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": _kind(value)} | {f.name: identity(getattr(value, f.name)) for f in fields(value)}
    return _kind(value)


def _kind(value: Any) -> str:
    """A name without a memory address."""
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    return str(name)


def _pool(pool: Pool) -> dict[str, Any]:
    classes = json.dumps([[str(label), size] for label, size in zip(pool.classes, pool.sizes, strict=True)])
    known = {
        "kind": "Pool",
        "examples": len(pool),
        "classes": len(pool.classes),
        "labels": hashlib.sha256(classes.encode()).hexdigest()[:16],
    }
    # examples that lie in files are not opened: their number and labels must do
    return {**known, "inputs": _tensor(pool.inputs)} if pool.in_memory else known


def _tensor(value: Tensor) -> str:
    """Type, shape, and a hash of a few rows."""
    digest = hashlib.sha256()
    if value.ndim:
        rows = torch.linspace(0, max(len(value) - 1, 0), min(_ROWS, len(value))).long()
        value_rows = value[rows.to(value.device)]
    else:
        value_rows = value
    digest.update(tensor_bytes(value_rows))
    return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)} {digest.hexdigest()[:16]}"
