"""Bases and tasks out of their files, each held against its own hashes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kshot import storage
from kshot.bundles.examples import items_of
from kshot.bundles.known import make_encoder, make_learner, opener_of
from kshot.bundles.places import candidates, find
from kshot.encoders import Encoder
from kshot.errors import BundleError
from kshot.learners import Adapted, Learner
from kshot.learners.embedded_examples import EmbeddedExamples
from kshot.learners.golden import Golden
from kshot.learners.records import fingerprint
from kshot.tasks.spaces import space_from_json


def load(name: str | Path, *, base: Learner | None = None) -> Any:
    """Whatever kshot saved: a base, an adapted task, and what domains save (a bank of answers, a router).

    Args:
        name: "glyphs" or another bundled base, or the path of a .kshot file.
        base: of a saved task or router, where it is not found by itself; see `load_learned`.

    Raises:
        BundleError: no such name or file, a damaged or newer file, or another base.
    """
    path = find(name)
    manifest = storage.peek(path) or {}
    opener = opener_of(manifest)
    return load_learned(path, base=base) if opener is None else opener(path, base)


def load_learned(name: str | Path, *, base: Learner | None = None) -> Learner | Adapted:
    """A base or an adapted task, by the name of a bundled base or by path; of a router its task.

    Args:
        name: "glyphs", or the path of a .kshot file.
        base: the base of a saved task, when it is not bundled, beside the file, inside it, or in the
            folder that the environment variable KSHOT_HOME names.

    Raises:
        BundleError: no such name or file, a damaged or newer file, or another base.
    """
    path = find(name)
    manifest, tensors = storage.read(path)
    try:
        if manifest["what"] == "learner":
            return _learner(manifest, tensors, path.stem)
        if manifest["what"] == "task":
            return _task(manifest, tensors, path, base)
        raise BundleError(f"{path} holds a {manifest['what']!r}; here a base or a task is needed")
    except BundleError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as cause:
        # the checksum fits, so somebody wrote this file with a program of their own
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise BundleError(
            f"{path} is no kshot bundle that makes sense ({type(cause).__name__}: {reason}); it was changed by hand: "
            "save it again"
        ) from cause


def _learner(manifest: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> Learner:
    encoder = make_encoder(manifest["encoder"])
    learner = make_learner(manifest["learner"], encoder)
    learner.seen = torch.zeros_like(tensors["seen"])
    tensors = {"self_knowledge": learner.self_knowledge, **tensors}  # older files have none
    learner.self_knowledge = torch.zeros_like(tensors["self_knowledge"])
    _take_number_types(learner, tensors)
    learner.load_state_dict(dict(tensors))
    learner.card, learner.name = manifest["card"], name
    if fingerprint(learner) != manifest["fingerprint"]:
        raise BundleError(f"{name} does not fit its own fingerprint; it was changed by hand: save it again")
    return learner.eval()


def _take_number_types(learner: Learner, tensors: Mapping[str, Tensor]) -> None:
    """A base saved in float64 or bfloat16 comes back so; memory layouts stay the module's own."""
    for name, own in [*learner.named_parameters(), *learner.named_buffers()]:
        if name in tensors:
            own.data = own.data.to(tensors[name].dtype)


def _task(
    manifest: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path, base: Learner | None
) -> Adapted:
    learner = base or _base(manifest["base"], tensors, path)
    wanted = manifest["base"]["fingerprint"]
    if fingerprint(learner) != wanted:
        raise BundleError(
            f"{path} belongs to another base ({manifest['base']['name'] or 'unnamed'}, {wanted[:12]}), not to "
            f"{getattr(learner, 'name', '') or 'this one'} ({fingerprint(learner)[:12]}); load it with its own base, "
            "then task.rebase(new_base)"
        )
    read = _read(manifest, tensors, learner.encoder, path)
    space, scalars = space_from_json(manifest["space"]), manifest.get("scalars")
    task = Adapted.start(learner, read, manifest["targets"], space, manifest["ids"], scalars)
    return _with_golden(_with_removed(task, manifest, tensors, path), manifest, tensors, path)


def _with_removed(
    task: Adapted, manifest: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path
) -> Adapted:
    """The task with the examples kept aside; files from before there were such have none."""
    if "removed" not in manifest:
        return task
    held, ids = manifest["removed"], tuple(manifest["removed"]["ids"])
    own = {name.removeprefix("removed/"): t for name, t in tensors.items() if name.startswith("removed/")}
    read = task.learner.encoder.read(_read(held, own, task.learner.encoder, path))
    if len({len(read), len(held["targets"]), len(ids)}) != 1 or set(ids) & set(task.ids):
        raise BundleError(f"{path}: the examples kept aside do not fit; the file was changed by hand")
    return replace(task, removed=EmbeddedExamples(read, held["targets"], ids, task.embed(read)))


def _with_golden(
    task: Adapted, manifest: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path
) -> Adapted:
    """The task with the examples that must stay right; files from before there were such have none."""
    if "golden" not in manifest:
        return task
    held = manifest["golden"]
    own = {name.removeprefix("golden/"): t for name, t in tensors.items() if name.startswith("golden/")}
    read = task.learner.encoder.read(_read(held, own, task.learner.encoder, path))
    targets = tuple(held["targets"])
    golden = Golden(read, targets, tuple(held["ids"]), held["tolerance"], task.embed(read))
    if len({len(read), len(targets), len(golden.ids)}) != 1:
        raise BundleError(
            f"{path}: {len(read)} golden inputs with {len(targets)} answers; the file was changed by hand"
        )
    return replace(task, golden=golden)


def _read(manifest: Mapping[str, Any], tensors: Mapping[str, Tensor], encoder: Encoder, path: Path) -> Any:
    """Inputs in raw form, each as its content hash says."""
    items = items_of(manifest, tensors)
    digests = [encoder.digest(item) for item in items]
    if digests != manifest["digests"]:
        raise BundleError(f"{path}: an example does not fit its content hash; the file was changed by hand")
    return torch.stack(items) if manifest["inputs"] == "stacked" else items


def _base(base: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> Learner:
    if "record" in base:
        own = {name.removeprefix("base/"): t for name, t in tensors.items() if name.startswith("base/")}
        return _learner(base["record"], own, base["name"])
    for candidate in candidates(base["name"], path):
        # other files of the folder are only peeked at: one damaged neighbour must not stand in the way
        seen = storage.peek(candidate) or {}
        if seen.get("what") == "learner" and seen.get("fingerprint") == base["fingerprint"]:
            manifest, found = storage.read(candidate)
            return _learner(manifest, found, candidate.stem)
    raise BundleError(
        f"the base {base['name'] or 'of this task'!r} ({base['fingerprint'][:12]}) of {path} was not found beside it, "
        "in KSHOT_HOME, or bundled; give it: kshot.load(path, base=...)"
    )
