"""Leave-one-out for regression in its dual form, where the targets stay as they are.

With G = (K + lambda I)^-1 and dual coefficients a = G R, leaving out example i changes a by
-G_i a_i / G_ii (Rifkin and Lippert 2007, "Notes on Regularized Least Squares", section 4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from kshot.heads.without_each import WithoutEach, put_own_class, shared


class Dual(NamedTuple):
    """A regression in dual form: answer(x) = scale (base(x) + cross(x) (regular)^-1 rest).

    Attributes:
        regular: [n, n], the kernel matrix with the ridge on its diagonal.
        rest: [n, size], what the regression fits: targets minus `base` of the examples.
        fixed: [n, size], `base` of the examples themselves.
        cross: kernel [m, n] of queries [m, d] and the examples. base: their [m, size].
        scale: a factor on everything, a scalar.
    """

    regular: Tensor
    rest: Tensor
    fixed: Tensor
    cross: Callable[[Tensor], Tensor]
    base: Callable[[Tensor], Tensor]
    scale: Tensor


class DualWithoutEach(WithoutEach):
    """Exact where nothing but the missing example changes: ridge and Bayesian linear regression."""

    def __init__(self, dual: Dual, targets: Tensor, size: int) -> None:
        self.dual, self.targets = dual, targets
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(dual.regular))
        self.pivots = self.inverse.diagonal()
        self.coefficients = self.inverse @ dual.rest
        self.alone = None if targets.is_floating_point() else shared(targets, size) == 1

    def answers(self, queries: Tensor) -> Tensor:
        weights = self.dual.cross(queries) @ self.inverse
        whole = self.dual.base(queries) + weights @ self.dual.rest
        change = (weights / self.pivots).unsqueeze(2) * self.coefficients
        return self._known(self.dual.scale * (whole.unsqueeze(1) - change))

    def own(self) -> Tensor:
        fitted = self.dual.fixed + self.dual.rest - self.coefficients / self.pivots.unsqueeze(1)
        return self._known(self.dual.scale * fitted)

    def _known(self, outputs: Tensor) -> Tensor:
        if self.alone is None:
            return outputs
        own = outputs.gather(-1, self.targets.unsqueeze(-1).expand_as(outputs[..., :1])).squeeze(-1)
        return put_own_class(outputs, own, self.targets, self.alone)
