"""Checkpoints: everything a run needs to go on as if it had never stopped, in one atomic file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kshot import storage
from kshot.errors import CheckpointError

NAME = "checkpoint.kshot"


def save(
    folder: Path,
    progress: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, torch.Generator],
) -> None:
    """Write modules, optimizer and generators with `progress` (JSON)."""
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{key}": torch.as_tensor(value) for key, value in state.items()}
    for name, rng in generators.items():
        tensors[f"generator/{name}"] = rng.get_state()
    storage.write(folder / NAME, {"what": "checkpoint", "progress": dict(progress)}, tensors)


def load(folder: Path, configuration: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Progress and tensors of the checkpoint in `folder`; None where there is none.

    Raises:
        CheckpointError: it was made with another configuration.
    """
    path = folder / NAME
    if not path.exists():
        return None
    manifest, tensors = storage.read(path)
    progress = manifest["progress"]
    known = json.loads(json.dumps(configuration))
    if progress["configuration"] != known:
        changed = _differences(progress["configuration"], known)
        raise CheckpointError(
            f"{folder} holds a run with other settings ({changed}); use the same settings to resume it, "
            "or another folder to start anew"
        )
    return progress, tensors


def restore(
    tensors: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, torch.Generator],
) -> None:
    """Put the tensors of a checkpoint back in place."""
    for name, module in modules.items():
        own = {k.removeprefix(f"{name}/"): t for k, t in tensors.items() if k.startswith(f"{name}/")}
        _resize_seen(module, own)
        module.load_state_dict(own)
    state = optimizer.state_dict()
    state["state"] = _optimizer_state(tensors)
    optimizer.load_state_dict(state)
    for name, rng in generators.items():
        rng.set_state(tensors[f"generator/{name}"])


def _resize_seen(module: nn.Module, own: Mapping[str, Tensor]) -> None:
    """The input profile has no shape before training; take the saved one's."""
    if "seen" in own:
        module.seen = torch.zeros_like(own["seen"])


def _optimizer_state(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    out: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, number, name = key.split("/", 2)
            out.setdefault(int(number), {})[name] = value
    return out


def _differences(old: Any, new: Any, path: str = "") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        parts = [
            _differences(old.get(k), new.get(k), f"{path}.{k}".strip("."))
            for k in sorted({*old, *new})
            if old.get(k) != new.get(k)
        ]
        return "; ".join(parts[:5])
    return f"{path} is {old!r} there, {new!r} here"
