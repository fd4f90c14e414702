"""Conditional neural processes. Garnelo et al. (2018), "Conditional Neural Processes", arXiv:1807.01613."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.encoders import Encoder
from kshot.errors import SettingError
from kshot.heads.head import class_means
from kshot.learners.learner import Learner
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes, Gaussian, Numbers, OutputSpace

FLOOR = 0.1
"""Smallest standard deviation, as in the authors' code: sigma = 0.1 + 0.9 softplus(s)."""


class NeuralProcess(Learner):
    """A network reads the support set and answers; adapting is one forward pass (mechanism C).

    Numbers (equations 2 to 4): r_i = h(x_i, y_i), r = mean of r_i, (mu, sigma) = g(x, r).
    Classes (section 4.3): r_k = mean of h(x_i) over the support of class k. The paper puts all r_k side
    by side, which fixes the number of classes; here g scores one class at a time from (x, r_k, mean of
    r_k), so any number of ways works and the order of classes does not matter.

    Args:
        encoder: gives the features that stand for x.
        dims: numbers per target; 0 for classes.
        width: size of r and of the hidden layers of h and g.

    >>> import torch, kshot
    >>> learner = NeuralProcess(kshot.encoders.identity(1), dims=1, width=8)
    >>> task = learner.adapt(torch.tensor([[0.0], [1.0]]), [0.0, 1.0])
    >>> task.predict(torch.tensor([[0.5]])).deviations.shape
    (1, 1)
    """

    kind: ClassVar[str] = "neural_process"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Classes, Numbers)

    def __init__(self, encoder: Encoder, *, dims: int = 0, width: int = 128) -> None:
        super().__init__(encoder)
        if dims < 0 or width < 1:
            raise SettingError(
                f"dims is {dims}, width {width}; dims is 0 (classes) or more, width at least 1"
            )
        self.dims, self.width = dims, width
        self.h = _mlp(encoder.features + dims, width, width)
        self.g = _mlp(encoder.features + (width if dims else 2 * width), width, 2 * dims or 1)

    def config(self) -> dict[str, Any]:
        return {"dims": self.dims, "width": self.width}

    def check_space(self, space: OutputSpace) -> None:
        super().check_space(space)
        dims = space.dims if isinstance(space, Numbers) else 0
        if dims != self.dims:
            made = f"{self.dims} numbers" if self.dims else "classes"
            raise SettingError(
                f"this neural process answers with {made} (dims={self.dims}), the task asks for {space}; "
                f"make one with dims={dims}"
            )

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        """r [1, width] for numbers, r_k [classes, width] for classes."""
        if self.dims:
            r_i = self.h(torch.cat([support.inputs, support.targets], 1))
            return {"r": r_i.mean(0, keepdim=True)}
        return {"r": class_means(self.h(support.inputs), support.targets, space.size)}

    def respond(self, state: dict[str, Tensor], inputs: Tensor, space: OutputSpace) -> Tensor | Gaussian:
        """A `Gaussian` [m, dims], or scores [m, classes]."""
        r = state["r"]
        if self.dims:
            mu, s = self.g(torch.cat([inputs, r.expand(inputs.shape[0], -1)], 1)).chunk(2, 1)
            return Gaussian(mu, (FLOOR + (1 - FLOOR) * F.softplus(s)).square())
        each = torch.cat([r, r.mean(0, keepdim=True).expand_as(r)], 1)
        m, k = inputs.shape[0], len(r)
        pairs = [inputs[:, None].expand(m, k, inputs.shape[1]), each[None].expand(m, k, each.shape[1])]
        scores: Tensor = self.g(torch.cat(pairs, 2)).squeeze(2)
        return scores


def _mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    sizes = [inputs, width, width]
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))
