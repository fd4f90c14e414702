"""How the end of a gradient descent depends on the weight of each example, exactly.

Backwards through the steps, one at a time (the adjoint method), so that memory is that of one step however
many there are. Maclaurin et al. (2015), "Gradient-based Hyperparameter Optimization through Reversible
Learning", section 2; for examples' weights, Hara et al. (2019), "Data Cleansing for Models Trained with SGD".
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kshot.engine.inner import Tensors
from kshot.engine.rates import Rates

WeightedLoss = Callable[[Tensors, Tensor], Tensor]


def descend_weighted(
    loss: WeightedLoss, start: Tensors, weights: Tensor, *, steps: int, rates: Rates
) -> tuple[Tensors, Callable[[Tensors], Tensor]]:
    """`steps` steps of gradient descent from `start`, and how its end depends on `weights`.

    Args:
        loss: of the moving tensors and the weights [n].

    Returns:
        The moved tensors, and a function that turns a gradient by them into one by the weights, [n].

    >>> from kshot.engine import rates
    >>> w = torch.tensor([1.0, 1.0])
    >>> move = lambda t, w: (w * torch.tensor([1.0, 2.0]) * t["x"]).sum()
    >>> moved, back = descend_weighted(move, {"x": torch.zeros(())}, w, steps=2, rates=rates("fixed", 0.5))
    >>> moved["x"].item(), back({"x": torch.ones(())}).tolist()
    (-3.0, [-1.0, -2.0])
    """
    path = [{name: value.detach() for name, value in start.items()}]
    for step in range(steps):
        gradients = _gradients(loss, path[-1], weights)[0]
        with torch.no_grad():
            path.append(
                {
                    name: t - rates.rate(name, step, t) * g
                    for (name, t), g in zip(path[-1].items(), gradients, strict=True)
                }
            )

    def back(ends: Tensors) -> Tensor:
        pull, total = ends, torch.zeros_like(weights)
        for step in reversed(range(steps)):
            gradients, moving, own = _gradients(loss, path[step], weights, again=True)
            sizes = [rates.rate(name, step, t) for name, t in path[step].items()]
            moves = [
                (rate * pull[name] * g).sum() for rate, name, g in zip(sizes, pull, gradients, strict=True)
            ]
            moved = torch.stack(moves).sum()
            found = torch.autograd.grad(moved, [*moving, own], allow_unused=True)
            *bent, by_weight = [
                torch.zeros_like(x) if g is None else g for g, x in zip(found, [*moving, own], strict=True)
            ]
            pull = {name: p - b for (name, p), b in zip(pull.items(), bent, strict=True)}
            total = total - by_weight
        return total.detach()

    return path[-1], back


def _gradients(
    loss: WeightedLoss, at: Tensors, weights: Tensor, again: bool = False
) -> tuple[tuple[Tensor, ...], list[Tensor], Tensor]:
    """Gradients of the loss; with `again` they can be differentiated by the tensors and weights returned."""
    with torch.enable_grad():
        moving = {name: t.detach().requires_grad_() for name, t in at.items()}
        own = weights.detach().requires_grad_(again)
        found = torch.autograd.grad(
            loss(moving, own),
            list(moving.values()),
            create_graph=again,
            allow_unused=True,
            materialize_grads=True,
        )
    return found, list(moving.values()), own
