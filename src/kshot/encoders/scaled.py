"""Rows whose columns were brought to one scale, as their own features: for tables and for features made elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.encoders.vectors import VectorEncoder

if TYPE_CHECKING:
    from jaxtyping import Float

_CONSTANT = 1e-9
"""A column that varies by less than this share of its size is constant."""


class ScaledRows(VectorEncoder):
    """Rows x to (u(w x) - m) / s, with w a weight per column, u the division by a row's length (only with `unit`),
    m the mean row and s one number for all columns. Make it by `fitted`; it then travels with the task.

    >>> import torch
    >>> rows = torch.tensor([[1.0, 100.0], [2.0, 300.0], [3.0, 500.0]])
    >>> ScaledRows.fitted(rows, power=1.0)(rows).std(0, correction=0).round(decimals=6).tolist()
    [1.0, 1.0]
    """

    kind: ClassVar[str] = "scaled_rows"
    weight: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, inputs: int, unit: bool = False) -> None:
        super().__init__(inputs)
        self.features, self.unit = inputs, unit
        self.register_buffer("weight", torch.ones(inputs, dtype=torch.float64))
        self.register_buffer("centre", torch.zeros(inputs, dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))

    def config(self) -> dict[str, Any]:
        return {"inputs": self.inputs, "unit": self.unit}

    @classmethod
    def fitted(cls, rows: Tensor, *, power: float = 1.0, unit: bool = False) -> ScaledRows:
        """Scaled so that the columns of `rows` [n, d] vary by 1 on average.

        Args:
            power: each column is divided by its standard deviation to this power: 0 keeps the columns' own
                proportions, 1 makes all equal, 0.5 lies between. With a power above 0 a constant column is
                dropped: nothing says what a change of it would mean.
            unit: then make every row of length 1, so that rows are compared by direction (cosine).
        """
        made, exact = cls(rows.shape[1], unit), rows.double()
        if power:
            deviation = (exact - exact.mean(0)).square().mean(0).sqrt()  # faster than std(0)
            moves = deviation > _CONSTANT * exact.abs().amax(0)
            made.weight = torch.where(moves, deviation.clamp(min=1e-300) ** -power, 0.0)
        weighted = made._weighted(exact)
        made.centre = weighted.mean(0)
        spread = float((weighted - made.centre).square().mean().sqrt())
        if spread > _CONSTANT * float(weighted.abs().max()):
            made.scale = torch.tensor(spread, dtype=torch.float64)
        return made

    def _weighted(self, x: Tensor) -> Tensor:
        weighted = x * self.weight
        return F.normalize(weighted, dim=1) if self.unit else weighted

    def forward(self, x: Float[Tensor, "n {self.inputs}"]) -> Float[Tensor, "n {self.features}"]:
        return (self._weighted(x) - self.centre) / self.scale
