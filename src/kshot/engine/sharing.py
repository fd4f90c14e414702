"""Work shared by threads that each have a single one of torch's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")
_DEVICES = ("cpu", "cuda")


def in_threads(work: Callable[[Part], Result], parts: Iterable[Part], count: int) -> list[Result]:
    """`work` of every part in `count` threads, with the settings of this one; results in the order of parts."""
    # torch keeps number types for each thread apart
    casts = [
        (device, torch.get_autocast_dtype(device)) for device in _DEVICES if torch.is_autocast_enabled(device)
    ]

    def one(part: Part) -> Result:
        torch.set_num_threads(1)  # each thread has a number of its own
        with ExitStack() as stack:
            for device, kind in casts:
                stack.enter_context(torch.autocast(device, kind))
            return work(part)

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count) as pool:
            waiting = [pool.submit(copy_context().run, one, part) for part in parts]
            return [one.result() for one in waiting]
    finally:
        torch.set_num_threads(before)
