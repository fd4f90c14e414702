"""Many tasks from code written for one: a loop that accumulates, threads that share a batch, vmap(grad), or its
operations written down once. Meta-gradients are always taken per task and then averaged."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kshot.engine.graphs import by_graph
from kshot.engine.inner import gradient_nodes
from kshot.engine.layouts import laid_out, lay_out
from kshot.engine.mapped import by_vmap, laid_as
from kshot.engine.sharing import in_threads
from kshot.engine.side_effects import LossOf, check_order_is_free
from kshot.engine.stacking import alike, fitting
from kshot.errors import SettingError

if TYPE_CHECKING:
    from jaxtyping import Float

EXECUTORS = (
    "auto", "loop", "loop:channels_first", "loop:channels_last", "threads", "threads:channels_first",
    "threads:channels_last", "vmap", "graph",
)  # fmt: skip
_NUMBERS = 2**24
"""Numbers of parameters and inputs in one vmap call."""


class FallbackWarning(UserWarning):
    """An executor could not run this model; the loop did."""


def accumulate(
    module: nn.Module,
    loss: LossOf,
    tasks: Sequence[Any],
    *,
    executor: str = "auto",
    chunk: int | None = None,
    key: Hashable = None,
) -> Float[Tensor, ""]:
    """Add the mean meta-gradient of `tasks` to `.grad` of `module` and return the mean loss.

    Args:
        loss: one task (a tree of tensors) to a scalar, by way of `module`'s parameters.
        executor: "loop" (memory flat in the number of tasks), "threads" (as many as torch has, each with one
            task at a time), "vmap" (fast for small networks; tasks of equal shapes share a call), "graph" (vmap's
            operations written down once, a second or so, and run without autograd: several times as fast for small
            networks), or "auto": vmap for several equal-shaped tasks of a module without convolutions, else loop.
            ":channels_first" or ":channels_last" behind loop and threads lays images and weights out so. `choose`
            finds the fastest by measuring.
        chunk: tasks per vmap call; by default all whose gradients fit into 64 MB, and at least 32.
        key: what else than the module and the tasks' shapes decides the loss; equal keys share a graph. By default
            the loss itself, so that another function gets another.

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
            if kind == "graph":
                return by_graph(module, loss, tasks, chunk, weakref.ref(loss) if key is None else key)
            # small networks wait for calls, not for arithmetic: as many tasks a call as memory lets
            return by_vmap(module, loss, tasks, chunk or fitting(_NUMBERS, module.parameters(), tasks[0]))
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
    count = min(torch.get_num_threads(), len(tasks))
    check_order_is_free(module, loss, tasks[0])
    parameters = [p for p in module.parameters() if p.requires_grad]

    def share(first: int) -> tuple[list[Tensor | None], Tensor]:
        sums: list[Tensor | None] = [None] * len(parameters)
        values = []
        for task in tasks[first::count]:
            value = loss(task) / len(tasks)
            found = torch.autograd.grad(value, parameters, allow_unused=True)
            sums = [_added(own, new) for own, new in zip(sums, found, strict=True)]
            values.append(value.detach())
        return sums, torch.stack(values).sum()

    nodes = gradient_nodes(parameters)
    shares = in_threads(share, range(count), count)
    del nodes
    for sums, _ in shares:
        for p, own in zip(parameters, sums, strict=True):
            p.grad = _added(p.grad, None if own is None else laid_as(p, own))
    return torch.stack([value for _, value in shares]).sum()


def _suits_vmap(module: nn.Module, tasks: Sequence[Any]) -> bool:
    heavy = (nn.modules.conv._ConvNd, nn.RNNBase)
    return len(tasks) > 1 and alike(tasks) and not any(isinstance(m, heavy) for m in module.modules())


def _added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
