"""Many tasks from code written for one: a loop that accumulates, or vmap(grad).

Meta-gradients are always taken per task and then averaged. Differentiating *through* vmap gives
silently wrong second-order gradients with fused norm layers, so that composition does not exist here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.utils import _pytree as tree

from kshot.errors import SettingError

if TYPE_CHECKING:
    from jaxtyping import Float

EXECUTORS = ("auto", "loop", "vmap")
LossOf = Callable[[Any], Tensor]
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
        executor: "loop" (memory flat in the number of tasks), "vmap" (fast for small networks), or
            "auto": vmap for several equal-shaped tasks of a module without convolutions, else loop.
        chunk: tasks per vmap call; by default all whose gradients fit into 64 MB, and at least 32.
    """
    if executor not in EXECUTORS:
        raise SettingError(f"executor is {executor!r}; choose one of {', '.join(EXECUTORS)}")
    if executor == "auto":
        executor = "vmap" if _suits_vmap(module, tasks) else "loop"
    if executor == "vmap":
        try:
            return _by_vmap(module, loss, tasks, chunk or _chunk(module, tasks[0]))
        except (RuntimeError, ValueError) as cause:
            reason = str(cause).splitlines()[0]
            warnings.warn(
                f"vmap cannot run this model ({reason}); the loop does", FallbackWarning, stacklevel=2
            )
    return _by_loop(loss, tasks)


def _by_loop(loss: LossOf, tasks: Sequence[Any]) -> Float[Tensor, ""]:
    values = []
    for task in tasks:
        value = loss(task) / len(tasks)
        value.backward()  # type: ignore[no-untyped-call]
        values.append(value.detach())
    return torch.stack(values).sum()


def _by_vmap(module: nn.Module, loss: LossOf, tasks: Sequence[Any], chunk: int) -> Float[Tensor, ""]:
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    caller = _Caller(module, loss)

    def one(values: dict[str, Tensor], task: Any) -> Tensor:
        result: Tensor = functional_call(caller, {f"module.{n}": v for n, v in values.items()}, (task,))
        return result

    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    totals = []
    for start in range(0, len(tasks), chunk):
        stacked = _stack(tasks[start : start + chunk])
        detached = {name: p.detach() for name, p in parameters.items()}
        gradients, values = vmap(grad_and_value(one), in_dims=(None, 0), randomness="different")(
            detached, stacked
        )
        for name, gradient in gradients.items():
            sums[name] += gradient.detach().sum(0)
        totals.append(values.detach().sum())
    for name, p in parameters.items():
        mean = sums[name] / len(tasks)
        p.grad = mean if p.grad is None else p.grad + mean
    return torch.stack(totals).sum() / len(tasks)


class _Caller(nn.Module):
    """Gives `loss` a forward, so that functional_call can swap the parameters behind it."""

    def __init__(self, module: nn.Module, loss: LossOf) -> None:
        super().__init__()
        self.module = module
        self.loss = loss

    def forward(self, task: Any) -> Float[Tensor, ""]:
        return self.loss(task)


def _stack(tasks: Sequence[Any]) -> Any:
    return tree.tree_map(lambda *leaves: torch.stack(leaves), *tasks)


def _chunk(module: nn.Module, task: Any) -> int:
    """Small networks wait for calls, not for arithmetic: as many tasks a call as memory lets."""
    numbers: int = sum(p.numel() for p in module.parameters()) + sum(
        t.numel() for t in tree.tree_leaves(task)
    )
    return max(32, _NUMBERS // max(numbers, 1))


def _suits_vmap(module: nn.Module, tasks: Sequence[Any]) -> bool:
    shapes = {tuple(tuple(leaf.shape) for leaf in tree.tree_leaves(task)) for task in tasks}
    heavy = (nn.modules.conv._ConvNd, nn.RNNBase)
    return len(tasks) > 1 and len(shapes) == 1 and not any(isinstance(m, heavy) for m in module.modules())
