"""Maps of terrain whose costs nobody told.

A map says what kind of ground each cell is, not what it costs. A walk that somebody took from a start to a goal (see
`kshot.control.walks`) tells something about that: it went around what is dear.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from kshot.encoders import Encoder
from kshot.encoders.encoder import Read
from kshot.encoders.sizes import whole
from kshot.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Float


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
