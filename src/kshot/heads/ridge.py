"""Ridge regression to one-hot targets. Bertinetto et al. (2019), "Meta-learning with
differentiable closed-form solvers" (R2-D2)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from kshot.heads.dual import Dual, DualWithoutEach
from kshot.heads.head import Head, State, eye_like, solve_positive, table
from kshot.heads.without_each import WithoutEach


class RidgeHead(Head):
    """W = X' (X X' + lambda I)^-1 Y (equation 6, dual form); scores alpha x W + beta (equation 7).

    Works for classes and for numbers; a constant feature gives the intercept.

    >>> head = RidgeHead()
    >>> x = torch.tensor([[0.0], [1.0], [2.0]])
    >>> state = head.solve(x, 3 * x, 1)
    >>> bool((head.respond(state, x) - 3 * x).abs().max() < 1.0)
    True
    """

    kind: ClassVar[str] = "ridge"

    def __init__(self) -> None:
        super().__init__()
        self.log_ridge = nn.Parameter(torch.tensor(math.log(0.1)))
        self.log_scale = nn.Parameter(torch.zeros(()))

    def solve(self, features: Tensor, targets: Tensor, size: int) -> State:
        x = with_constant(features)
        dual = solve_positive(self._regular(x), table(targets, size, x))
        return {"weights": self._scale(targets) * (x.T @ dual)}

    def _regular(self, x: Tensor) -> Tensor:
        gram = x @ x.T
        return gram + self.log_ridge.exp() * eye_like(gram)

    def _scale(self, targets: Tensor) -> Tensor:
        return torch.ones_like(self.log_scale) if targets.is_floating_point() else self.log_scale.exp()

    def respond(self, state: State, features: Tensor) -> Tensor:
        return with_constant(features) @ state["weights"]

    def without_each(self, features: Tensor, targets: Tensor, size: int) -> WithoutEach:
        x = with_constant(features)
        goal = table(targets, size, x)

        def nothing(queries: Tensor) -> Tensor:
            return queries.new_zeros(len(queries), size)

        def cross(queries: Tensor) -> Tensor:
            return with_constant(queries) @ x.T

        dual = Dual(self._regular(x), goal, nothing(x), cross, nothing, self._scale(targets))
        return DualWithoutEach(dual, targets, size)


def with_constant(features: Tensor) -> Tensor:
    """Features [n, d] with a column of ones, [n, d + 1]."""
    return torch.cat([features, torch.ones_like(features[:, :1])], 1)
