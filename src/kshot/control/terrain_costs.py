"""What unknown ground costs, learned from a few walks that were shown: inverse reinforcement learning on maps.

Somebody who knows the costs takes each step with probability softmax(-sharpness * cost to go by way of it); costs
are exp(theta) for each kind of ground, theta ~ N(prior, deviation^2), and adapting finds the likeliest theta by Newton's
method. The cost to go is differentiated with its cheapest way held fast, as it may be: Neu and Szepesvari (2007),
"Apprenticeship Learning using Inverse Reinforcement Learning and Gradient Methods"; the probability of a step after
Ramachandran and Amir (2007), "Bayesian Inverse Reinforcement Learning". Prior, deviation and sharpness are meta-learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from kshot.control.grids import Grid
from kshot.control.search import Route, search
from kshot.control.terrain import TerrainEncoder, ground
from kshot.control.walks import Walks, near, steps_taken
from kshot.errors import DataError, UnsupportedError
from kshot.learners import Adapted, Learner
from kshot.tasks import Examples
from kshot.tasks.spaces import OutputSpace

ROUNDS = 10
"""Of Newton's method; costs are found to some thousandths after half as many."""

NO_WAY = -1e4
"""Logarithm of how likely a move is that leads into a wall or where no way goes on."""


class TerrainCosts(Learner):
    """Learns what each kind of ground costs from a few walks over it; see `terrain_planner` for what to do with it.

    An example is a map of terrain with a goal, and the walk that was taken to it (see `Walks`).

    Args:
        encoder: says how many kinds there are.

    >>> from kshot.control import walk
    >>> ground = np.array([[1, 2, 1], [1, 2, 1], [1, 1, 1]])
    >>> around = walk([(0, 0), (1, 0), (2, 1), (1, 2), (0, 2)], (3, 3))  # 2 was avoided
    >>> costs = TerrainCosts(TerrainEncoder(2)).adapt([(ground, (0, 2))], [around]).state["log_costs"]
    >>> bool(costs[1] > costs[0])
    True
    """

    kind: ClassVar[str] = "terrain_costs"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Walks,)

    def __init__(self, encoder: TerrainEncoder) -> None:
        super().__init__(encoder)
        self.prior = nn.Parameter(torch.zeros(encoder.kinds))
        self.log_deviation = nn.Parameter(torch.zeros(()))
        self.log_sharpness = nn.Parameter(torch.zeros(()))

    def config(self) -> dict[str, Any]:
        return {}

    def guess_space(self, targets: Any) -> OutputSpace:
        """Walks, whatever they are given as."""
        return Walks()

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        """Logarithms of costs [kinds], and the precision of what is known about them [kinds, kinds]."""
        walks, maps = support.targets.long(), support.inputs
        if walks.shape != maps[:, 0].shape:
            raise DataError(
                f"maps have {tuple(maps.shape[2:])} cells, walks {tuple(walks.shape[1:])}; a walk has the cells of its map"
            )
        self._check_walks(maps, walks)
        taken = steps_taken(walks)
        where = taken.any(1)
        theta, sharpness = self.prior, self.log_sharpness.exp()
        ease = (-2 * self.log_deviation).exp()
        for _ in range(ROUNDS):
            spent, open_ = self._spent(maps, theta)
            # only cells of the walks count: [steps, moves, kinds]
            steps = spent.movedim((1, 2), (3, 4))[where]
            allowed, chosen = open_.movedim(1, 3)[where], taken.movedim(1, 3)[where]
            each = steps * theta.exp()
            share = self._scores(each.sum(2), allowed, sharpness).softmax(1)
            mean = (share.unsqueeze(2) * each).sum(1)
            slope = sharpness * (each[chosen] - mean).sum(0) + ease * (theta - self.prior)
            apart = each - mean.unsqueeze(1)
            bend = sharpness**2 * torch.einsum("sm,smk,sml->kl", share, apart, apart)
            precision = bend + ease * torch.eye(len(theta), dtype=theta.dtype, device=theta.device)
            step = torch.linalg.solve(precision, slope)
            # no step is longer than 1: a cost changes by a factor of e at most
            theta = theta - step * (step.square().sum() + 1e-12).rsqrt().clamp(max=1)
        return {"log_costs": theta, "precision": precision}

    def respond(self, state: dict[str, Tensor], inputs: Tensor, space: OutputSpace) -> Tensor:
        """See `Walks`: moves by how likely they are, costs, costs to go, [m, 10, height, width]."""
        costs = state["log_costs"].exp()
        spent, open_ = self._spent(inputs, state["log_costs"])
        ahead = torch.einsum("nmkhw,k->nmhw", spent, costs)
        chance = self._scores(ahead, open_, self.log_sharpness.exp()).log_softmax(1).clamp(min=NO_WAY)
        free, goal = inputs[:, :-1].sum(1) > 0, inputs[:, -1] > 0
        to_go = torch.where(open_, ahead, torch.inf).amin(1).masked_fill(~free, torch.inf)
        enter = torch.einsum("nkhw,k->nhw", inputs[:, :-1], costs).masked_fill(~free, torch.inf)
        return torch.cat([chance, enter.unsqueeze(1), to_go.masked_fill(goal, 0.0).unsqueeze(1)], 1)

    def _scores(self, ahead: Tensor, allowed: Tensor, sharpness: Tensor) -> Tensor:
        """Of moves, before softmax, for the costs that lie ahead by way of them."""
        return torch.where(allowed, -sharpness * ahead, torch.full_like(ahead, NO_WAY))

    def _spent(self, maps: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """How often each kind is entered on the cheapest way by each move, [n, moves, kinds, height, width], and which
        moves lead to the goal, [n, moves, height, width]."""
        kinds = maps[:, :-1]
        found = [_ways(one, goal, theta) for one, goal in zip(kinds, maps[:, -1], strict=True)]
        on, reached = (torch.stack(part).to(maps) for part in zip(*found, strict=True))
        there = near(reached, 0.0) > 0
        total = kinds + on  # entering the cell that a move leads to, and going on from there
        by_move = torch.stack([near(total[:, k], 0.0) for k in range(total.shape[1])], 2)
        return by_move, there

    def _check_walks(self, maps: Tensor, walks: Tensor) -> None:
        inside = (walks >= 0) & (maps[:, :-1].sum(1) == 0)
        ends = ((walks == 0) & (maps[:, -1] > 0)).flatten(1).any(1)
        for bad, says in (
            (inside.flatten(1).any(1), "lead through a wall"),
            (~ends, "do not end at the goal"),
        ):
            if bool(bad.any()):
                raise DataError(
                    f"walks {bad.nonzero().flatten().tolist()[:5]} {says} of their maps; give others"
                )


def _ways(kinds: Tensor, goal: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """For one map: how often each kind is entered on the cheapest way from each cell, [kinds, height, width], and from
    which cells there is one, [height, width]."""
    cost = torch.einsum("khw,k->hw", kinds, theta.detach().exp()).double().numpy(force=True)
    free = kinds.sum(0).numpy(force=True) > 0
    grid = Grid(np.where(free, np.maximum(cost, 1e-9), np.inf))
    place = np.unravel_index(int(goal.detach().argmax()), grid.shape)
    far, after = grid.toward(place)
    here = np.arange(len(after))
    after = np.where(after < 0, here, after)
    flat = kinds.flatten(1).double().numpy(force=True)
    entered = np.where(after == here, 0.0, flat[:, after])
    for _ in range(math.ceil(math.log2(len(here))) + 1):  # the sum along a way, by doubling
        entered, after = entered + entered[:, after], after[after]
    return (torch.as_tensor(entered.reshape(len(flat), *grid.shape)),
            torch.as_tensor(np.isfinite(far).reshape(grid.shape)))  # fmt: skip


@dataclass(frozen=True)
class TerrainPlanner:
    """Plans on ground whose costs were learned. Make one with `terrain_planner`.

    Attributes:
        task: the adapted `TerrainCosts`.
    """

    task: Adapted

    @property
    def costs(self) -> np.ndarray:
        """What entering each kind costs, in units of the cheapest, [kinds]."""
        found = np.exp(self.task.state["log_costs"].double().numpy(force=True))
        return np.asarray(found / found.min())

    @property
    def deviations(self) -> np.ndarray:
        """How unsure the logarithm of each cost is, [kinds]: of a kind that no walk met, as unsure as before."""
        known = self.task.state["precision"].double()
        return np.asarray(torch.linalg.inv(known).diagonal().sqrt().numpy(force=True))

    def grid(self, terrain: Any) -> Grid:
        """A map of terrain with the learned costs.

        Raises:
            DataError: numbers that are no kinds of ground.
        """
        return Grid(np.array([np.inf, *self.costs])[ground(terrain, len(self.costs))])

    def plan(self, terrain: Any, start: Any, goal: Any) -> Route:
        """The cheapest way by the learned costs, found by A*; `path` is None where there is none.

        Raises:
            DataError: no map of terrain, or a start or goal outside of it or in a wall.
        """
        return search(self.grid(terrain), start, goal)


def terrain_planner(task: Adapted) -> TerrainPlanner:
    """A planner with the costs that an adapted `TerrainCosts` learned.

    Raises:
        UnsupportedError: a task of another learner.
    """
    if not isinstance(task.learner, TerrainCosts):
        raise UnsupportedError(
            f"the task's learner is {type(task.learner).__name__}; adapt a kshot.control.TerrainCosts"
        )
    return TerrainPlanner(task)
