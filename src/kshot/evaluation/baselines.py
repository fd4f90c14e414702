"""What any learner must beat, through the same `evaluate` on the same tasks.

Raw pixels with the nearest class mean, logistic regression on pixels, and fine-tuning a fresh
network on the support alone: no meta-training in any of them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from kshot.encoders import Encoder, conv4, pixels
from kshot.errors import SettingError
from kshot.learners import GradientLearner, Learner, ProtoNet, fine_tuning
from kshot.seeds import drawing
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes, OutputSpace


def nearest_mean(size: int = 28, channels: int = 1) -> ProtoNet:
    """The class whose mean picture is nearest, pixel by pixel."""
    return ProtoNet(pixels(size, channels))


class LogisticRegression(Learner):
    """scikit-learn's logistic regression on the features of the encoder, fitted to each support.

    Args:
        encoder: gives the features; `kshot.encoders.pixels(28)` for raw pixels.
        c: inverse strength of the L2 penalty.

    >>> import torch, kshot
    >>> learner = LogisticRegression(kshot.encoders.identity(2))
    >>> learner.adapt(torch.eye(2), ["a", "b"]).predict(torch.eye(2)).labels
    ['a', 'b']
    """

    kind: ClassVar[str] = "logistic_regression"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Classes,)

    def __init__(self, encoder: Encoder, c: float = 1.0) -> None:
        super().__init__(encoder)
        if not c > 0:
            raise SettingError(f"c is {c!r}; the inverse penalty must be above 0, for example 1.0")
        self.c = float(c)

    def config(self) -> dict[str, Any]:
        return {"c": self.c}

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        features, targets = support.inputs.double(), support.targets
        found = torch.unique(targets).tolist()
        weight = features.new_zeros(space.size, features.shape[1])
        bias = features.new_full((space.size,), -torch.inf)
        if len(found) == 1:  # nothing to tell apart: the only class seen is the answer
            bias[found] = 0.0
            return {"weight": weight, "bias": bias}
        model = _model(self.c)
        model.fit(features.numpy(force=True), targets.numpy(force=True))
        weight[found], bias[found] = _per_class(model)
        return {"weight": weight, "bias": bias}

    def respond(self, state: dict[str, Tensor], inputs: Tensor, space: OutputSpace) -> Tensor:
        return inputs.double() @ state["weight"].T + state["bias"]


def _model(c: float) -> Any:
    from sklearn.linear_model import LogisticRegression  # costs a second to import: only where used

    return LogisticRegression(C=c, max_iter=500)


def _per_class(model: Any) -> tuple[Tensor, Tensor]:
    """One weight row and bias per class; scikit-learn keeps a single row for two classes."""
    weight, bias = torch.from_numpy(np.asarray(model.coef_)), torch.from_numpy(np.asarray(model.intercept_))
    if len(weight) == 1:
        return torch.cat([torch.zeros_like(weight), weight]), torch.cat([torch.zeros_like(bias), bias])
    return weight, bias


def logistic_regression(size: int = 28, channels: int = 1) -> LogisticRegression:
    """Logistic regression on raw pixels."""
    return LogisticRegression(pixels(size, channels))


def from_scratch(
    size: int = 28, channels: int = 1, *, ways: int = 5, width: int = 32, steps: int = 30, seed: int = 0
) -> GradientLearner:
    """A fresh conv4 trained on the support alone: what deep learning does without meta-training."""
    with drawing(torch.device("cpu"), seed, "from scratch"):
        return fine_tuning(conv4(width, size=size, channels=channels), outputs=ways, steps=steps, rate=0.05)
