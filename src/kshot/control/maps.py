"""The encoder of maps with a goal: costs to go over coarse blocks, then features for every cell.

Tamar et al. (2016), "Value Iteration Networks": planning as layers of a network. Here it runs over blocks of 4 x 4
cells, with costs between neighbouring blocks that a convolution reads off the cells, so it is cheap and inexact;
what it misses is left to the features, and these to the head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.control.grids import MOVES, Cell, Grid
from kshot.encoders import Encoder
from kshot.encoders.encoder import Read
from kshot.encoders.sizes import whole
from kshot.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Float

PLANES = 5
"""Of a prepared map: free, cost over the cheapest, goal, straight cost to the goal, inside the map."""

SCALE = 16.0
"""Costs are given to the network in units of so many moves."""

FAR = 6.0
"""Of a block that has not been reached, in these units."""


class MapEncoder(Encoder):
    """Maps of any size with a goal to features of every cell, [n, height, width, features].

    Inputs are pairs (map, goal): a `Grid` or an array that is true where one may go, and a row and a column. The
    maps of one call have one size. In raw form they are a tensor [n, 2, height, width]: what entering a cell
    costs, 0 for walls; and 1 at the goal, else 0. The last feature is what the coarse cost to go adds to the
    straight one.

    Args:
        width: channels of cells; blocks have twice as many. features: of a cell. block: cells along its side.

    Raises:
        SettingError: a setting that is no whole number above 0, or fewer than 2 features.

    >>> encoder = MapEncoder(width=4, features=3)
    >>> read = encoder.read([(np.ones((6, 5)), (0, 4)), (np.eye(6, 5), (1, 1))])
    >>> encoder(encoder.prepare(read)).shape
    torch.Size([2, 6, 5, 3])
    """

    kind: ClassVar[str] = "map"
    modality: ClassVar[str] = "map"
    crossing: Tensor

    def __init__(self, width: int = 16, features: int = 9, block: int = 4) -> None:
        super().__init__()
        self.width, self.features, self.block = (
            whole("width", width), whole("features", features, 2), whole("block", block),
        )  # fmt: skip
        wide = 2 * self.width
        self.blocks = nn.Sequential(
            nn.Conv2d(PLANES, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, wide, block, block), nn.ReLU(),
            nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU(), nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.steps = nn.Conv2d(wide + len(MOVES), len(MOVES), 1)
        if self.steps.bias is not None:  # softplus of 0.5 is near 1: a block is crossed in as many moves
            nn.init.constant_(self.steps.bias, 0.5)
        self.mix = nn.Sequential(nn.Conv2d(wide + 2, wide, 3, padding=1), nn.ReLU())
        self.register_buffer("crossing", _crossing(self.block), persistent=False)
        self.cells = nn.Sequential(
            nn.Conv2d(PLANES + wide + 1, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, self.features - 1, 1),
        )  # fmt: skip

    def config(self) -> dict[str, Any]:
        return {"width": self.width, "features": self.features, "block": self.block}

    def read(self, inputs: Any) -> Read:
        if isinstance(inputs, Tensor):
            return _checked(inputs)
        try:
            pairs = [(as_grid(item[0]), item[1]) for item in inputs]
        except (TypeError, IndexError, KeyError):
            raise DataError(
                f"maps came as {type(inputs).__name__}; give a list of pairs (map, goal), or a tensor "
                "[n, 2, height, width] of costs and goals"
            ) from None
        sizes = sorted({grid.shape for grid, _ in pairs})
        if len(sizes) > 1:
            raise DataError(f"maps have sizes {sizes[:3]}; the maps of one call must have one size")
        rows = [planes(grid, goal) for grid, goal in pairs]
        return torch.stack(rows) if rows else torch.zeros(0, 2, 1, 1)

    def prepare(self, inputs: Read) -> Float[Tensor, "n 5 height width"]:
        raw = torch.stack(inputs) if isinstance(inputs, list) else inputs
        weight = self.steps.weight
        cost, goal = raw.to(weight.dtype).unbind(1)
        free = (cost > 0).to(cost.dtype)
        cheapest = torch.where(cost > 0, cost, torch.inf).amin((1, 2), keepdim=True)
        straight = cheapest * _far(goal)
        # a wall costs nothing here, its own plane says what it is
        relative = torch.where(cost > 0, cost / cheapest - 1, torch.zeros_like(cost))
        return torch.stack([free, relative, goal, straight / SCALE, torch.ones_like(free)], 1)

    def forward(self, x: Float[Tensor, "n 5 height width"]) -> Float[Tensor, "n height width features"]:
        height, width = x.shape[-2:]
        x = F.pad(
            x, (0, -width % self.block, 0, -height % self.block)
        )  # the last plane tells what is outside
        seen, ways = self.blocks(x), self._ways(x[:, :1])
        step = F.softplus(self.steps(torch.cat([seen, ways / self.block], 1))) * (self.block / SCALE)
        # what no move crosses is closed for certain; how dear the others are is learned
        coarse = _propagated(step + FAR * (ways == 0), F.max_pool2d(x[:, 2:3], self.block))
        more = coarse - F.avg_pool2d(x[:, 3:4], self.block)
        mixed = torch.cat([self.mix(torch.cat([seen, coarse, more], 1)), more], 1)
        fine = F.interpolate(mixed, scale_factor=float(self.block), mode="bilinear")
        added = F.interpolate(coarse, scale_factor=float(self.block), mode="bilinear") - x[:, 3:4]
        out = torch.cat([self.cells(torch.cat([x, fine], 1)), added], 1)
        return out[..., :height, :width].movedim(1, -1)

    def _ways(self, free: Float[Tensor, "n 1 height width"]) -> Float[Tensor, "n 8 rows columns"]:
        """How many moves lead from each block to each of its 8 neighbours."""
        height, width = free.shape[-2:]
        around = F.pad(free, (1, 1, 1, 1))
        near = [around[..., 1 + r : 1 + r + height, 1 + c : 1 + c + width] for r, c in MOVES]
        return F.conv2d(free * torch.cat(near, 1), self.crossing.to(free.dtype), stride=self.block)

    def profile(self, prepared: Float[Tensor, "n 5 height width"]) -> Float[Tensor, "n 1"]:
        """How rough the ground is: cost over the cheapest, mean over free cells. Walls may stand anywhere."""
        free = prepared[:, 0].sum((1, 2)).clamp(min=1)
        return (prepared[:, 1].sum((1, 2)) / free).unsqueeze(1)

    def from_json(self, value: Any) -> Tensor:
        """A JSON object {"map": rows of costs, 0 for walls, "goal": [row, column]}."""
        if not isinstance(value, Mapping) or not {"map", "goal"} <= set(value):
            raise DataError(f'a map is {str(value)[:60]!r}; give {{"map": rows, "goal": [row, column]}}')
        read: Tensor = self.read([(value["map"], value["goal"])])
        return read[0]


def _crossing(block: int) -> Tensor:
    """Which move from which cell of a block leads to which neighbouring block, [8 neighbours, 8 moves, block, block]."""
    found = torch.zeros(len(MOVES), len(MOVES), block, block)
    for move, (down, right) in enumerate(MOVES):
        for row in range(block):
            for column in range(block):
                to = ((row + down) // block, (column + right) // block)
                if to in MOVES:
                    found[MOVES.index(to), move, row, column] = 1
    return found


def _propagated(
    step: Float[Tensor, "n 8 rows columns"], goal: Float[Tensor, "n 1 rows columns"]
) -> Float[Tensor, "n 1 rows columns"]:
    """Cost to go of each block: V <- min(V, step + V of a neighbour), from the goal's block outwards."""
    rows, columns = goal.shape[-2:]
    value = FAR * (1 - goal)
    # 3 times the longer side: ways wind, but seldom more than that
    for _ in range(3 * max(rows, columns)):
        around = F.pad(value, (1, 1, 1, 1), value=FAR)
        near = [around[..., 1 + r : 1 + r + rows, 1 + c : 1 + c + columns] for r, c in MOVES]
        value = torch.minimum(value, (torch.cat(near, 1) + step).amin(1, keepdim=True))
    return value


