"""What adapting computed, as bytes: a tree of tensors in one safetensors file. Nothing in it is ever executed."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from kshot import storage
from kshot.learners import ClosedForm, Learner


class _Cannot(Exception):
    """A state holds something else than tensors and plain values."""


def worth_keeping(learner: Learner) -> bool:
    """Does solving take longer than reading what was solved? Closed-form heads are solved faster."""
    return not isinstance(learner, ClosedForm)


def pack_state(learner: Learner, state: Any) -> bytes | None:
    """The bytes of a state; None where it holds other things than tensors, numbers and strings.

    >>> import torch, kshot
    >>> learner = kshot.learners.ProtoNet(kshot.encoders.identity(2))
    >>> packed = pack_state(learner, {"mean": torch.ones(2), "steps": [1, None]})
    >>> unpack_state(learner, packed)
    {'mean': tensor([1., 1.]), 'steps': [1, None]}
    """
    tensors: dict[str, Tensor] = {}
    try:
        tree = _flat(learner, state, tensors)
    except _Cannot:
        return None
    return storage.pack({"what": "state", "tree": tree}, tensors)


def unpack_state(learner: Learner, data: bytes) -> Any:
    """The state, on the learner's device."""
    manifest, tensors = storage.unpack(data, "a stored state")
    device = next((p.device for p in learner.parameters()), torch.device("cpu"))
    return _grown(learner, manifest["tree"], {name: t.to(device) for name, t in tensors.items()})


def size_of(tree: Any) -> int:
    """Bytes of all tensors of a tree."""
    if isinstance(tree, Tensor):
        return tree.numel() * tree.element_size()
    if isinstance(tree, dict):
        return sum(map(size_of, tree.values()))
    return sum(map(size_of, tree)) if isinstance(tree, list | tuple) else 0


def _flat(learner: Learner, value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _flat(learner, item, tensors) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        kind = type(value)
        named = kind not in (list, tuple)
        if named and _named(learner, kind.__name__) is not kind:
            raise _Cannot
        items = [_flat(learner, item, tensors) for item in value]
        return {kind.__name__ if not named else "named": items, **({"of": kind.__name__} if named else {})}
    raise _Cannot


def _grown(learner: Learner, tree: Any, tensors: dict[str, Tensor]) -> Any:
    if "tensor" in tree:
        return tensors[tree["tensor"]]
    if "value" in tree:
        return tree["value"]
    if "dict" in tree:
        return {key: _grown(learner, item, tensors) for key, item in tree["dict"].items()}
    kind = next(name for name in ("list", "tuple", "named") if name in tree)
    items = [_grown(learner, item, tensors) for item in tree[kind]]
    if kind == "list":
        return items
    return tuple(items) if kind == "tuple" else _named(learner, tree["of"])(*items)


def _named(learner: Learner, name: str) -> Any:
    """A named tuple beside the learner's class or one it is made from; such modules are imported already."""
    for owner in type(learner).__mro__:
        found = getattr(sys.modules.get(owner.__module__), name, None)
        if isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields"):
            return found
    raise _Cannot
