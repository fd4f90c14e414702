"""What users give to learn from: inputs and targets in many forms, and which space the targets are of."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from kshot.errors import DataError
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes, Numbers, OutputSpace


def unpacked(inputs: Any, targets: Any) -> tuple[Any, Any]:
    """Inputs and one target for each; `Learner.unpacked` is the public door."""
    if isinstance(inputs, Examples):
        return inputs.inputs, inputs.targets
    if targets is None:
        raise DataError("no targets were given; adapt(inputs, targets) needs one label per input")
    if isinstance(inputs, str) and isinstance(targets, str):
        return [inputs], [targets]
    by_place = isinstance(targets, str | bytes | Tensor | list | tuple | np.ndarray | np.generic)
    return inputs, targets if by_place else list(targets)


def guessed_space(targets: Any, *, numbers: bool) -> OutputSpace:
    """Numbers for floating-point targets, where `numbers` can be answered, else the classes that occur."""
    if numbers and _real(targets):
        first = targets[0]
        return Numbers(len(first) if hasattr(first, "__len__") and getattr(first, "ndim", 1) > 0 else 1)
    return Classes.of(targets)


def _real(targets: Any) -> bool:
    if isinstance(targets, Tensor):
        return targets.is_floating_point()
    kind = getattr(getattr(targets, "dtype", None), "kind", None)
    if kind is not None:
        return bool(kind == "f")
    if any(isinstance(t, str) for t in targets):
        return False  # labels, of which a data frame's missing ones are NaN
    return any(
        isinstance(t, float) or (isinstance(t, list | tuple) and bool(t) and not isinstance(t[0], str))
        for t in targets
    )
