"""The kinds of encoders, learners and files that are known: ours, and what domains and users register."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from kshot import encoders, learners
from kshot.encoders import Encoder
from kshot.errors import BundleError
from kshot.learners import Learner

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


def make_learner(spec: Mapping[str, Any], encoder: Encoder) -> Learner:
    """The learner of a {"kind", "config"} in a saved file, on an encoder, with fresh numbers of its own."""
    return cast(Learner, _make(_LEARNERS, spec, "learner", encoder))


def opener_of(manifest: Mapping[str, Any]) -> Opener | None:
    """Who opens a file with this manifest; None: it holds a base or a task."""
    found = (opener for what, opener in _OPENERS.items() if manifest.get("what") == what or what in manifest)
    return next(found, None)
