"""Bayesian linear regression with a meta-learned prior.

Bishop (2006), section 3.3; Harrison et al. (2018), "Meta-Learning Priors for Efficient Online
Bayesian Regression" (ALPaCA).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kshot.heads.dual import Dual, DualWithoutEach
from kshot.heads.head import Head, State, eye_like, solve_positive, table
from kshot.heads.ridge import with_constant
from kshot.heads.without_each import WithoutEach


class BayesianLinearHead(Head):
    """y = W'x + e, W ~ N(M, 1/a I), e ~ N(0, s^2): posterior mean and variance in closed form.

    For numbers the output is a pair, mean and predictive variance, both [m, size]; for classes
    the posterior mean of one-hot regression, scaled, serves as scores.

    Args:
        features: length of the feature vector, to learn a prior mean M of its size; None: M = 0.
        outputs: numbers per input, with `features`.
    """

    kind: ClassVar[str] = "bayesian"

    def __init__(self, features: int | None = None, outputs: int = 1) -> None:
        super().__init__()
        self.shape = (features, outputs)
        self.log_precision = nn.Parameter(torch.zeros(()))
        self.log_noise = nn.Parameter(torch.tensor(math.log(0.1)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.prior = None if features is None else nn.Parameter(torch.zeros(features + 1, outputs))

    def config(self) -> dict[str, Any]:
        return {"features": self.shape[0], "outputs": self.shape[1]}

    def solve(self, features: Tensor, targets: Tensor, size: int) -> State:
        x, y = with_constant(features), table(targets, size, features)
        prior = self._mean(x, size)
        kernel = self._regular(x)
        weights = prior + x.T @ solve_positive(kernel, y - x @ prior) / self.log_precision.exp()
        return {"weights": weights, "support": x, "kernel": kernel, "classes": _flag(targets, x)}

    def _mean(self, x: Tensor, size: int) -> Tensor:
        """The prior mean M, [d + 1, size]."""
        return x.new_zeros(x.shape[1], size) if self.prior is None else self.prior.to(x.dtype)

    def _regular(self, x: Tensor) -> Tensor:
        gram = x @ x.T / self.log_precision.exp()
        return gram + self.log_noise.exp() * eye_like(gram)

    def respond(self, state: State, features: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = with_constant(features)
        mean = x @ state["weights"]
        if state["classes"].numel():
            return self.log_scale.exp() * mean
        precision = self.log_precision.exp()
        cross = x @ state["support"].T / precision
        solved = (
            cross @ state["inverse"] if "inverse" in state else solve_positive(state["kernel"], cross.T).T
        )
        reduced = (cross * solved).sum(1)
        variance = x.square().sum(1) / precision - reduced + self.log_noise.exp()
        return mean, variance.clamp(min=1e-12).unsqueeze(1).expand_as(mean)

    def without_each(self, features: Tensor, targets: Tensor, size: int) -> WithoutEach:
        x = with_constant(features)
        prior = self._mean(x, size)

        def base(queries: Tensor) -> Tensor:
            return with_constant(queries) @ prior

        def cross(queries: Tensor) -> Tensor:
            return with_constant(queries) @ x.T / self.log_precision.exp()

        numbers = targets.is_floating_point()
        scale = torch.ones_like(self.log_scale) if numbers else self.log_scale.exp()
        rest = table(targets, size, x) - x @ prior
        dual = Dual(self._regular(x), rest, x @ prior, cross, base, scale)
        return (
            GaussianWithoutEach(dual, targets, size, self)
            if numbers
            else DualWithoutEach(dual, targets, size)
        )


class GaussianWithoutEach(WithoutEach):
    """Mean and variance: leaving out example i adds v_i^2 / G_ii to the variance, v = G k(x)."""

    def __init__(self, dual: Dual, targets: Tensor, size: int, head: BayesianLinearHead) -> None:
        self.mean = DualWithoutEach(dual, targets, size)
        self.head = head

    def answers(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        means = self.mean.answers(queries)
        cross = self.mean.dual.cross(queries)
        weights = cross @ self.mean.inverse
        alone = with_constant(queries).square().sum(1) / self.head.log_precision.exp()
        whole = alone - (weights * cross).sum(1) + self.head.log_noise.exp()
        variance = whole.unsqueeze(1) + weights.square() / self.mean.pivots
        return means, variance.clamp(min=1e-12).unsqueeze(2).expand_as(means)

    def own(self) -> tuple[Tensor, Tensor]:
        means = self.mean.own()
        return means, (1 / self.mean.pivots).clamp(min=1e-12).unsqueeze(1).expand_as(means)


def _flag(targets: Tensor, like: Tensor) -> Tensor:
    """A marker kept in the state: one element for classes, none for numbers."""
    return like.new_zeros(0 if targets.is_floating_point() else 1)
