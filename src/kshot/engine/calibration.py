"""Which executor is fastest for a model, its tasks and this machine: measured, never assumed.

No single one wins: on a CPU channels_last is 1.7 times as fast or slower, vmap many times as fast for small
networks and half as fast for convolutions, depending on shapes, steps and threads.
"""

from __future__ import annotations

import copy
import hashlib
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree

from kshot.engine.executors import FallbackWarning, accumulate
from kshot.engine.layouts import has_images
from kshot.engine.recompute import recomputes
from kshot.engine.side_effects import LossOf, order_is_free, untouched
from kshot.engine.stacking import alike

ROUNDS = 3
"""Interleaved measurements of each candidate, after one to warm up; their median counts."""
BUDGET = 2.0
"""Seconds that a round may take: fewer tasks are measured where they are slow."""
MARGIN = 1.05
"""So much faster than the plain loop must another be to be chosen."""
MANY = 1000
"""Updates that earn back the seconds in which a list of operations is written and checked: for 25 sinusoids it takes 3 s,
and an update 1.2 ms in place of 3.8."""
TOLERANCE = 1e-8
"""Of a meta-gradient in float64, relative to the loop's."""

_KNOWN: dict[str, Choice] = {}


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        executor: its name. reason: a sentence for people.
        seconds: a task, by executor that was measured; empty where there was nothing to choose.
    """

    executor: str
    reason: str
    seconds: dict[str, float]


def choose(
    module: nn.Module,
    loss_of: Callable[[Any], LossOf],
    tasks: Sequence[Any],
    *,
    key: str = "",
    updates: int | None = None,
) -> Choice:
    """The fastest executor for `tasks` that gives the plain loop's meta-gradient.

    Every candidate must agree with the loop in float64 on two tasks, to 1e-8; then a few interleaved rounds are
    timed. Parameters, buffers, gradients and random states stay as they are. The answer is kept for the life of
    the process, so that equal runs in it are equal to the bit.

    Args:
        loss_of: a module (this one, or a copy in float64) to its loss of one task.
        key: what else decides the time, for example the settings of the inner loop.
        updates: how many will follow; to write a list of operations takes seconds, which few do not earn back.

    >>> layer = nn.Linear(1, 1)
    >>> choose(layer, lambda own: lambda x: own(x).sum(), [torch.ones(2, 1)]).executor
    'loop'
    """
    names = _candidates(module, tasks)
    if updates is not None and updates < MANY:
        names = [name for name in names if name != "graph"]
    if not order_is_free(module, loss_of(module), tasks[0]):  # running statistics, dropout
        names = [name for name in names if name.startswith("loop")]
    if len(names) == 1:
        return Choice(
            names[0], "nothing to choose from: only the loop runs such tasks, and there are no images", {}
        )
    place = _place(module, tasks, f"{key} {'graph' in names}")
    if place not in _KNOWN:
        _KNOWN[place] = _measured(module, loss_of, tasks, names)
    return _KNOWN[place]


def _candidates(module: nn.Module, tasks: Sequence[Any]) -> list[str]:
    """The first is the one to keep where nothing is clearly faster."""
    layouts = [":channels_last", ":channels_first"] if has_images(module, tasks[0]) else [""]
    names = [f"loop{layout}" for layout in layouts]
    if len(tasks) > 1 and torch.get_num_threads() > 1:
        names += [f"threads{layout}" for layout in layouts]
    if len(tasks) > 1 and alike(tasks):
        names.append("vmap")
        # convolutions on a processor wait for arithmetic, and a list of operations saves none
        if layouts == [""] or _device(module).type == "cuda":
            names.append("graph")
    return names


def _measured(
    module: nn.Module, loss_of: Callable[[Any], LossOf], tasks: Sequence[Any], names: list[str]
) -> Choice:
    refused = {name: why for name in names[1:] if (why := _refusal(module, loss_of, tasks[:2], name))}
    own = copy.deepcopy(module)
    loss = loss_of(own)
    # a first call takes far longer, and is no measure of how many tasks to try
    _timed(own, loss, tasks[:1], names[0])
    single = _timed(own, loss, tasks[:1], names[0])
    some = tasks[: max(2, min(len(tasks), int(BUDGET / max(single, 1e-9))))]
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS + 1):
        for name in [n for n in names if n not in refused]:
            try:
                times[name].append(_timed(own, loss, some, name) / len(some))
            except FallbackWarning as why:  # in float64 it could; in this precision it cannot
                refused[name] = str(why)
    seconds = {n: statistics.median(found[1:]) for n, found in times.items() if n not in refused}
    best = min(seconds, key=lambda name: seconds[name])
    chosen = best if seconds[names[0]] > MARGIN * seconds[best] else names[0]
    return Choice(chosen, _reason(chosen, seconds, refused), seconds)


def _refusal(module: nn.Module, loss_of: Callable[[Any], LossOf], tasks: Sequence[Any], name: str) -> str:
    """Why a candidate cannot be used; empty where it gives the plain loop's meta-gradient in float64."""
    exact = copy.deepcopy(module).double()
    tasks = [tree.tree_map(_doubled, task) for task in tasks]
    with _strict(), torch.autocast(_device(module).type, enabled=False):
        try:
            expected = _slopes(exact, loss_of(exact), tasks, "loop")
            found = _slopes(exact, loss_of(exact), tasks, name)
        except FallbackWarning as why:
            return str(why)
        except RuntimeError as why:
            return f"{name} cannot be checked in float64 ({str(why).splitlines()[0]})"
    length = float(expected.norm())
    gap = float((found - expected).norm()) / max(length, 1e-300)
    if gap <= TOLERANCE or not math.isfinite(length):
        return ""
    text = f"{name} differs from the loop by {gap:.1e} in float64 and is not used"
    if order_is_free(
        module, loss_of(module), tasks[0]
    ):  # random draws depend on the layout, and that is no error
        warnings.warn(text, FallbackWarning, stacklevel=2)
    return text


