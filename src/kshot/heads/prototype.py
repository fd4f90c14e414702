"""Nearest class mean. Snell et al. (2017), "Prototypical Networks for Few-shot Learning"."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from kshot.heads.grouped_rows import GroupedRows
from kshot.heads.head import Arrays, Head, State, class_means, distances_to, squared_distances
from kshot.heads.without_each import WithoutEach, put_own_class, shared


class PrototypeHead(Head):
    """Score of class k: -s / d ||f(x) - c_k||^2 with c_k the mean of its support (equations 1 and 2).

    The paper has s = d, the number of features. A fresh network's distances are then so large that
    training spends its first hundreds of steps on shrinking them; s starts at 3 and is meta-learned.

    >>> head = PrototypeHead()
    >>> state = head.solve(torch.eye(2), torch.tensor([0, 1]), 2)
    >>> head.respond(state, torch.eye(2)).argmax(1).tolist()
    [0, 1]
    """

    kind: ClassVar[str] = "prototype"
    most: ClassVar[int | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(3.0)))

    def solve(self, features: Tensor, targets: Tensor, size: int) -> State:
        return {"prototypes": class_means(features, targets, size)}

    def respond(self, state: State, features: Tensor) -> Tensor:
        scale = self.log_scale.exp() / features.shape[1]
        return -scale * squared_distances(features, state["prototypes"])

    def kept(self, state: State, targets: Tensor) -> Arrays:
        means = state["prototypes"]
        return {"prototypes": means.detach().numpy(force=True)} if means.dtype == torch.float32 else {}

    def grown(self, kept: Arrays, features: np.ndarray | GroupedRows) -> State:
        return {"prototypes": torch.tensor(kept["prototypes"], device=self.log_scale.device)}

    def without_each(self, features: Tensor, targets: Tensor, size: int) -> WithoutEach:
        return PrototypeWithoutEach(features, targets, size, self.log_scale.exp() / features.shape[1])


class PrototypeWithoutEach(WithoutEach):
    """Leaving out an example moves the mean of its own class and nothing else.

    Attributes:
        means: of the classes, [size, d]. moved: of each example's class without that example, [n, d].
        alone: whether an example is the only one of its class, [n]; its `moved` then means nothing.
    """

    def __init__(self, features: Tensor, targets: Tensor, size: int, scale: Tensor) -> None:
        self.features, self.targets, self.scale = features, targets, scale
        count = shared(targets, size).to(features).unsqueeze(1)
        self.alone = count.squeeze(1) == 1
        self.means = class_means(features, targets, size)
        mine = self.means[targets]
        self.moved = mine + (mine - features) / (count - 1).clamp(min=1)

    @cached_property
    def distances(self) -> Callable[[Tensor], Tensor]:
        """From queries to `means` and `moved`."""
        return distances_to(torch.cat([self.means, self.moved]))

    def answers(self, queries: Tensor) -> Tensor:
        scores, own = self.columns(queries)
        copies = scores.unsqueeze(1).repeat(1, len(self.features), 1)
        return put_own_class(copies, own, self.targets, self.alone)

    def columns(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [m, size] of all examples together, and [m, n]: of each one's class without it."""
        scores = -self.scale * self.distances(queries)
        return scores[:, : len(self.means)], scores[:, len(self.means) :]

    def own(self) -> Tensor:
        scores = -self.scale * squared_distances(self.features, self.means)
        own = -self.scale * (self.features - self.moved).square().sum(1)
        return put_own_class(scores, own, self.targets, self.alone)
