"""The inner loop: gradient descent as a function from tensors to tensors.

Finn et al. (2017), equation 1: theta' = theta - alpha grad L(theta), repeated. `order` says how
much of the steps the meta-gradient sees: 2 all of it; 1 treats gradients as constants (first-order
MAML); 0 cuts the tie to the start (Reptile, fine-tuning).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import grad_and_value

from kshot.engine.rates import Rates
from kshot.engine.recompute import kept_or_again

if TYPE_CHECKING:
    from jaxtyping import Float

Tensors = dict[str, Tensor]


def descend(
    loss: Callable[[Tensors, int], Tensor], start: Tensors, *, steps: int, rates: Rates, order: int = 2
) -> tuple[Tensors, list[Tensor]]:
    """`steps` steps of gradient descent on `loss` from `start`.

    Args:
        loss: of the moving tensors and the number of the step, so that steps may see different examples.

    Returns:
        The moved tensors, and the loss before each step.
    """
    moving = start if order else {name: value.detach() for name, value in start.items()}
    losses: list[Tensor] = []
    for step in range(steps):
        moving, value = kept_or_again(
            partial(_step, loss, moving, step, rates, order), order == 2 and torch.is_grad_enabled()
        )
        losses.append(value)
    return moving, losses


def _step(
    loss: Callable[[Tensors, int], Tensor], moving: Tensors, step: int, rates: Rates, order: int
) -> tuple[Tensors, Tensor]:
    """Where one step leads, and the loss before it."""
    gradients, value = _slopes(loss, moving, step, order)
    moved = {
        name: _stepped(tensor, gradients[name], rates.rate(name, step, tensor))
        for name, tensor in moving.items()
    }
    return moved, value


def _stepped(tensor: Tensor, gradient: Tensor, rate: Tensor | float) -> Tensor:
    """tensor - rate * gradient; for a plain number that is one operation, and one less to differentiate."""
    if isinstance(rate, float):
        return torch.sub(tensor, gradient, alpha=rate)
    return tensor - rate * gradient


def _slopes(
    loss: Callable[[Tensors, int], Tensor], moving: Tensors, step: int, order: int
) -> tuple[Tensors, Tensor]:
    """The gradient by what moves, which can be differentiated again for `order` 2 only, and the loss.

    Inside transforms of torch.func (vmap) that is torch.func's gradient; elsewhere plain autograd, which spends
    less on every operation.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:  # no public name says so
        gradients, value = grad_and_value(loss)(moving, step)
        if order < 2:
            gradients = {name: gradient.detach() for name, gradient in gradients.items()}
        return gradients, value.detach()
    again = order == 2 and torch.is_grad_enabled()
    with torch.enable_grad():
        own = {n: t if again and t.requires_grad else t.detach().requires_grad_() for n, t in moving.items()}
        value = loss(own, step)
        found = torch.autograd.grad(
            value, list(own.values()), create_graph=again, allow_unused=True, materialize_grads=True
        )
    return dict(zip(own, found, strict=True)), value.detach()


def own_values(parameters: Tensors) -> Tensors:
    """The parameters, apart from the module's where no gradient by them is asked for.

    An inner step takes gradients also then, by what moves. What stands still must not take part: that would be work for
    nothing, and threads that adapt one learner could meet as `gradient_nodes` says.
    """
    return parameters if torch.is_grad_enabled() else {name: p.detach() for name, p in parameters.items()}


def gradient_nodes(parameters: Iterable[Tensor]) -> list[Any]:
    """What gathers the gradients of leaves; keep it while threads share them.

    torch (2.14) makes such a node when a gradient is first wanted, and holds the leaf's lock while it waits for Python's; a
    thread that has Python's and wants the leaf's then waits for ever. A node that is there is not made.
    """
    return [torch.autograd.graph.get_gradient_edge(p) for p in parameters if p.requires_grad]


def same_gradient(parameters: Tensors, pull: Tensors, shown: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """A scalar that reads as `shown` and whose gradient by `parameters` is `pull`."""
    surrogate = torch.stack([(p * pull[name].detach()).sum() for name, p in parameters.items()]).sum()
    return surrogate - surrogate.detach() + shown.detach()
