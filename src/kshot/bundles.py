"""Bytes <-> learners and tasks: the one place that knows both storage and learners."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from kshot import encoders, learners, storage
from kshot.encoders import Encoder
from kshot.errors import BundleError
from kshot.learners import Adapted, Learner
from kshot.learners.embedded_examples import EmbeddedExamples
from kshot.learners.golden import Golden
from kshot.learners.records import fingerprint
from kshot.tasks.spaces import OutputSpace, space_from_json

SUFFIX = ".kshot"

_ENCODERS: dict[str, type[Encoder]] = {
    e.kind: e
    for e in (
        encoders.Conv4,
        encoders.ResNet12,
        encoders.TorchVision,
        encoders.MLP,
        encoders.Identity,
        encoders.Pixels,
        encoders.ScaledRows,
    )
}
_LEARNERS: dict[str, type[Learner]] = {
    k.kind: k
    for k in (
        learners.Adapter,
        learners.ClosedForm,
        learners.ProtoNet,
        learners.GradientLearner,
        learners.Located,
        learners.NeuralProcess,
        learners.Transfer,
    )
}


def register_encoder(kind: type[Encoder]) -> type[Encoder]:
    """Make an encoder of your own known, so that bundles with it load (class decorator)."""
    _ENCODERS[kind.kind] = kind
    return kind


def register_learner(kind: type[Learner]) -> type[Learner]:
    """Make a learner of your own known, so that bundles with it load (class decorator)."""
    _LEARNERS[kind.kind] = kind
    return kind


Opener = Callable[[Path, Learner | None], Any]
"""Of one kind of file: from its path, and the base that the caller gave, to what was saved."""

_OPENERS: dict[str, Opener] = {}


def register_opener(what: str, opener: Opener) -> None:
    """Let `load` open files whose manifest says so: as its "what", or by an entry of this name."""
    _OPENERS[what] = opener


def load(name: str | Path, *, base: Learner | None = None) -> Any:
    """Whatever kshot saved: a base, an adapted task, and what domains save (a bank of answers, a router).

    Args:
        name: "glyphs" or another bundled base, or the path of a .kshot file.
        base: of a saved task or router, where it is not found by itself; see `load_learned`.

    Raises:
        BundleError: no such name or file, a damaged or newer file, or another base.
    """
    path = _find(name)
    manifest = storage.peek(path) or {}
    for what, opener in _OPENERS.items():
        if manifest.get("what") == what or what in manifest:
            return opener(path, base)
    return load_learned(path, base=base)


def load_learned(name: str | Path, *, base: Learner | None = None) -> Learner | Adapted:
    """A base or an adapted task, by the name of a bundled base or by path; of a router its task.

    Args:
        name: "glyphs", or the path of a .kshot file.
        base: the base of a saved task, when it is not bundled, beside the file, inside it, or in the
            folder that the environment variable KSHOT_HOME names.

    Raises:
        BundleError: no such name or file, a damaged or newer file, or another base.
    """
    path = _find(name)
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


def bundled() -> list[str]:
    """Names of the bases that travel with the package."""
    folder = resources.files("kshot") / "bases"
    return sorted(f.name.removesuffix(SUFFIX) for f in folder.iterdir() if f.name.endswith(SUFFIX))


def _find(name: str | Path) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    for folder in _homes():
        candidate = folder / f"{path.name.removesuffix(SUFFIX)}{SUFFIX}"
        if len(path.parts) == 1 and candidate.is_file():
            return candidate
    raise BundleError(
        f"{str(name)!r} is neither a file nor a base by name; bundled bases are {bundled()}: check the path, "
        "or set KSHOT_HOME to the folder that holds it; for texts give an encoder (hash:ngram, path:DIR, hf:OWNER/MODEL) to "
        "kshot adapt or kshot.text.classifier"
    )


def _homes() -> list[Path]:
    home = os.environ.get("KSHOT_HOME")
    return [*([Path(home)] if home else []), Path(str(resources.files("kshot") / "bases"))]


def _learner(manifest: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> Learner:
    encoder = _make(_ENCODERS, manifest["encoder"], "encoder")
    learner = _make(_LEARNERS, manifest["learner"], "learner", encoder)
    learner.seen = torch.zeros_like(tensors["seen"])
    tensors = {"self_knowledge": learner.self_knowledge, **tensors}  # older files have none
    learner.self_knowledge = torch.zeros_like(tensors["self_knowledge"])
    _take_number_types(learner, tensors)
    learner.load_state_dict(dict(tensors))
    learner.card, learner.name = manifest["card"], name
    if fingerprint(learner) != manifest["fingerprint"]:
        raise BundleError(f"{name} does not fit its own fingerprint; it was changed by hand: save it again")
    return cast(Learner, learner.eval())


def _take_number_types(learner: Learner, tensors: Mapping[str, Tensor]) -> None:
    """A base saved in float64 or bfloat16 comes back so; memory layouts stay the module's own."""
    for name, own in [*learner.named_parameters(), *learner.named_buffers()]:
        if name in tensors:
            own.data = own.data.to(tensors[name].dtype)


