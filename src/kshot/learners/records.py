"""What of a learner and of a task goes into a file: a manifest and tensors. `kshot.bundles` reads them back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kshot import storage
from kshot.encoders.encoder import Encoder, identifying, tensor_bytes
from kshot.errors import UnsupportedError
from kshot.learners.given import plain

if TYPE_CHECKING:
    from kshot.learners.adapted import Adapted
    from kshot.learners.embedded_examples import EmbeddedExamples
    from kshot.learners.golden import Golden
    from kshot.learners.learner import Learner

Record = tuple[dict[str, Any], dict[str, Tensor]]


def learner_record(learner: Learner, card: Mapping[str, Any] | None = None) -> Record:
    """Manifest and weights of a base; `card` says how it was made."""
    encoder = learner.encoder
    manifest = {
        "what": "learner",
        "learner": {"kind": learner.kind, "config": learner.config()},
        "encoder": {"kind": encoder.kind, "config": encoder.config()},
        "fingerprint": fingerprint(learner),
        "card": dict(card or {}),
    }
    return manifest, {name: t.detach() for name, t in learner.state_dict().items()}


def fingerprint(learner: Learner) -> str:
    """SHA-256 of a base: kind, settings, encoder and every weight. Equal bases answer alike."""
    digest = hashlib.sha256(identifying(learner.kind, type(learner), learner.config()))
    digest.update(learner.encoder.fingerprint().encode())
    for name, tensor in sorted(learner.state_dict().items()):
        # a base that was never calibrated keeps the fingerprint it had before there was such a table
        if not name.startswith("encoder.") and not (name == "self_knowledge" and not tensor.numel()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def task_record(task: Adapted, include_base: bool) -> Record:
    """Manifest and tensors of an adapted task: its examples are the truth, caches stay out."""
    items = list(task.inputs)
    encoder = task.learner.encoder
    manifest: dict[str, Any] = {
        "what": "task",
        "space": task.space.to_json(),
        "ids": list(task.ids),
        "digests": [encoder.digest(item) for item in items],
        "modality": encoder.modality,
        "base": {"name": task.learner.name, "fingerprint": fingerprint(task.learner)},
    }
    tensors = {**_inputs(items, manifest), **_targets(task.targets, manifest)}
    if task.scalars is not None:
        manifest["scalars"] = dict(task.scalars)
    if task.removed is not None:
        manifest["removed"], own = removed_record(task.removed, encoder)
        tensors |= {f"removed/{name}": t for name, t in own.items()}
    if task.golden is not None:
        manifest["golden"], own = golden_record(task.golden, encoder)
        tensors |= {f"golden/{name}": t for name, t in own.items()}
    if include_base:
        base, weights = learner_record(task.learner, task.learner.card)
        manifest["base"]["record"] = base
        tensors |= {f"base/{name}": t for name, t in weights.items()}
    return manifest, tensors


def removed_record(removed: EmbeddedExamples, encoder: Encoder) -> Record:
    """Manifest and tensors of the examples kept aside; embeddings stay out."""
    items = list(removed.inputs)
    manifest: dict[str, Any] = {"ids": list(removed.ids), "digests": [encoder.digest(item) for item in items]}
    return manifest, {**_inputs(items, manifest), **_targets(removed.targets, manifest)}


def golden_record(golden: Golden, encoder: Encoder) -> Record:
    """Manifest and tensors of the examples that must stay right; embeddings stay out."""
    items = list(golden.inputs)
    manifest: dict[str, Any] = {
        "ids": list(golden.ids),
        "digests": [encoder.digest(item) for item in items],
        "tolerance": golden.tolerance,
    }
    return manifest, {**_inputs(items, manifest), **_targets(golden.targets, manifest)}


def _inputs(items: list[Any], manifest: dict[str, Any]) -> dict[str, Tensor]:
    if not all(isinstance(item, Tensor) for item in items):
        manifest["inputs"] = items
        return {}
    alike = len({(item.dtype, tuple(item.shape)) for item in items}) == 1
    manifest["inputs"] = "stacked" if alike else "single"
    if alike:
        return {"inputs": torch.stack(items)}
    return {f"inputs/{place}": item for place, item in enumerate(items)}


def _targets(targets: Any, manifest: dict[str, Any]) -> dict[str, Tensor]:
    manifest["targets"] = [plain(target) for target in targets]
    return {}


def save_task(task: Adapted, path: Path, include_base: bool | None) -> Path:
    """Write an adapted task to `path`, in one step. A base that was tuned for it lies nowhere else, so it goes along; so
    does one without a name where nothing else is asked for."""
    alone = not task.learner.name if include_base is None else include_base
    manifest, tensors = task_record(task, alone or "tuned" in task.learner.card)
    return storage.write(path, manifest, tensors)


def save_learner(learner: Learner, path: str | Path, card: Mapping[str, Any] | None = None) -> Path:
    """Write a base to `path`, in one step."""
    if not learner.kind:
        raise UnsupportedError(f"{type(learner).__name__} has no kind; set one to save it")
    return storage.write(Path(path), *learner_record(learner, card if card is not None else learner.card))
