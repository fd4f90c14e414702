"""Maps of terrain whose costs nobody told, and walks over them that were shown.

A map says what kind of ground each cell is, not what it costs. A walk that somebody took from a start to a goal tells
something about that: it went around what is dear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.control.grids import MOVES
from kshot.encoders import Encoder
from kshot.encoders.encoder import Read
from kshot.encoders.sizes import whole
from kshot.errors import DataError
from kshot.tasks.spaces import OutputSpace
from kshot.tasks.spaces.space import register_space

if TYPE_CHECKING:
    from jaxtyping import Float

BESIDE = -1
"""Of a cell that a walk does not enter."""


def ground(terrain: Any, kinds: int) -> np.ndarray:
    """A map of terrain as an array.

    Raises:
        DataError: it has not two axes, or holds numbers that are no kinds.
    """
    found = np.asarray(terrain)
    if not (found.ndim == 2 and found.size and np.isin(found, np.arange(kinds + 1)).all()):
        raise DataError(
            f"terrain of shape {found.shape} holds {np.unique(found)[:8].tolist()}; it has two axes, 0 for walls and "
            f"1 to {kinds} for kinds of ground"
        )
    return found


class TerrainEncoder(Encoder):
    """Maps of terrain with a goal, as they are: [n, kinds + 1, height, width].

    Inputs are pairs (terrain, goal): whole numbers [height, width], 0 for walls and 1 to `kinds` for kinds of ground,
    and a row and a column. In raw form a map has a plane for each kind, 1 where it is, all 0 in walls, and a plane that is
    1 at the goal. A cell of several kinds has shares that sum to 1: give the raw form.

    Args:
        kinds: of ground.

    Raises:
        SettingError: no whole number above 1.

    >>> TerrainEncoder(2).read([(np.array([[1, 2], [0, 1]]), (0, 0))]).shape
    torch.Size([1, 3, 2, 2])
    """

    kind: ClassVar[str] = "terrain"
    modality: ClassVar[str] = "map"

    def __init__(self, kinds: int = 4) -> None:
        super().__init__()
        self.kinds = self.features = whole("kinds", kinds, 2)

    def config(self) -> dict[str, Any]:
        return {"kinds": self.kinds}

    def read(self, inputs: Any) -> Read:
        if isinstance(inputs, Tensor):
            return self._checked(inputs)
        try:
            pairs = [(np.asarray(item[0]), item[1]) for item in inputs]
        except (TypeError, IndexError, KeyError, ValueError):
            raise DataError(
                f"terrain came as {type(inputs).__name__}; give a list of pairs (map, goal), or a tensor "
                f"[n, {self.kinds + 1}, height, width] of a plane for each kind, and the goal"
            ) from None
        sizes = sorted({terrain.shape for terrain, _ in pairs})
        if len(sizes) > 1:
            raise DataError(f"maps have sizes {sizes[:3]}; the maps of one call must have one size")
        rows = [self.planes(terrain, goal) for terrain, goal in pairs]
        return torch.stack(rows) if rows else torch.zeros(0, self.kinds + 1, 1, 1)

    def planes(self, terrain: Any, goal: Any) -> Tensor:
        """A map in raw form, [kinds + 1, height, width].

        Raises:
            DataError: numbers that are no kinds, or a goal outside of the map or in a wall.
        """
        kinds = ground(terrain, self.kinds)
        raw = torch.zeros(self.kinds + 1, *kinds.shape)
        for kind in range(self.kinds):
            raw[kind] = torch.as_tensor(kinds == kind + 1)
        try:
            row, column = (int(part) for part in goal)
        except (TypeError, ValueError):
            raise DataError(f"goal is {goal!r}; give a row and a column, for example (0, 3)") from None
        if not (0 <= row < kinds.shape[0] and 0 <= column < kinds.shape[1]) or not kinds[row, column]:
            raise DataError(
                f"goal {(row, column)} lies in a wall or outside of {kinds.shape}; give a free cell"
            )
        raw[-1, row, column] = 1
        return raw

    def prepare(self, inputs: Read) -> Float[Tensor, "n planes height width"]:
        return (torch.stack(inputs) if isinstance(inputs, list) else inputs).to(torch.get_default_dtype())

    def forward(self, x: Float[Tensor, "n planes height width"]) -> Float[Tensor, "n planes height width"]:
        return x

    def profile(self, prepared: Float[Tensor, "n planes height width"]) -> Float[Tensor, "n 1"]:
        """The share of cells that are no wall."""
        return prepared[:, :-1].sum(1).mean((1, 2)).unsqueeze(1)

    def from_json(self, value: Any) -> Tensor:
        """A JSON object {"map": rows of kinds, 0 for walls, "goal": [row, column]}."""
        if not isinstance(value, Mapping) or not {"map", "goal"} <= set(value):
            raise DataError(f'terrain is {str(value)[:60]!r}; give {{"map": rows, "goal": [row, column]}}')
        read: Tensor = self.read([(value["map"], value["goal"])])
        return read[0]

    def _checked(self, raw: Tensor) -> Tensor:
        if raw.ndim != 4 or raw.shape[1] != self.kinds + 1:
            raise DataError(
                f"maps have shape {tuple(raw.shape)}; give [n, {self.kinds + 1}, height, width]: a plane for each kind of "
                "ground, and the goal"
            )
        raw = raw if raw.is_floating_point() else raw.to(torch.get_default_dtype())
        share, goal = raw[:, :-1].sum(1), raw[:, -1]
        good = (raw >= 0).flatten(1).all(1) & ((share - 1).abs() < 1e-4).logical_or(share == 0).flatten(
            1
        ).all(1)
        good &= ((goal > 0).flatten(1).sum(1) == 1) & ((goal == 0) | (share > 0)).flatten(1).all(1)
        if not bool(good.all()):
            raise DataError(
                f"maps {(~good).nonzero().flatten().tolist()[:5]} hold NaN, shares of kinds that do not sum to 0 (a wall) or "
                "1, or no single goal in a free cell"
            )
        return raw


@dataclass(frozen=True)
class WalkPrediction:
    """Answers for n maps: what entering each cell costs, and the cost to go, [n, height, width]; infinite for walls and
    where there is no way."""

    costs: np.ndarray
    fields: np.ndarray

    def __len__(self) -> int:
        return len(self.costs)

    def to_json(self) -> list[dict[str, Any]]:
        """One JSON object per map; null where there is no way."""
        return [{name: [[x if np.isfinite(x) else None for x in line] for line in rows]
                 for name, rows in (("costs", costs), ("field", field))}
                for costs, field in zip(self.costs.tolist(), self.fields.tolist(), strict=True)]  # fmt: skip


@register_space
@dataclass(frozen=True)
class Walks(OutputSpace):
    """A walk on each of n maps: how many moves are left at each of its cells, -1 beside it, [n, height, width].

    `walk(path, shape)` makes one of cells. Outputs are [n, 10, height, width]: logarithms of how likely each of the 8
    moves is, what entering the cell costs, and the cost to go.

    >>> Walks().encode(walk([(0, 0), (1, 1), (1, 2)], (2, 3))[None]).tolist()
    [[[2, -1, -1], [-1, 1, 0]]]
    """

    kind: ClassVar[str] = "walks"
    metric: ClassVar[str] = "agreement"

    @property
    def size(self) -> int:
        return len(MOVES) + 2

    def encode(self, targets: Any) -> Tensor:
        try:
            left = targets if isinstance(targets, Tensor) else torch.as_tensor(np.asarray(targets))
        except (TypeError, ValueError) as cause:
            raise DataError(f"walks cannot be read ({cause}); make each by kshot.control.walk") from None
        if left.ndim != 3:
            raise DataError(
                f"walks have shape {tuple(left.shape)}; give [n, height, width]: make each by kshot.control.walk"
            )
        left = left.long()
        bad = [place for place, one in enumerate(left) if not _is_walk(one)]
        if bad:
            raise DataError(
                f"walks {bad[:5]} are none: a walk has at least one move, counts down to 0 at its goal by cells that touch, "
                "and enters none twice; make it by kshot.control.walk"
            )
        return left

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """- mean log probability of the moves of the walks."""
        taken = steps_taken(targets)
        chance = torch.where(taken, outputs[:, : len(MOVES)], outputs.new_zeros(())).sum(1)
        return -chance.sum() / taken.sum().clamp(min=1)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """`agreement`: share of the walks' moves that are the likeliest; `loss`."""
        taken = steps_taken(targets)
        chance = outputs[:, : len(MOVES)]
        best = chance >= chance.amax(1, keepdim=True) - 1e-6
        return {
            "agreement": float((best & taken).sum() / taken.sum()),
            "loss": float(self.loss(outputs, targets)),
        }

    def decode(self, outputs: Tensor, **_: Any) -> WalkPrediction:
        found = outputs[:, len(MOVES) :].numpy(force=True)
        return WalkPrediction(found[:, 0], found[:, 1])

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind}


