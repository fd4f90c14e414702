"""Does a loss leave traces? Then the order of tasks matters, and nothing may run it twice or aside."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

LossOf = Callable[[Any], Tensor]
_FREE: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def order_is_free(module: nn.Module, loss: LossOf, task: Any) -> bool:
    """Look once whether a loss leaves traces: then the order of tasks would matter, and threads have none."""
    if module not in _FREE:
        with untouched(module) as touched, torch.no_grad():
            loss(task)
            _FREE[module] = not touched()
    return _FREE[module]


def check_order_is_free(module: nn.Module, loss: LossOf, task: Any) -> None:
    """
    Raises:
        RuntimeError: the loss changes buffers or draws random numbers.
    """
    if not order_is_free(module, loss, task):
        raise RuntimeError(
            "its loss changes buffers (running statistics) or draws random numbers (dropout), so the order would matter"
        )


@contextmanager
def untouched(module: nn.Module) -> Iterator[Callable[[], bool]]:
    """Puts buffers, gradients and torch's generator back; yields a function that says if buffers or it have moved."""
    buffers = list(module.buffers())
    kept, versions = [b.clone() for b in buffers], [b._version for b in buffers]
    slopes = [(p, p.grad) for p in module.parameters()]
    for p, _ in slopes:
        p.grad = None
    state = torch.get_rng_state()
    try:
        yield (
            lambda: versions != [b._version for b in buffers] or not torch.equal(state, torch.get_rng_state())
        )
    finally:
        with torch.no_grad():
            for mine, old in zip(buffers, kept, strict=True):
                mine.copy_(old)
        torch.set_rng_state(state)
        for p, slope in slopes:
            p.grad = slope
