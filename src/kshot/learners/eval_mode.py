"""A network held in eval mode while it is asked, also by several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_LOCK = threading.Lock()
_HELD: dict[nn.Module, list[int]] = {}
"""Parts held in eval mode: how many calls hold each, and whether it was training before the first."""


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Run in eval mode and put the mode of every part back, also when several threads do so at once."""
    parts = list(module.modules())
    with _LOCK:
        if not any(part.training or part in _HELD for part in parts):
            parts = []  # as a served base always is: there is nothing to put back
        for part in parts:
            _HELD.setdefault(part, [0, part.training])[0] += 1
            part.training = False
    try:
        yield
    finally:
        with _LOCK:
            for part in parts:
                held = _HELD[part]
                held[0] -= 1
                if not held[0]:
                    part.training = bool(_HELD.pop(part)[1])