def near(x: Tensor, beyond: float) -> Tensor:
    """What stands in the cell that each move leads to, [n, 8, height, width] of [n, height, width]; `beyond` outside."""
    height, width = x.shape[-2:]
    around = F.pad(x, (1, 1, 1, 1), value=beyond)
    return torch.stack([around[..., 1 + r : 1 + r + height, 1 + c : 1 + c + width] for r, c in MOVES], -3)


def steps_taken(left: Tensor) -> Tensor:
    """Which move each walk takes in each cell, as [n, 8, height, width], true for one move in each cell but the last."""
    return (near(left, -9) == left.unsqueeze(1) - 1) & (left.unsqueeze(1) > 0)


def _is_walk(left: Tensor) -> bool:
    cells = left[left >= 0].sort().values
    if len(cells) < 2 or not torch.equal(cells, torch.arange(len(cells))) or bool((left < BESIDE).any()):
        return False
    return bool((steps_taken(left.unsqueeze(0)).sum(1) == 1).sum() == len(cells) - 1)


def walk(path: Sequence[Any], shape: tuple[int, int]) -> np.ndarray:
    """A walk as a target of `Walks`, [height, width].

    Args:
        path: cells (row, column) from start to goal, as `Route.path`. shape: of the map.

    Raises:
        DataError: no path of cells that touch, a cell outside of the map or entered twice.

    >>> walk([(0, 0), (0, 1)], (1, 3)).tolist()
    [[1, 0, -1]]
    """
    cells = np.asarray(path)
    if cells.ndim != 2 or cells.shape[1:] != (2,) or len(cells) < 2 or cells.dtype.kind not in "iu":
        raise DataError(f"a path is {str(path)[:60]}; give at least two cells, each a row and a column")
    if not (np.abs(np.diff(cells, axis=0)).max(1) == 1).all() or len(np.unique(cells, axis=0)) < len(cells):
        raise DataError(
            f"a path of {len(cells)} cells jumps, stays or enters one twice; each move goes to a neighbour"
        )
    if (cells < 0).any() or (cells >= np.array(shape)).any():
        raise DataError(f"a path leaves the map of shape {shape}; it runs to {cells.max(0).tolist()}")
    left = np.full(shape, BESIDE)
    left[tuple(cells.T)] = np.arange(len(cells))[::-1]
    return left