def as_grid(given: Any) -> Grid:
    """A `Grid`, or one made from an array of costs with 0 (or false) for walls.

    Raises:
        DataError: no map of two axes, or NaN or a cost under 0 in it.
    """
    if isinstance(given, Grid):
        return given
    try:
        cost = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise DataError(
            f"a map cannot be read as numbers ({cause}); give rows of costs, 0 for walls"
        ) from None
    if cost.ndim != 2 or not bool(np.isfinite(cost).all()) or bool((cost < 0).any()):
        raise DataError(
            f"a map of shape {cost.shape} holds {_worst(cost)}; it has two axes and costs of at least 0, 0 for walls"
        )
    return Grid(np.where(cost > 0, cost, np.inf))


def _worst(cost: np.ndarray) -> str:
    if not np.isfinite(cost).all():
        return "NaN or infinite numbers"
    return f"numbers from {cost.min():g} to {cost.max():g}" if cost.size else "nothing"


def planes(grid: Grid, goal: Any) -> Tensor:
    """A map and its goal in raw form, [2, height, width].

    Raises:
        DataError: the goal lies outside the map or inside a wall.
    """
    row, column = grid.inside(goal, "goal")
    raw = torch.zeros(2, *grid.shape)
    raw[0] = torch.as_tensor(np.where(grid.free, grid.cost, 0.0))
    raw[1, row, column] = 1
    return raw


