"""Cost to go as an answer: one number for every cell of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import DataError
from kshot.tasks.spaces import OutputSpace
from kshot.tasks.spaces.space import register_space

if TYPE_CHECKING:
    from jaxtyping import Float

UNKNOWN = -1.0
"""Stands for a cell whose cost is not known, or from which there is no way."""


@dataclass(frozen=True)
class CostPrediction:
    """Answers for n maps: `fields`, the estimated cost to go of every cell, [n, height, width]."""

    fields: np.ndarray

    def __len__(self) -> int:
        return len(self.fields)

    def to_json(self) -> list[dict[str, Any]]:
        """One JSON object per map."""
        return [{"field": field} for field in self.fields.tolist()]


@register_space
@dataclass(frozen=True)
class CostToGo(OutputSpace):
    """The cost from every cell of a map to its goal, [n, height, width].

    In targets infinite, NaN and negative numbers stand for cells that are walls, have no way, or whose cost
    nobody knows: of a map for which only a path is known, all cells beside it.

    >>> CostToGo().encode([[[0.0, 1.0], [float("inf"), 2.0]]]).tolist()
    [[[0.0, 1.0], [-1.0, 2.0]]]
    """

    kind: ClassVar[str] = "cost_to_go"
    metric: ClassVar[str] = "error"
    higher_is_better: ClassVar[bool] = False

    @property
    def size(self) -> int:
        return 1

    def encode(self, targets: Any) -> Float[Tensor, "n height width"]:
        try:
            values = targets if isinstance(targets, Tensor) else torch.as_tensor(np.asarray(targets, float))
        except (TypeError, ValueError) as cause:
            raise DataError(
                f"fields cannot be read as numbers ({cause}); give an array [n, height, width], all of one size"
            ) from None
        if values.ndim != 3:
            raise DataError(
                f"fields have shape {tuple(values.shape)}; give an array [n, height, width]: the cost to go from "
                "every cell"
            )
        values = values.to(torch.get_default_dtype()) if not values.is_floating_point() else values
        known = torch.isfinite(values) & (values >= 0)
        without = (~known.flatten(1).any(1)).nonzero().flatten().tolist()
        if without:
            raise DataError(f"fields {without[:5]} hold no known cost; solve these maps, or leave them out")
        return torch.where(known, values, torch.full_like(values, UNKNOWN))

    def loss(
        self, outputs: Float[Tensor, "n height width"], targets: Float[Tensor, "n height width"]
    ) -> Float[Tensor, ""]:
        """Mean of Huber's loss over known cells, in units of 4 moves."""
        known = (targets >= 0).to(outputs.dtype)
        each = F.smooth_l1_loss(outputs / 4, targets.to(outputs.dtype) / 4, reduction="none")
        return (each * known).sum() / known.sum().clamp(min=1)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """`error`: mean absolute error over known cells, in cost; `loss`."""
        known = targets >= 0
        error = float((outputs - targets)[known].abs().mean())
        return {"error": error, "loss": float(self.loss(outputs, targets))}

    def decode(self, outputs: Tensor, **_: Any) -> CostPrediction:
        return CostPrediction(outputs.numpy(force=True))

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind}
