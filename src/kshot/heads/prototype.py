"""Nearest class mean. Snell et al. (2017), "Prototypical Networks for Few-shot Learning"."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from kshot.heads.head import Head, State, class_means, squared_distances


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

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(3.0)))

    def solve(self, features: Tensor, targets: Tensor, size: int) -> State:
        return {"prototypes": class_means(features, targets, size)}

    def respond(self, state: State, features: Tensor) -> Tensor:
        scale = self.log_scale.exp() / features.shape[1]
        return -scale * squared_distances(features, state["prototypes"])