def _make(table: Mapping[str, Any], spec: Mapping[str, Any], what: str, *first: Any) -> Any:
    if spec["kind"] not in table:
        raise BundleError(
            f"{what} {spec['kind']!r} is not known; known are {sorted(table)}: import the package that brings it "
            f"and register it with kshot.bundles.register_{what}"
        )
    return table[spec["kind"]](*first, **spec["config"])


def make_encoder(spec: Mapping[str, Any]) -> Encoder:
    """The encoder of a {"kind", "config"} in a saved file, with fresh weights where it has any of its own."""
    return cast(Encoder, _make(_ENCODERS, spec, "encoder"))


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


@dataclass(frozen=True)
class SavedExamples:
    """What a saved task knows, without its base.

    Attributes:
        path: its file. inputs, targets: its examples, inputs in raw form. digests: their content hashes.
        space: what an answer is. modality: the kind of input. base: fingerprint of its base.
    """

    path: Path
    inputs: Any
    targets: list[Any]
    digests: list[str]
    space: OutputSpace
    modality: str
    base: str


def saved_examples(path: Path) -> SavedExamples | None:
    """The examples of a saved task, read without its base; None for a file that holds a base.

    Raises:
        BundleError: a damaged file, or none of kshot's.
    """
    manifest, tensors = storage.read(path)
    if manifest.get("what") != "task":
        return None
    try:
        items = _items(manifest, tensors)
        found = SavedExamples(
            path,
            torch.stack(items) if manifest["inputs"] == "stacked" else items,
            list(manifest["targets"]),
            list(manifest["digests"]),
            space_from_json(manifest["space"]),
            manifest["modality"],
            manifest["base"]["fingerprint"],
        )
    except (LookupError, TypeError, ValueError) as cause:
        raise BundleError(f"{path} is no saved task that makes sense ({cause}); save it again") from cause
    if not len(items) == len(found.targets) == len(found.digests):
        raise BundleError(
            f"{path}: {len(items)} inputs with {len(found.targets)} targets; save the task again"
        )
    return found


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
    items = _items(manifest, tensors)
    digests = [encoder.digest(item) for item in items]
    if digests != manifest["digests"]:
        raise BundleError(f"{path}: an example does not fit its content hash; the file was changed by hand")
    return torch.stack(items) if manifest["inputs"] == "stacked" else items


def _items(manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[Any]:
    if manifest["inputs"] == "stacked":
        return list(tensors["inputs"])
    if manifest["inputs"] == "single":
        return [tensors[f"inputs/{place}"] for place in range(len(manifest["ids"]))]
    return list(manifest["inputs"])


def _base(base: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> Learner:
    if "record" in base:
        own = {name.removeprefix("base/"): t for name, t in tensors.items() if name.startswith("base/")}
        return _learner(base["record"], own, base["name"])
    for candidate in _candidates(base["name"], path):
        # other files of the folder are only peeked at: one damaged neighbour must not stand in the way
        seen = storage.peek(candidate) or {}
        if seen.get("what") == "learner" and seen.get("fingerprint") == base["fingerprint"]:
            manifest, found = storage.read(candidate)
            return _learner(manifest, found, candidate.stem)
    raise BundleError(
        f"the base {base['name'] or 'of this task'!r} ({base['fingerprint'][:12]}) of {path} was not found beside it, "
        "in KSHOT_HOME, or bundled; give it: kshot.load(path, base=...)"
    )


def _candidates(name: str, path: Path) -> list[Path]:
    folders = [path.parent, *_homes()]
    files = [
        f for folder in folders if folder.is_dir() for f in sorted(folder.glob(f"*{SUFFIX}")) if f != path
    ]
    return sorted(files, key=lambda f: f.stem != name)


for _domain in metadata.entry_points(group="kshot.domains"):
    # so that what a domain registers is known to whoever opens a file, whatever was imported before
    _domain.load()
