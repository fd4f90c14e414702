"""Density: how likely an input is, after a few examples of its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from kshot.errors import DataError
from kshot.tasks.spaces.space import OutputSpace, register_space

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class DensityPrediction:
    """Answers for n inputs: `log_likelihood` [n] in nats; `unknown` [n] marks those below the base's limit."""

    log_likelihood: np.ndarray
    unknown: np.ndarray

    def __len__(self) -> int:
        return len(self.log_likelihood)

    def to_json(self) -> list[dict[str, Any]]:
        """One JSON object per input."""
        pairs = zip(self.log_likelihood.tolist(), self.unknown.tolist(), strict=True)
        return [{"log_likelihood": value, "unknown": unknown} for value, unknown in pairs]


@register_space
@dataclass(frozen=True)
class Density(OutputSpace):
    """How likely each input is; outputs are log-likelihoods [n] in nats. The examples have no labels.

    Args:
        dims: numbers in one input; log-likelihoods are divided by it, so that sizes compare.

    >>> Density(2).metrics(torch.tensor([-4.0, -8.0]), torch.zeros(2))["nats"]
    3.0
    """

    dims: int
    kind: ClassVar[str] = "density"
    metric: ClassVar[str] = "nats"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.dims < 1:
            raise DataError(f"dims is {self.dims}; an input has at least one number")

    @property
    def size(self) -> int:
        """One log-likelihood an input."""
        return 1

    def encode(self, targets: Any) -> Float[Tensor, " n"]:
        """What is judged is the input itself: n targets of any kind (None is the custom) become zeros [n]."""
        return torch.zeros(len(targets))

    def loss(self, outputs: Float[Tensor, " n"], targets: Any) -> Float[Tensor, ""]:
        """Negative log-likelihood in nats per dimension."""
        return -outputs.mean() / self.dims

    def metrics(self, outputs: Float[Tensor, " n"], targets: Any) -> dict[str, float]:
        """Nats per dimension: lower is better; divide by log 2 for bits."""
        nats = float(self.loss(outputs, targets))
        return {"nats": nats, "loss": nats}

    def decode(
        self, outputs: Float[Tensor, " n"], *, threshold: float = float("-inf"), **_: Any
    ) -> DensityPrediction:
        """Log-likelihoods as they are; below `threshold` an input is unknown."""
        values = outputs.double()
        return DensityPrediction(values.numpy(force=True), (values < threshold).numpy(force=True))

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "dims": self.dims}
