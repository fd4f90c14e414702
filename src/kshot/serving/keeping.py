"""What of a task is worth keeping, and embeddings as they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.learners import Adapted, Learner
from kshot.learners.given import like
from kshot.serving.sheets import Kept
from kshot.serving.states import pack_state, worth_keeping
from kshot.tasks import Examples

Embedded = Any
"""A tensor [n, ...], or a list of n items of unequal length."""

_SMALL = 2048
"""Bytes of what adapting computed up to which it is kept, however few features there are."""


def keeps(learner: Learner, embedded: Embedded) -> bool:
    """Are these features that float16 can hold? Learners that move the encoder have none."""
    return (
        not learner.inner_gradient
        and isinstance(embedded, Tensor)
        and embedded.ndim >= 2
        and embedded.dtype == torch.float32
        and bool((embedded.abs() < 6e4).all())
    )


def rounded(learner: Learner, embedded: Embedded) -> Embedded:
    """Embeddings as the cache gives them back, so that a task is the same before and after a restart."""
    return embedded.half().float() if keeps(learner, embedded) else embedded


def joined(first: Embedded, second: Embedded) -> Embedded:
    """Embeddings of some examples, then of others."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second])
    return [*first, *second]


def taken(embedded: Embedded, places: Sequence[int]) -> Embedded:
    """Embeddings at these places."""
    return embedded[list(places)] if isinstance(embedded, Tensor) else [embedded[p] for p in places]


def kept_state(task: Adapted) -> bytes | None:
    """A task's state to be kept; None where solving is as fast."""
    return pack_state(task.learner, task.state) if worth_keeping(task.learner) else None


def kept_of(task: Adapted) -> Kept | None:
    """What of a task is kept beside its features; None: they are not kept, or there is a state of its own instead."""
    learner, embedded = task.learner, task.embedded
    if worth_keeping(learner) or not keeps(learner, embedded):
        return None
    with torch.no_grad():
        solved = learner.kept(task.state, Examples(embedded, like(embedded, task.space.encode(task.targets))))
    small = sum(array.nbytes for array in solved.values()) <= max(embedded.numel() * 2 // 8, _SMALL)
    fits = all(array.dtype == np.float32 for array in solved.values())
    gauge = task.gauge
    return Kept(solved if small and fits else {}, None if gauge is None else gauge.numbers)
