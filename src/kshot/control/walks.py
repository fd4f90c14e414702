"""Walks over maps as answers: an output space, and how a path becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.control.grids import MOVES
from kshot.errors import DataError
from kshot.tasks.spaces import OutputSpace
from kshot.tasks.spaces.space import register_space

BESIDE = -1
"""Of a cell that a walk does not enter."""


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
