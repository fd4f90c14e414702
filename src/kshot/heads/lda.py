"""Class means under one shared covariance, shrunk to a multiple of the identity.

Friedman (1989), "Regularized Discriminant Analysis"; for few shots Bateni et al. (2020), "Simple CNAPS".
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from kshot.heads.head import Head, State, class_means, eye_like, squared_distances
from kshot.heads.without_each import WithoutEach, put_own_class, shared


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

    def without_each(self, features: Tensor, targets: Tensor, size: int) -> WithoutEach:
        return LDAWithoutEach(self, features, targets, size)


class LDAWithoutEach(WithoutEach):
    """Leaving out example i of a class with N examples takes N / (N - 1) z_i z_i' from the scatter Z'Z,
    z_i = x_i - mu, moves mu to mu - z_i / (N - 1), and makes n - 1 of n, so that the ridge n v / w shrinks.

    One factor M = r I + Z'Z, r = (n - 1) v / w, serves all i; each is a rank-1 downdate of it
    (Sherman and Morrison 1950). M^-1 itself is never formed: Q = Z M^-1 is n x d.
    """

    def __init__(self, head: LDAHead, features: Tensor, targets: Tensor, size: int) -> None:
        self.features, self.targets = features, targets
        count = shared(targets, size).to(features)
        self.alone = count == 1
        self.others = (count - 1).clamp(min=1)
        self.share = torch.where(self.alone, torch.zeros_like(count), count / self.others)
        self.means = class_means(features, targets, size)
        centred = features - self.means[targets]
        self.ridge = (len(features) - 1) * (head.log_floor - head.log_share).exp()
        gram = centred @ centred.T
        factor = torch.linalg.cholesky(gram + self.ridge * eye_like(gram))
        self.whitened = torch.linalg.solve_triangular(factor, centred, upper=False)
        self.directions = torch.linalg.solve_triangular(factor.T, self.whitened, upper=True)
        self.sizes = (self.directions * centred).sum(1)
        self.gain = self.share / (1 - self.share * self.sizes)
        self.at_means = self.directions @ self.means.T
        self.scale = (-head.log_floor).exp() / features.shape[1]

    def answers(self, queries: Tensor) -> Tensor:
        """Distances times r: r (x - mu)' M^-1 (x - mu) = ||x - mu||^2 - ||W (x - mu)||^2, W the whitened rows."""
        reach = (queries @ self.directions.T).unsqueeze(2) - self.at_means
        return self._scores(self._distances(queries).unsqueeze(1).expand_as(reach), reach)

    def own(self) -> Tensor:
        reach = (self.features * self.directions).sum(1, keepdim=True) - self.at_means
        return self._scores(self._distances(self.features), reach)

    def _distances(self, queries: Tensor) -> Tensor:
        explained = squared_distances(queries @ self.whitened.T, self.means @ self.whitened.T)
        return squared_distances(queries, self.means) - explained

    def _scores(self, distances: Tensor, reach: Tensor) -> Tensor:
        """From distances under M and `reach` = z_i' M^-1 (x - mu_k), both [..., n, size]."""
        place = self.targets.unsqueeze(-1).expand_as(reach[..., :1])
        near, far = reach.gather(-1, place).squeeze(-1), distances.gather(-1, place).squeeze(-1)
        step = near / self.others
        moved = far + self.ridge * (2 * step + self.sizes / self.others.square())
        near = near + self.sizes / self.others
        own = -self.scale * (moved + self.ridge * self.gain * near.square())
        scores = -self.scale * (distances + self.ridge * self.gain.unsqueeze(-1) * reach.square())
        return put_own_class(scores, own, self.targets, self.alone)
