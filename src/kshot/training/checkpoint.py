"""Checkpoints: everything a run needs to go on as if it had never stopped, in one atomic file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kshot import storage
from kshot.errors import BundleError, CheckpointError

NAME = "checkpoint.kshot"
LOG = "log.jsonl"


def save(
    folder: Path,
    progress: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, torch.Generator],
) -> None:
    """Write modules, optimizer and generators with `progress` (JSON).

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; the file before it is as it was.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{key}": torch.as_tensor(value) for key, value in state.items()}
    for name, rng in generators.items():
        tensors[f"generator/{name}"] = rng.get_state()
    try:
        storage.write(folder / NAME, {"what": "checkpoint", "progress": dict(progress)}, tensors)
    except BundleError as cause:
        raise CheckpointError(f"the checkpoint was not saved: {cause}") from cause


def load(folder: Path, configuration: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Progress and tensors of the checkpoint in `folder`; None where there is none.

    Raises:
        CheckpointError: it is damaged, or was made with another configuration.
    """
    storage.remove_leftovers(folder)
    path = folder / NAME
    if not path.exists():
        return None
    try:
        manifest, tensors = storage.read(path)
        progress: dict[str, Any] = manifest["progress"]
        there = progress["configuration"]
    except (BundleError, KeyError, TypeError) as cause:
        raise CheckpointError(
            f"the checkpoint in {folder} cannot be used: {cause}; use another folder to start anew"
        ) from cause
    here = json.loads(json.dumps(configuration))
    if there != here:
        raise CheckpointError(
            f"{folder} holds another run ({differences(there, here)}); use the same settings, learner and data "
            "to resume it, or another folder to start anew"
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
    _restore_optimizer(optimizer, tensors)
    for name, rng in generators.items():
        rng.set_state(tensors[f"generator/{name}"])


def rewrite_log(folder: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Make the log say what the checkpoint knows: a killed run may have logged more, or half a line."""
    path = folder / LOG
    if not history and not path.exists():
        return
    lines = [json.dumps({**entry, "step": int(entry["step"])}) + "\n" for entry in history]
    try:
        storage.replace_file(path, "".join(lines).encode())
    except BundleError as cause:
        raise CheckpointError(str(cause)) from cause


def differences(there: Any, here: Any, path: str = "") -> str:
    """What two JSON values do not agree on, in words.

    >>> differences({"settings": {"steps": 5}}, {"settings": {"steps": 6}})
    'settings.steps is 5 there, 6 here'
    """
    if isinstance(there, dict) and isinstance(here, dict):
        parts = [
            differences(there.get(k), here.get(k), f"{path}.{k}".strip("."))
            for k in dict.fromkeys([*there, *here])
            if there.get(k) != here.get(k)
        ]
        return "; ".join(parts[:5])
    return f"{path} is {there!r} there, {here!r} here"


def _resize_seen(module: nn.Module, own: Mapping[str, Tensor]) -> None:
    """The input profile has no shape before training; take the saved one's."""
    if "seen" in own:
        module.seen = torch.zeros_like(own["seen"])


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    found: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, number, name = key.split("/", 2)
            found.setdefault(int(number), {})[name] = _laid_out_like(value, parameters[int(number)])
    state = optimizer.state_dict()
    state["state"] = found
    optimizer.load_state_dict(state)


def _laid_out_like(value: Tensor, parameter: Tensor) -> Tensor:
    """In the parameter's memory order: another order may round differently, and the run would not be the same."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)
