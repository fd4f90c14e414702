"""A dynamics model that adapts from the last transitions: what a robot does next, and how sure that is.

A network learns features of states and actions over many randomised robots. What differs from robot to robot is a
few numbers: coefficients of learned directions of the last layer, with a Gaussian prior. A handful of transitions
gives their posterior in closed form, and adding one costs a k x k update. Harrison et al. (2018), "Meta-Learning
Priors for Efficient Online Bayesian Regression" (ALPaCA), where every weight of the last layer is free; here, as in
Ingebrand et al. (2024), "Zero-Shot Reinforcement Learning via Function Encoders", all outputs share k coefficients, so
that one transition of a robot with 17 numbers gives 17 equations.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.encoders import Encoder
from kshot.encoders.sizes import whole
from kshot.errors import SettingError
from kshot.heads.ridge import with_constant
from kshot.learners import Learner
from kshot.tasks import Examples, InteractiveTask, Task
from kshot.tasks.spaces import Gaussian, Numbers, OutputSpace

REACH = 10.0
"""Predicted changes lie within so many of their standard deviations: what is beyond was never seen."""


class Dynamics(Learner):
    """Predicts the change of state, y = M'h + sum_k c_k B_k'h + e, h = (encoder(x), 1), c ~ N(0, I), e ~ N(0, s^2).

    An example is a transition: the input is the observation and the action, [observations + actions], the target how
    the observation changed, [observations].

    Args:
        encoder: of the inputs, with their mean and std, as `kshot.encoders.mlp(inputs, (192, 192), mean=, std=)`.
        outputs: numbers of an observation.
        directions: k, how many coefficients a robot has; 0: it does not adapt, it is free of context.
        scale: standard deviation of each output over the training data; None: 1.

    Raises:
        SettingError: sizes that are no whole numbers, or scales that are not above 0.

    >>> import kshot
    >>> learner = Dynamics(kshot.encoders.mlp(3, (8,)), outputs=2, directions=4)
    >>> task = learner.adapt(torch.zeros(5, 3), torch.ones(5, 2))
    >>> task.predict(torch.zeros(1, 3)).deviations.shape
    (1, 2)
    """

    kind: ClassVar[str] = "dynamics"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Numbers,)

    def __init__(
        self, encoder: Encoder, outputs: int, directions: int = 16, scale: Sequence[float] | None = None
    ) -> None:
        super().__init__(encoder)
        self.outputs = whole("outputs", outputs)
        if not isinstance(directions, int) or directions < 0:
            raise SettingError(
                f"directions is {directions!r}; it is a whole number of at least 0, for example 16"
            )
        self.directions = directions
        self.scale = [float(s) for s in scale] if scale is not None else [1.0] * self.outputs
        if len(self.scale) != self.outputs or not all(0 < s < math.inf for s in self.scale):
            raise SettingError(f"scale is {scale!r}; give {self.outputs} numbers above 0, one per output")
        rows = encoder.features + 1
        self.mean = nn.Parameter(torch.zeros(rows, self.outputs))
        drawn = (
            torch.randn(rows, self.directions, self.outputs) if directions else torch.zeros(rows, 0, outputs)
        )
        self.basis = nn.Parameter(drawn / math.sqrt(rows * max(directions, 1)))
        self.log_noise = nn.Parameter(torch.full((self.outputs,), math.log(0.5)))
        self.log_trust = nn.Parameter(torch.zeros(()))

    def config(self) -> dict[str, Any]:
        return {"outputs": self.outputs, "directions": self.directions, "scale": self.scale}

    def grown(self, directions: int, generator: torch.Generator) -> Dynamics:
        """A model that predicts as this one and has other directions to adapt in, drawn at random, to be trained."""
        other = Dynamics(copy.deepcopy(self.encoder), self.outputs, directions, self.scale)
        own = dict(self.named_parameters())
        with torch.no_grad():
            for name, number in other.named_parameters():
                if name != "basis":
                    number.copy_(own[name])
            drawn = torch.randn(other.basis.shape, generator=generator)
            other.basis.copy_(drawn / math.sqrt(len(self.mean) * max(directions, 1)))
        return other.train(self.training)

    def check_space(self, space: OutputSpace) -> None:
        super().check_space(space)
        if isinstance(space, Numbers) and space.dims != self.outputs:
            raise SettingError(
                f"this model predicts {self.outputs} numbers, the targets have {space.dims}; give the change of each "
                "number of the observation, or make a model with as many outputs"
            )

    def play_many(self, tasks: Sequence[InteractiveTask], generator: torch.Generator) -> list[float]:
        """The return of each robot under control by this model (see `MPC`), which adapts at every step.

        Raises:
            UnsupportedError: a task that is no robot's, or of another robot.
        """
        from kshot.control.practice import play_robots

        return play_robots(self, tasks, generator)

    def loss(self, task: Task) -> Tensor:
        """Huber's loss of the mean, in scaled units, and a tenth of the Gaussian negative log-likelihood.

        Feet that touch the ground make errors of heavy tails; by likelihood alone the numbers that are hard to
        predict, velocities above all, would hardly count, and they are what is planned for.
        """
        outputs, targets = self.answer(task)
        scale = targets.new_tensor(self.scale)
        huber = F.smooth_l1_loss(outputs.mean / scale, targets / scale, beta=0.5)
        return 2 * huber + 0.1 * task.space.loss(outputs, targets)

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        """The posterior of the coefficients: its precision [k, k], its mean [k], and the last layer at the mean."""
        evidence, pull = self.evidence(support.inputs, support.targets)
        return self.posterior(evidence.sum(0), pull.sum(0))

    def evidence(self, features: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
        """What each of n transitions adds: to the precision [n, k, k], and to precision times mean, [n, k].

        Args:
            features: [n, features], of the encoder. changes: of the observations, [n, outputs].
        """
        h = with_constant(features)
        basis = self.spanned(h)
        rest = changes / changes.new_tensor(self.scale) - h @ self.mean
        weighed = basis * (self.log_trust - 2 * self.log_noise).exp()
        return weighed @ basis.transpose(1, 2), (weighed @ rest.unsqueeze(2)).squeeze(2)

    def spanned(self, h: Tensor) -> Tensor:
        """What each coefficient does to each output, [n, k, outputs]."""
        return (h @ self.basis.flatten(1)).reshape(len(h), self.directions, self.outputs)

    def posterior(self, evidence: Tensor, pull: Tensor) -> dict[str, Tensor]:
        """From summed evidence [..., k, k] and pull [..., k] to the state of one robot, or of several."""
        precision = evidence + torch.eye(self.directions, dtype=evidence.dtype, device=evidence.device)
        root = torch.linalg.cholesky(precision)
        mean = torch.cholesky_solve(pull.unsqueeze(-1), root).squeeze(-1)
        weights = self.mean + torch.tensordot(mean, self.basis, dims=([-1], [1]))
        return {"precision": precision, "coefficients": mean, "weights": weights}

    def respond(self, state: dict[str, Tensor], inputs: Tensor, space: OutputSpace) -> Gaussian:
        """Mean and variance of the change, [m, outputs] each."""
        h = with_constant(inputs)
        scale = inputs.new_tensor(self.scale)
        variance = (2 * self.log_noise).exp().expand(len(h), -1)
        if self.directions:
            basis = self.spanned(h).transpose(1, 2)
            root = torch.linalg.cholesky(state["precision"])
            spread = torch.linalg.solve_triangular(root, basis.flatten(0, 1).T, upper=False)
            variance = variance + spread.square().sum(0).unflatten(0, (len(h), self.outputs))
        return Gaussian(h @ state["weights"] * scale, variance * scale.square())
