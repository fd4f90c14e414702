"""Many tasks from code written for one: a loop that accumulates, threads that share a batch, or vmap(grad).

Meta-gradients are always taken per task and then averaged. Differentiating *through* vmap gives
silently wrong second-order gradients with fused norm layers, so that composition does not exist here.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.utils import _pytree as tree

from kshot.engine.layouts import laid_out, lay_out
from kshot.errors import SettingError

if TYPE_CHECKING:
    from jaxtyping import Float

EXECUTORS = (
    "auto", "loop", "loop:channels_first", "loop:channels_last", "threads", "threads:channels_first",
    "threads:channels_last", "vmap",
)  # fmt: skip
LossOf = Callable[[Any], Tensor]
_OneLoss = Callable[[dict[str, Tensor], Any], Tensor]
_NUMBERS = 2**24
"""Numbers of parameters and inputs in one vmap call."""


class FallbackWarning(UserWarning):
    """An executor could not run this model; the loop did."""


def accumulate(
    module: nn.Module, loss: LossOf, tasks: Sequence[Any], *, executor: str = "auto", chunk: int | None = None
) -> Float[Tensor, ""]:
    """Add the mean meta-gradient of `tasks` to `.grad` of `module` and return the mean loss.

    Args:
        loss: one task (a tree of tensors) to a scalar, by way of `module`'s parameters.
        executor: "loop" (memory flat in the number of tasks), "threads" (as many as torch has, each with one
            task at a time), "vmap" (fast for small networks; tasks of equal shapes share a call), or "auto": vmap for several equal-shaped tasks
            of a module without convolutions, else loop. ":channels_first" or ":channels_last" behind loop and
            threads lays images and weights out so. `choose` finds the fastest by measuring.
        chunk: tasks per vmap call; by default all whose gradients fit into 64 MB, and at least 32.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.ones_(layer.weight)
    >>> tasks = [torch.ones(2, 1), 3 * torch.ones(2, 1)]
    >>> accumulate(layer, lambda x: layer(x).sum(), tasks, executor="loop").item(), layer.weight.grad.item()
    (4.0, 4.0)
    """
    if executor not in EXECUTORS:
        raise SettingError(f"executor is {executor!r}; choose one of {', '.join(EXECUTORS)}")
    if executor == "auto":
        executor = "vmap" if _suits_vmap(module, tasks) else "loop"
    kind, _, layout = executor.partition(":")
    if layout:
        lay_out(module, layout)
        tasks = [laid_out(task, layout) for task in tasks]
    if kind != "loop" and len(tasks) > 1:
        try:
            if kind == "threads":
                return by_threads(module, loss, tasks)
            return by_vmap(module, loss, tasks, chunk or _chunk(module, tasks[0]))
        except (RuntimeError, ValueError) as cause:
            reason = str(cause).splitlines()[0]
            warnings.warn(
                f"{kind} cannot run this model ({reason}); the loop does", FallbackWarning, stacklevel=2
            )
    return by_loop(loss, tasks)


def by_loop(loss: LossOf, tasks: Sequence[Any]) -> Float[Tensor, ""]:
    """One task after the other; memory is that of one."""
    values = []
    for task in tasks:
        value = loss(task) / len(tasks)
        value.backward()  # type: ignore[no-untyped-call]
        values.append(value.detach())
    return torch.stack(values).sum()


def by_threads(module: nn.Module, loss: LossOf, tasks: Sequence[Any]) -> Float[Tensor, ""]:
    """As many threads as torch has, each with a single one of torch's; memory is that of one task a thread.

    Thread k takes every kth task and sums in order, and sums are added in order: the same bits every time.

    Raises:
        RuntimeError: the loss changes buffers or draws random numbers, so that the order of tasks would matter.
    """
    before = torch.get_num_threads()
    count = min(before, len(tasks))
    _check_order_is_free(module, loss, tasks[0])
    parameters = [p for p in module.parameters() if p.requires_grad]

    def share(first: int) -> tuple[list[Tensor | None], Tensor]:
        torch.set_num_threads(1)
        sums: list[Tensor | None] = [None] * len(parameters)
        values = []
        for task in tasks[first::count]:
            value = loss(task) / len(tasks)
            found = torch.autograd.grad(value, parameters, allow_unused=True)
            sums = [_added(own, new) for own, new in zip(sums, found, strict=True)]
            values.append(value.detach())
        return sums, torch.stack(values).sum()

    try:
        with ThreadPoolExecutor(count) as pool:
            # each with the settings of this thread, as `recomputing`
            waiting = [pool.submit(copy_context().run, share, first) for first in range(count)]
            shares = [one.result() for one in waiting]
    finally:
        torch.set_num_threads(before)
    for sums, _ in shares:
        for p, own in zip(parameters, sums, strict=True):
            p.grad = _added(p.grad, own)
    return torch.stack([value for _, value in shares]).sum()


def by_vmap(module: nn.Module, loss: LossOf, tasks: Sequence[Any], chunk: int) -> Float[Tensor, ""]:
    """`chunk` tasks at once, those of equal shapes together; memory is that of all of a chunk."""
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    caller = _Caller(module, loss)

    def one(values: dict[str, Tensor], task: Any) -> Tensor:
        result: Tensor = functional_call(caller, {f"module.{n}": v for n, v in values.items()}, (task,))
        return result

    # fused norms have a wrong second derivative when it is taken from outside of vmap; without norms that costs less
    slopes = _slopes_inside if _has_norms(module) else _slopes_outside
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    totals = []
    for stacked in _stacks(tasks, chunk):
        detached = {name: p.detach() for name, p in parameters.items()}
        gradients, total = slopes(one, detached, stacked)
        for name, gradient in gradients.items():
            sums[name] += gradient
        totals.append(total)
    for name, p in parameters.items():
        mean = sums[name] / len(tasks)
        p.grad = mean if p.grad is None else p.grad + mean
    return torch.stack(totals).sum() / len(tasks)


def _slopes_inside(
    one: _OneLoss, values: dict[str, Tensor], stacked: Any
) -> tuple[dict[str, Tensor], Tensor]:
    """Summed gradients and losses: a gradient of each task, mapped."""
    gradients, losses = vmap(grad_and_value(one), in_dims=(None, 0), randomness="different")(values, stacked)
    return {name: found.detach().sum(0) for name, found in gradients.items()}, losses.detach().sum()


def _slopes_outside(
    one: _OneLoss, values: dict[str, Tensor], stacked: Any
) -> tuple[dict[str, Tensor], Tensor]:
    """The same as one gradient of the sum of mapped losses: one transform less around every operation."""
    own = {name: value.requires_grad_() for name, value in values.items()}
    with torch.enable_grad():
        total = vmap(one, in_dims=(None, 0), randomness="different")(own, stacked).sum()
        found = torch.autograd.grad(total, list(own.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(own, found, strict=True)), total.detach()


def _has_norms(module: nn.Module) -> bool:
    return any("Norm" in type(part).__name__ for part in module.modules())


class _Caller(nn.Module):
    """Gives `loss` a forward, so that functional_call can swap the parameters behind it."""

    def __init__(self, module: nn.Module, loss: LossOf) -> None:
        super().__init__()
        self.module = module
        self.loss = loss

    def forward(self, task: Any) -> Float[Tensor, ""]:
        return self.loss(task)


def alike(tasks: Sequence[Any]) -> bool:
    """Are all tasks trees of tensors of the same shapes?"""
    leaves = [tree.tree_leaves(task) for task in tasks]
    if not all(isinstance(leaf, Tensor) for each in leaves for leaf in each):
        return False
    return len({tuple(leaf.shape for leaf in each) for each in leaves}) == 1


def _stacks(tasks: Sequence[Any], chunk: int) -> Iterator[Any]:
    """Up to `chunk` tasks as one tree; where ways or shots differ, one tree for each of their shapes."""
    for start in range(0, len(tasks), chunk):
        some = tasks[start : start + chunk]
        try:
            yield _stack(some)
        except (RuntimeError, ValueError, TypeError):
            groups: dict[Any, list[Any]] = {}
            for task in some:
                leaves, form = tree.tree_flatten(task)
                groups.setdefault((str(form), *(tuple(leaf.shape) for leaf in leaves)), []).append(task)
            if len(groups) == 1:
                raise
            yield from map(_stack, groups.values())


def _stack(tasks: Sequence[Any]) -> Any:
    first = tasks[0]
    if type(first) is tuple and all(
        isinstance(leaf, Tensor) for leaf in first
    ):  # most tasks; far less to look at
        return tuple(torch.stack(leaves) for leaves in zip(*tasks, strict=True))
    return tree.tree_map(lambda *leaves: torch.stack(leaves), *tasks)


def _chunk(module: nn.Module, task: Any) -> int:
    """Small networks wait for calls, not for arithmetic: as many tasks a call as memory lets."""
    numbers: int = sum(p.numel() for p in module.parameters()) + sum(
        t.numel() for t in tree.tree_leaves(task)
    )
    return max(32, _NUMBERS // max(numbers, 1))


def _suits_vmap(module: nn.Module, tasks: Sequence[Any]) -> bool:
    heavy = (nn.modules.conv._ConvNd, nn.RNNBase)
    return len(tasks) > 1 and alike(tasks) and not any(isinstance(m, heavy) for m in module.modules())


_FREE: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def order_is_free(module: nn.Module, loss: LossOf, task: Any) -> bool:
    """Look once whether a loss leaves traces: then the order of tasks would matter, and threads have none."""
    if module not in _FREE:
        with untouched(module) as touched, torch.no_grad():
            loss(task)
            _FREE[module] = not touched()
    return _FREE[module]


def _check_order_is_free(module: nn.Module, loss: LossOf, task: Any) -> None:
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


def _added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
