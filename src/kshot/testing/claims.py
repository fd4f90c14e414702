"""How a conformance check speaks: an AssertionError with a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as tree

from kshot.errors import KshotError, UserError


def claim(holds: bool, sentence: str) -> None:
    """Raise an AssertionError that says `sentence` unless it holds."""
    if not holds:
        raise AssertionError(sentence)


def refuses(call: Callable[[], Any], value: str, what: str, kind: type[KshotError] = UserError) -> None:
    """`call` must raise a `kind` whose message names `value`."""
    try:
        call()
    except kind as error:
        claim(value in str(error), f"{what}: the error must name the value {value!r}, but says: {error}")
        return
    except Exception as error:
        message = f"{what}: {type(error).__name__} was raised where a {kind.__name__} is due: {error}"
        raise AssertionError(message) from error
    raise AssertionError(f"{what}: nothing was raised where a {kind.__name__} is due")


def near(first: Any, second: Any, tolerance: float) -> bool:
    """Are two JSON values equal, numbers up to `tolerance` (absolute, and relative above 1)?"""
    if isinstance(first, float) and isinstance(second, float):
        if math.isnan(first) or math.isnan(second):
            return math.isnan(first) and math.isnan(second)
        return abs(first - second) <= tolerance * max(1.0, abs(first), abs(second))
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(near(first[k], second[k], tolerance) for k in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(
            near(a, b, tolerance) for a, b in zip(first, second, strict=True)
        )
    return bool(first == second)


def same(first: Any, second: Any) -> bool:
    """Are two trees of tensors and values equal to the last bit?"""
    ours, theirs = tree.tree_leaves(first), tree.tree_leaves(second)
    return len(ours) == len(theirs) and all(_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return bool(a == b) if not isinstance(a, Tensor | Sequence) or isinstance(a, str) else list(a) == list(b)
