"""Lives in a file: what was lived and rehearsed, so that practice goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import torch

from kshot import storage
from kshot.control.transitions import Transitions

NAMES = ("inputs", "changes", "parameters")


def write_lives(path: Path, found: dict[str, Transitions]) -> None:
    """Write transitions by what they are, whole or not at all."""
    tensors = {f"{what}.{name}": getattr(rows, name) for what, rows in found.items() for name in NAMES}
    storage.write(path, {"what": "lives"}, tensors)


def read_lives(path: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Inputs, changes and parameters of what was written."""
    tensors = storage.read(path)[1]
    found = {}
    for what in ("lived", "rehearsed"):
        if f"{what}.inputs" in tensors:
            inputs, changes, parameters = (tensors[f"{what}.{name}"] for name in NAMES)
            found[what] = (inputs, changes, parameters)
    return found
