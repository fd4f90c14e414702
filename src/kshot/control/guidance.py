"""Guidance: a cost to go that adapts to a family of maps from a few solved ones.

A small network, meta-trained over families of maps, gives features of every cell; what walls add to the straight
cost is Bayesian linear regression on them, solved in closed form over the cells of the solved maps (mechanism A).
Head: Bertinetto et al. (2019), "Meta-learning with differentiable closed-form solvers". To guide A* by a network
that sees the map: Yonetani et al. (2021), "Path Planning using Neural A* Search", there trained through the search.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kshot.control.cost_to_go import CostToGo
from kshot.control.maps import SCALE, MapEncoder
from kshot.errors import DataError
from kshot.learners import Learner
from kshot.tasks import Examples
from kshot.tasks.spaces import OutputSpace


class Guidance(Learner):
    """Learns the cost to go of a family of maps from K solved maps; see `plan` for what to do with it.

    Weights are W ~ N(M, 1/ridge I) with a meta-learned mean M, so one solved map is enough to start from.

    >>> import numpy as np
    >>> from kshot.control import Grid
    >>> base = Guidance(MapEncoder(width=4, features=3))
    >>> maps = [(np.ones((6, 6)), (0, 0)), (np.ones((6, 6)), (5, 5))]
    >>> solved = [Grid.of(free).cost_to_go(goal) for free, goal in maps]
    >>> task = base.adapt(maps, solved)
    >>> task.predict([(np.ones((6, 6)), (2, 3))]).fields.shape
    (1, 6, 6)
    """

    kind: ClassVar[str] = "guidance"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (CostToGo,)

    def __init__(self, encoder: MapEncoder) -> None:
        super().__init__(encoder)
        # no zeros: gradients reach the features through the mean that they start from; the coarse cost counts whole
        mean = nn.init.normal_(torch.empty(encoder.features + 1), std=encoder.features**-0.5)
        mean[-2:] = torch.tensor([1.0, 0.0])
        self.prior = nn.Parameter(mean)
        self.log_ridge = nn.Parameter(torch.tensor(math.log(0.1)))

    def config(self) -> dict[str, Any]:
        return {}

    def guess_space(self, targets: Any) -> OutputSpace:
        """Fields, whatever they are given as."""
        return CostToGo()

    def embed(self, prepared: Tensor) -> Tensor:
        """Features of every cell, a constant, and the straight cost, [n, height, width, features + 2]."""
        features = self.encoder(prepared)
        straight = SCALE * prepared[:, 3].unsqueeze(-1)
        return torch.cat([features, torch.ones_like(straight), straight], -1)

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        """Weights [features + 1]: (X'X / n + ridge I) w = X'y / n + ridge M, over the n known cells.

        y is what walls add to the straight cost. Each map counts alike, however many of its cells are known.
        """
        x, straight = support.inputs[..., :-1], support.inputs[..., -1]
        if support.targets.shape != straight.shape:
            cells, other = (" x ".join(map(str, t.shape[1:])) for t in (straight, support.targets))
            raise DataError(
                f"maps have {cells} cells, fields {other}; a field has a number for each cell of its map"
            )
        known = (support.targets >= 0).to(x.dtype)
        share = (known / known.sum((1, 2), keepdim=True).clamp(min=1)).flatten() / len(x)
        rows, added = x.flatten(0, 2), (support.targets - straight).flatten() / SCALE
        weighted = rows * share.unsqueeze(1)
        ridge = self.log_ridge.exp() / len(x)
        matrix = weighted.T @ rows + ridge * torch.eye(rows.shape[1], dtype=x.dtype, device=x.device)
        right = weighted.T @ added + ridge * self.prior
        solved = torch.cholesky_solve(right.unsqueeze(1), torch.linalg.cholesky(matrix))
        return {"weights": solved.squeeze(1)}

    def respond(self, state: dict[str, Tensor], inputs: Tensor, space: OutputSpace) -> Tensor:
        """Cost to go [m, height, width]; it is never under the straight cost, which cannot be too high."""
        added = inputs[..., :-1] @ state["weights"]
        # cut in use only: while training a cut would stop the gradient of every cell that is estimated too low
        out: Tensor = inputs[..., -1] + SCALE * (added if self.training else added.clamp(min=0))
        return out
