"""Activation checkpointing of inner steps: what a step's backward pass needs is computed again instead of kept.

Chen et al. (2016), "Training Deep Nets with Sublinear Memory Cost", with an inner step as the segment: memory is that
of one step and of the moving tensors of all, for the time of each step's forward pass again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch.utils.checkpoint import checkpoint

T = TypeVar("T")
_ON: ContextVar[bool] = ContextVar("recomputing", default=False)


@contextmanager
def recomputing(on: bool = True) -> Iterator[None]:
    """Inside, inner steps are computed again in the backward pass.

    >>> with recomputing():
    ...     recomputes()
    True
    """
    token = _ON.set(on)
    try:
        yield
    finally:
        _ON.reset(token)


def recomputes() -> bool:
    """Is this code inside `recomputing`?"""
    return _ON.get()


def kept_or_again(step: Callable[[], T], second: bool) -> T:
    """`step()`; inside `recomputing`, where it will be differentiated again, nothing that it makes inside is kept.

    Raises:
        RuntimeError: inside transforms of torch.func, which keep what they make.
    """
    if not (second and _ON.get()):
        return step()
    if torch._C._functorch.peek_interpreter_stack() is not None:  # no public name says so
        raise RuntimeError("vmap keeps all activations; inner steps cannot be computed again in it")
    made: T = checkpoint(step, use_reentrant=False, preserve_rng_state=True)
    return made
