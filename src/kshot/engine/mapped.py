"""Many tasks in one call: vmap(grad). Weights that no task has moved yet are shared, so the forward of the first inner
step is one product for all tasks.

Meta-gradients are always taken per task and then summed. Differentiating *through* vmap gives
silently wrong second-order gradients with fused norm layers, so that composition does not exist here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from kshot.engine.side_effects import LossOf
from kshot.engine.stacking import stacks

if TYPE_CHECKING:
    from jaxtyping import Float

_OneLoss = Callable[[dict[str, Tensor], Any], Tensor]
Slopes = Callable[[dict[str, Tensor], Any], tuple[dict[str, Tensor], Tensor]]


def by_vmap(module: nn.Module, loss: LossOf, tasks: Sequence[Any], chunk: int) -> Float[Tensor, ""]:
    """`chunk` tasks at once, those of equal shapes together; memory is that of all of a chunk."""
    slopes, parameters = slopes_of(module, loss), dict(module.named_parameters())
    values = {name: p.detach() for name, p in parameters.items() if p.requires_grad}
    return add_mean(parameters, [slopes(values, stacked) for stacked in stacks(tasks, chunk)], len(tasks))


def slopes_of(module: nn.Module, loss: LossOf) -> Slopes:
    """A function from parameters and stacked tasks to the sums of their meta-gradients and losses."""
    caller = _Caller(module, loss)

    def one(values: dict[str, Tensor], task: Any) -> Tensor:
        result: Tensor = functional_call(caller, {f"module.{n}": v for n, v in values.items()}, (task,))
        return result

    # fused norms have a wrong second derivative when it is taken from outside of vmap; without norms that costs less
    way = _inside if _has_norms(module) else _outside
    return lambda values, stacked: way(one, values, stacked)


def add_mean(
    parameters: dict[str, nn.Parameter], parts: Sequence[tuple[dict[str, Tensor], Tensor]], count: int
) -> Float[Tensor, ""]:
    """Add sums over `count` tasks, divided by it, to `.grad`; return the mean loss. Added in order: the same bits every time."""
    for name in parts[0][0]:
        total = parts[0][0][name].clone()
        for gradients, _ in parts[1:]:
            total += gradients[name]
        p, found = parameters[name], laid_as(parameters[name], total.div_(count))
        p.grad = found if p.grad is None else p.grad + found
    return torch.stack([loss for _, loss in parts]).sum() / count


def laid_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    """A gradient laid out in memory as its parameter is: fused optimisers read both in order, whatever their strides say."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _inside(one: _OneLoss, values: dict[str, Tensor], stacked: Any) -> tuple[dict[str, Tensor], Tensor]:
    """Summed gradients and losses: a gradient of each task, mapped."""
    gradients, losses = vmap(grad_and_value(one), in_dims=(None, 0), randomness="different")(values, stacked)
    return {name: found.detach().sum(0) for name, found in gradients.items()}, losses.detach().sum()


def _outside(one: _OneLoss, values: dict[str, Tensor], stacked: Any) -> tuple[dict[str, Tensor], Tensor]:
    """The same as one gradient of the sum of mapped losses: one transform less around every operation."""
    own = {name: value.detach().requires_grad_() for name, value in values.items()}
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