def goal_of(raw: Tensor) -> Cell:
    """The goal of a map in raw form."""
    row, column = divmod(int(raw[1].argmax()), raw.shape[-1])
    return row, column


def _checked(raw: Tensor) -> Tensor:
    """A tensor of maps in raw form, if it is one."""
    if raw.ndim != 4 or raw.shape[1] != 2:
        raise DataError(
            f"maps have shape {tuple(raw.shape)}; give [n, 2, height, width]: what entering a cell costs (0 for "
            "walls), and 1 at the goal"
        )
    raw = raw if raw.is_floating_point() else raw.to(torch.get_default_dtype())
    bad = ~torch.isfinite(raw).flatten(1).all(1) | (raw < 0).flatten(1).any(1)
    if bool(bad.any()):
        raise DataError(
            f"maps {bad.nonzero().flatten().tolist()[:5]} hold NaN, infinite or negative numbers; costs are at "
            "least 0, 0 for walls"
        )
    goals = (raw[:, 1] > 0).flatten(1).sum(1)
    walled = (raw[:, 1] > 0) & (raw[:, 0] == 0)
    wrong = (goals != 1) | walled.flatten(1).any(1)
    if bool(wrong.any()):
        raise DataError(
            f"maps {wrong.nonzero().flatten().tolist()[:5]} have no single goal in a free cell; the second plane "
            "is 1 at one free cell, else 0"
        )
    return raw


def _far(goal: Tensor) -> Tensor:
    """Chebyshev's distance of each cell to the goal, for goals [n, height, width]."""
    height, width = goal.shape[1:]
    rows = torch.arange(height, device=goal.device, dtype=goal.dtype)
    columns = torch.arange(width, device=goal.device, dtype=goal.dtype)
    row = (goal.sum(2) * rows).sum(1)[:, None, None]
    column = (goal.sum(1) * columns).sum(1)[:, None, None]
    return torch.maximum((rows[None, :, None] - row).abs(), (columns[None, None, :] - column).abs())
