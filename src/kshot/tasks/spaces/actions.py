"""Actions: what to do, out of a few, or as real numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from kshot.errors import DataError
from kshot.tasks.spaces.numbers import Gaussian
from kshot.tasks.spaces.space import OutputSpace, register_space

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped


@dataclass(frozen=True)
class ActionPrediction:
    """Answers for n observations.

    Attributes:
        actions: the greedy action of each: [n] whole numbers, or [n, count] real ones.
        probabilities: [n, count] of each action, or None where actions are real numbers.
        deviations: [n, count] standard deviations of real actions, or None.
    """

    actions: np.ndarray
    probabilities: np.ndarray | None
    deviations: np.ndarray | None

    def __len__(self) -> int:
        return len(self.actions)

    def to_json(self) -> list[dict[str, Any]]:
        """One JSON object per observation."""
        name = "deviation" if self.probabilities is None else "probabilities"
        spread = self.deviations if self.probabilities is None else self.probabilities
        return [
            {"action": action, name: None if spread is None else spread[i].tolist()}
            for i, action in enumerate(self.actions.tolist())
        ]


@register_space
@dataclass(frozen=True)
class Actions(OutputSpace):
    """`count` actions to choose from, or `count` real numbers where `continuous`.

    Outputs are scores (logits) [n, count], or a `Gaussian` over real actions.

    Args:
        low, high: limits of real actions; the greedy action is cut to them.

    >>> Actions(3).encode([0, 2]).tolist()
    [0, 2]
    >>> Actions(2, continuous=True).encode([[0.5, -1.0]]).shape
    torch.Size([1, 2])
    """

    count: int
    continuous: bool = False
    low: float = -math.inf
    high: float = math.inf
    kind: ClassVar[str] = "actions"
    metric: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.count < 1 or not self.low < self.high:
            raise DataError(
                f"count is {self.count}, low {self.low}, high {self.high}; there is at least one action, "
                "and low lies under high"
            )

    @property
    def size(self) -> int:
        return self.count

    def encode(self, targets: Any) -> Shaped[Tensor, "n ..."]:
        """Actions taken by whoever is imitated: indices [n], or real numbers [n, count]."""
        values = targets if isinstance(targets, Tensor) else torch.as_tensor(np.asarray(targets))
        if self.continuous:
            return self._real(values)
        if values.ndim != 1 or values.is_floating_point():
            raise DataError(
                f"actions are {values.dtype} of shape {tuple(values.shape)}; give whole numbers [n], "
                "or Actions(count, continuous=True)"
            )
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < self.count:
            raise DataError(
                f"actions run from {int(values.min())} to {int(values.max())}; with {self.count} actions "
                f"they lie in 0..{self.count - 1}"
            )
        return values.long()

    def _real(self, values: Tensor) -> Float[Tensor, "n {self.count}"]:
        values = values if values.is_floating_point() else values.to(torch.get_default_dtype())
        if values.ndim != 2 or values.shape[1] != self.count:
            raise DataError(f"actions have shape {tuple(values.shape)}; give real numbers [n, {self.count}]")
        if not bool(torch.isfinite(values).all()):
            raise DataError("an action is NaN or infinite; every number must be finite: drop that step")
        return values

    def log_probability(
        self, outputs: Float[Tensor, "n {self.count}"] | Gaussian, actions: Shaped[Tensor, "n ..."]
    ) -> Float[Tensor, " n"]:
        """log pi(a | x) of each action, [n]; weigh it by returns for a policy gradient."""
        if isinstance(outputs, Gaussian):
            spread = torch.log(2 * math.pi * outputs.variance)
            return -0.5 * (spread + (actions - outputs.mean) ** 2 / outputs.variance).sum(1)
        return outputs.log_softmax(1).gather(1, actions[:, None])[:, 0]

    def loss(
        self, outputs: Float[Tensor, "n {self.count}"] | Gaussian, targets: Shaped[Tensor, "n ..."]
    ) -> Float[Tensor, ""]:
        """Behaviour cloning: the mean of -log pi(a | x). Pomerleau (1989), "ALVINN"."""
        return -self.log_probability(outputs, targets).mean()

    def metrics(self, outputs: Tensor | Gaussian, targets: Tensor) -> dict[str, float]:
        """The loss, and how often (or how nearly, mean squared error) the greedy action is the given one."""
        loss = float(self.loss(outputs, targets))
        if isinstance(outputs, Gaussian):
            greedy = outputs.mean.clamp(self.low, self.high)
            return {"loss": loss, "mse": float((greedy - targets).square().mean())}
        return {"loss": loss, "agreement": float((outputs.argmax(1) == targets).double().mean())}

    def decode(self, outputs: Tensor | Gaussian, *, temperature: float = 1.0, **_: Any) -> ActionPrediction:
        """The likeliest action for each input."""
        if isinstance(outputs, Gaussian):
            mean = outputs.mean.clamp(self.low, self.high).numpy(force=True)
            return ActionPrediction(mean, None, outputs.variance.sqrt().numpy(force=True))
        chance = torch.softmax(outputs.double() / temperature, 1).numpy(force=True)
        return ActionPrediction(outputs.argmax(1).numpy(force=True), chance, None)

    def to_json(self) -> dict[str, Any]:
        limits = {"low": self.low, "high": self.high}
        known = {name: value for name, value in limits.items() if math.isfinite(value)}
        return {"kind": self.kind, "count": self.count, "continuous": self.continuous, **known}
