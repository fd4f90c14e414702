"""Bayesian linear regression with a meta-learned prior.

Bishop (2006), section 3.3; Harrison et al. (2018), "Meta-Learning Priors for Efficient Online
Bayesian Regression" (ALPaCA).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kshot.heads.head import Head, State, eye_like, solve_positive, table
from kshot.heads.ridge import with_constant


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
        prior = self.prior if self.prior is not None else x.new_zeros(x.shape[1], size)
        noise, precision = self.log_noise.exp(), self.log_precision.exp()
        gram = x @ x.T / precision
        kernel = gram + noise * eye_like(gram)
        weights = prior + x.T @ solve_positive(kernel, y - x @ prior) / precision
        return {"weights": weights, "support": x, "kernel": kernel, "classes": _flag(targets, x)}

    def respond(self, state: State, features: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = with_constant(features)
        mean = x @ state["weights"]
        if state["classes"].numel():
            return self.log_scale.exp() * mean
        precision = self.log_precision.exp()
        cross = x @ state["support"].T / precision
        reduced = (cross * solve_positive(state["kernel"], cross.T).T).sum(1)
        variance = x.square().sum(1) / precision - reduced + self.log_noise.exp()
        return mean, variance.clamp(min=1e-12).unsqueeze(1).expand_as(mean)


def _flag(targets: Tensor, like: Tensor) -> Tensor:
    """A marker kept in the state: one element for classes, none for numbers."""
    return like.new_zeros(0 if targets.is_floating_point() else 1)
