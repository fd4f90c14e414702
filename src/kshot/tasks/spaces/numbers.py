"""Numbers: one or several real values per input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import DataError
from kshot.tasks.spaces.space import OutputSpace, register_space

if TYPE_CHECKING:
    from jaxtyping import Float


class Gaussian(NamedTuple):
    """Outputs with their own uncertainty: mean and variance, both [n, dims]."""

    mean: Float[Tensor, "n dims"]
    variance: Float[Tensor, "n dims"]


@dataclass(frozen=True)
class NumberPrediction:
    """Answers for n inputs: `values` and `deviations` (standard deviations; None: not known), [n, dims]."""

    values: np.ndarray
    deviations: np.ndarray | None

    def __len__(self) -> int:
        return len(self.values)

    def to_json(self) -> list[dict[str, Any]]:
        """One JSON object per input."""
        deviations = [None] * len(self) if self.deviations is None else self.deviations.tolist()
        return [
            {"value": value, "deviation": deviation}
            for value, deviation in zip(self.values.tolist(), deviations, strict=True)
        ]


@register_space
@dataclass(frozen=True)
class Numbers(OutputSpace):
    """`dims` real numbers; outputs are means [n, dims] or a `Gaussian`.

    >>> Numbers(1).encode([0.5, 1.0]).shape
    torch.Size([2, 1])
    """

    dims: int = 1
    kind: ClassVar[str] = "numbers"
    metric: ClassVar[str] = "mse"
    higher_is_better: ClassVar[bool] = False
    ranked: ClassVar[bool] = True

    @property
    def size(self) -> int:
        return self.dims

    def encode(self, targets: Any) -> Float[Tensor, "n {self.dims}"]:
        """n numbers or rows of numbers to [n, dims]."""
        values = targets if isinstance(targets, Tensor) else torch.as_tensor(np.asarray(targets))
        values = values if values.is_floating_point() else values.to(torch.get_default_dtype())
        values = values.reshape(len(values), -1)
        if values.shape[1] != self.dims:
            raise DataError(
                f"targets have {values.shape[1]} numbers each; this task has {self.dims}: give [n, {self.dims}]"
            )
        bad = ~torch.isfinite(values).all(1)
        if bool(bad.any()):
            raise DataError(
                f"targets {bad.nonzero().flatten().tolist()[:5]} hold NaN or infinite values; every target must be a "
                "finite number: fill in or leave out these examples"
            )
        return values

    def loss(
        self, outputs: Float[Tensor, "n {self.dims}"] | Gaussian, targets: Float[Tensor, "n {self.dims}"]
    ) -> Float[Tensor, ""]:
        """Mean squared error, or the Gaussian negative log-likelihood where a variance is given."""
        if isinstance(outputs, Gaussian):
            log_term = torch.log(2 * math.pi * outputs.variance)
            return 0.5 * (log_term + (targets - outputs.mean) ** 2 / outputs.variance).mean()
        return F.mse_loss(outputs, targets.to(outputs))  # torch before 2.14 does not differentiate two types

    def metrics(self, outputs: Tensor | Gaussian, targets: Tensor) -> dict[str, float]:
        mean = outputs.mean if isinstance(outputs, Gaussian) else outputs
        return {"mse": float(F.mse_loss(mean, targets)), "loss": float(self.loss(outputs, targets))}

    def decode(self, outputs: Float[Tensor, "n {self.dims}"] | Gaussian, **_: Any) -> NumberPrediction:
        if isinstance(outputs, Gaussian):
            return NumberPrediction(outputs.mean.numpy(force=True), outputs.variance.sqrt().numpy(force=True))
        return NumberPrediction(outputs.numpy(force=True), None)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "dims": self.dims}
