"""Class means under one shared covariance, shrunk to a multiple of the identity.

Friedman (1989), "Regularized Discriminant Analysis"; for few shots Bateni et al. (2020), "Simple CNAPS".
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from kshot.heads.head import Head, State, class_means, eye_like, squared_distances


class LDAHead(Head):
    """Score of class c: -1/d (x - mu_c)' S^-1 (x - mu_c), S = v I + w Z'Z / n, Z the centred support.

    By Woodbury S^-1 = (I - Z' (n v / w I + Z Z')^-1 Z) / v, so only an n x n matrix is factored. The
    division by the number of features d keeps scores of a fresh network small (see PrototypeHead).
    v and w are meta-learned; with one shot Z = 0 and the head is a nearest class mean.

    >>> head = LDAHead()
    >>> state = head.solve(torch.eye(2), torch.tensor([0, 1]), 2)
    >>> head.respond(state, torch.eye(2)).argmax(1).tolist()
    [0, 1]
    """

    kind: ClassVar[str] = "lda"

    def __init__(self) -> None:
        super().__init__()
        self.log_floor = nn.Parameter(torch.tensor(-1.0986))
        self.log_share = nn.Parameter(torch.zeros(()))

    def solve(self, features: Tensor, targets: Tensor, size: int) -> State:
        means = class_means(features, targets, size)
        centred = features - means[targets]
        gram = centred @ centred.T
        ridge = len(features) * (self.log_floor - self.log_share).exp()
        factor = torch.linalg.cholesky(gram + ridge * eye_like(gram))
        whitened = torch.linalg.solve_triangular(factor, centred, upper=False)
        return {"prototypes": means, "directions": whitened}

    def respond(self, state: State, features: Tensor) -> Tensor:
        means, directions = state["prototypes"], state["directions"]
        explained = squared_distances(features @ directions.T, means @ directions.T)
        scale = (-self.log_floor).exp() / features.shape[1]
        return -scale * (squared_distances(features, means) - explained)
