"""The inner loop: gradient descent as a function from tensors to tensors.

Finn et al. (2017), equation 1: theta' = theta - alpha grad L(theta), repeated. `order` says how
much of the steps the meta-gradient sees: 2 all of it; 1 treats gradients as constants (first-order
MAML); 0 cuts the tie to the start (Reptile, fine-tuning).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import grad_and_value

from kshot.engine.rates import Rates

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
        gradients, value = grad_and_value(loss)(moving, step)
        losses.append(value.detach())
        if order < 2:
            gradients = {name: gradient.detach() for name, gradient in gradients.items()}
        moving = {
            name: tensor - rates.rate(name, step, tensor) * gradients[name] for name, tensor in moving.items()
        }
    return moving, losses


def same_gradient(parameters: Tensors, pull: Tensors, shown: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """A scalar that reads as `shown` and whose gradient by `parameters` is `pull`."""
    surrogate = torch.stack([(p * pull[name].detach()).sum() for name, p in parameters.items()]).sum()
    return surrogate - surrogate.detach() + shown.detach()