@contextmanager
def _strict() -> Iterator[None]:
    """An executor that falls back is no candidate; that torch runs an operation of it slowly, the clock will show."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield


def _slopes(module: nn.Module, loss: LossOf, tasks: Sequence[Any], name: str) -> Tensor:
    with untouched(module):
        accumulate(module, loss, tasks, executor=name)
        found = [
            (p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in module.parameters()
        ]
    return torch.cat(found)


def _timed(module: nn.Module, loss: LossOf, tasks: Sequence[Any], name: str) -> float:
    device = _device(module)
    with untouched(module), _strict():
        start = _clock(device)
        accumulate(module, loss, tasks, executor=name)
        return _clock(device) - start


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _doubled(leaf: Any) -> Any:
    return leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _reason(chosen: str, seconds: dict[str, float], refused: dict[str, str]) -> str:
    ranked = sorted(seconds, key=lambda name: seconds[name])
    parts = [f"{name} {1000 * seconds[name]:.3g} ms" for name in ranked]
    text = f"{', '.join(parts)} a task, median of {ROUNDS}"
    if chosen != ranked[0]:
        text += f"; {ranked[0]} is less than {MARGIN - 1:.0%} faster"
    return "; ".join([text, *refused.values()])


def _place(module: nn.Module, tasks: Sequence[Any], key: str) -> str:
    """What an answer holds for."""
    shapes = [(name, tuple(p.shape), str(p.dtype), p.requires_grad) for name, p in module.named_parameters()]
    leaves = [[str(getattr(leaf, "shape", leaf)) for leaf in tree.tree_leaves(t)] for t in tasks]
    autocast = torch.is_autocast_enabled(_device(module).type)
    text = f"{module} {shapes} {leaves} {key} {_device(module)} {torch.get_num_threads()} {autocast} {recomputes()}"
    return hashlib.sha256(text.encode()).hexdigest()
