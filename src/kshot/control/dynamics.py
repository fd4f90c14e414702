"""A dynamics model that adapts from the last transitions: what a robot does next, and how sure that is.

A network learns features of states and actions over many randomised robots. What differs from robot to robot is a
few numbers: coefficients of learned directions of the last layer, with a Gaussian prior. A handful of transitions
gives their posterior in closed form, and adding one costs a k x k update. Harrison et al. (2018), "Meta-Learning
Priors for Efficient Online Bayesian Regression" (ALPaCA), where every weight of the last layer is free; here, as in
Ingebrand et al. (2024), "Zero-Shot Reinforcement Learning via Function Encoders", all outputs share k coefficients, so
that one transition of a robot with 17 numbers gives 17 equations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.control.quadruped import Quadruped
from kshot.encoders import Encoder
from kshot.encoders.sizes import whole
from kshot.errors import SettingError, UnsupportedError
from kshot.heads.ridge import with_constant
from kshot.learners import Learner
from kshot.tasks import Examples, InteractiveTask, Task
from kshot.tasks.spaces import Gaussian, Numbers, OutputSpace

REACH = 10.0
"""Predicted changes lie within so many of their standard deviations: what is beyond was never seen."""

POINTWISE = (nn.ReLU, nn.SiLU, nn.Tanh)
"""Layers that do the same to rows and to columns."""


class Dynamics(Learner):
    """Predicts the change of state, y = M'h + sum_k c_k B_k'h + e, h = (encoder(x), 1), c ~ N(0, I), e ~ N(0, s^2).

    An example is a transition: the input is the observation and the action, [observations + actions], the target how
    the observation changed, [observations].

    Args:
        encoder: of the inputs, with their mean and std, as `kshot.encoders.mlp(inputs, (192, 192), mean=, std=)`.
        outputs: numbers of an observation.
        directions: k, how many coefficients a robot has; 0: it does not adapt, it is free of context.
        scale: standard deviation of each output over the training data; None: 1.
        parameters: mean and standard deviation of each true parameter in training, where the coefficients were
            anchored to them (see `Anchored`); None: they are numbers without a name.

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
        self, encoder: Encoder, outputs: int, directions: int = 16, scale: Sequence[float] | None = None,
        parameters: Sequence[Sequence[float]] | None = None,
    ) -> None:  # fmt: skip
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
        self.parameters_scale = [[float(x) for x in row] for row in parameters or []]
        if parameters and [len(row) for row in self.parameters_scale] != [self.directions] * 2:
            raise SettingError(
                f"parameters is {parameters!r}; give mean and deviation of {self.directions} parameters"
            )
        rows, linear = encoder.features + 1, self.linear()
        self.mean = nn.Parameter(torch.zeros(rows, self.outputs))
        drawn = torch.randn(rows, linear, self.outputs) if linear else torch.zeros(rows, 0, outputs)
        self.basis = nn.Parameter(drawn / math.sqrt(rows * max(linear, 1)))
        self.log_noise = nn.Parameter(torch.full((self.outputs,), math.log(0.5)))
        self.log_trust = nn.Parameter(torch.zeros(()))

    def linear(self) -> int:
        """How many of the coefficients are directions of the last layer: all."""
        return self.directions

    def config(self) -> dict[str, Any]:
        told = {"parameters": self.parameters_scale} if self.parameters_scale else {}
        return {"outputs": self.outputs, "directions": self.directions, "scale": self.scale, **told}

    def coefficients(self, parameters: Tensor) -> Tensor:
        """The coefficients of robots whose true parameters [n, k] are known, [n, k].

        Raises:
            UnsupportedError: they were not anchored to parameters.
        """
        if not self.parameters_scale:
            raise UnsupportedError(
                f"the {self.directions} coefficients of this model are no parameters with a name; train it by way of "
                "kshot.control.Anchored"
            )
        mean, std = (parameters.new_tensor(row) for row in self.parameters_scale)
        return (parameters - mean) / std

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
        from kshot.control.controlled import play_robots

        return play_robots(self, tasks, generator)

    def loss(self, task: Task) -> Tensor:
        """Huber's loss of the mean, in scaled units, and a tenth of the Gaussian negative log-likelihood.

        Feet that touch the ground make errors of heavy tails; by likelihood alone the numbers that are hard to
        predict, velocities above all, would hardly count, and they are what is planned for.
        """
        return robust_loss(*self.answer(task), self.scale, task.space)

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        """The posterior of the coefficients: its precision [k, k], its mean [k], and the last layer at the mean."""
        evidence, pull = self.evidence(support.inputs, support.targets)
        return self.posterior(evidence.sum(0), pull.sum(0))

    def evidence(self, embedded: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
        """What each of n transitions adds: to the precision [n, k, k], and to precision times mean, [n, k].

        Args:
            embedded: n transitions, as `embed` gives them. changes: of the observations, [n, outputs].
        """
        basis = self.effects(embedded)
        rest = changes / changes.new_tensor(self.scale) - self.expected(embedded)
        weighed = basis * (self.log_trust - 2 * self.log_noise).exp()
        return weighed @ basis.transpose(1, 2), (weighed @ rest.unsqueeze(2)).squeeze(2)

    def expected(self, embedded: Tensor) -> Tensor:
        """The change by a robot of which nothing is known, in scaled units, [n, outputs]."""
        return with_constant(embedded) @ self.mean

    def effects(self, embedded: Tensor) -> Tensor:
        """What each coefficient does to each output there, [n, k, outputs]."""
        return self.spanned(with_constant(embedded))

    def predicted(self, coefficients: Tensor, embedded: Tensor) -> Tensor:
        """The change by a robot of these coefficients [k], or by one for each row [n, k], in scaled units, [n, outputs]."""
        h, weights = with_constant(embedded), self.at(coefficients)
        return h @ weights if weights.ndim == 2 else torch.einsum("nf,nfd->nd", h, weights)

    def spanned(self, h: Tensor) -> Tensor:
        """What each direction of the last layer does to each output, [n, directions, outputs]."""
        return (h @ self.basis.flatten(1)).reshape(len(h), self.basis.shape[1], self.outputs)

    def posterior(self, evidence: Tensor, pull: Tensor) -> dict[str, Tensor]:
        """From summed evidence [..., k, k] and pull [..., k] to the state of one robot, or of several."""
        precision = evidence + torch.eye(self.directions, dtype=evidence.dtype, device=evidence.device)
        root = torch.linalg.cholesky(precision)
        mean = torch.cholesky_solve(pull.unsqueeze(-1), root).squeeze(-1)
        return {"precision": precision, "coefficients": mean, "weights": self.at(mean)}

    def at(self, coefficients: Tensor) -> Tensor:
        """The last layer at coefficients [..., k]: [..., features + 1, outputs]."""
        weights: Tensor = self.mean + torch.tensordot(coefficients, self.basis, dims=([-1], [1]))
        return weights

    def respond(self, state: dict[str, Tensor], inputs: Tensor, space: OutputSpace) -> Gaussian:
        """Mean and variance of the change, [m, outputs] each."""
        scale = inputs.new_tensor(self.scale)
        variance = (2 * self.log_noise).exp().expand(len(inputs), -1)
        if self.directions:
            basis = self.effects(inputs).transpose(1, 2)
            root = torch.linalg.cholesky(state["precision"])
            spread = torch.linalg.solve_triangular(root, basis.flatten(0, 1).T, upper=False)
            variance = variance + spread.square().sum(0).unflatten(0, (len(inputs), self.outputs))
        return Gaussian(self.predicted(state["coefficients"], inputs) * scale, variance * scale.square())

    def simulator(
        self, coefficients: Tensor, view: Quadruped | None = None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """A function from observations and actions of robots, [robots, plans, ...], to the observations after them.

        Args:
            coefficients: of each robot, [robots, k]. view: how the model sees observations; None: as they are.
        """
        weights = self.at(coefficients).transpose(1, 2)
        encoder: Any = self.encoder
        mean = weights.new_tensor(encoder.mean or [0.0] * encoder.inputs)[:, None]
        by = 1 / weights.new_tensor(encoder.std or [1.0] * encoder.inputs)[:, None]
        less, scale = -mean * by, weights.new_tensor(self.scale)[:, None]
        last, constant = weights[..., :-1], weights[..., -1:]

        @torch.no_grad()
        def advance(seen: Tensor, action: Tensor) -> Tensor:
            # columns: a number of all plans lies together, which makes what is done with few numbers cheap
            robots, plans, numbers = seen.shape
            now = before = seen.reshape(-1, numbers).T
            if view is not None:
                turn = view.turn(before)
                now = view.felt(view.turned(before, turn))
            h = torch.addcmul(less, torch.cat([now, action.reshape(robots * plans, -1).T]), by)
            for layer in encoder.layers:
                h = _through(layer, h)
            change = torch.baddbmm(constant, last, h.reshape(-1, robots, plans).transpose(0, 1))
            change = change.transpose(0, 1).flatten(1).clamp(-REACH, REACH) * scale
            after = before + (change if view is None else view.turned(change, turn, -1))
            return after.T.reshape(seen.shape)

        return advance


def _through(layer: nn.Module, columns: Tensor) -> Tensor:
    """A layer of what is in columns [inputs, n], [outputs, n]."""
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        return torch.addmm(layer.bias[:, None], layer.weight, columns)
    found: Tensor = layer(columns) if isinstance(layer, POINTWISE) else layer(columns.T).T
    return found


def robust_loss(outputs: Gaussian, targets: Tensor, scale: Sequence[float], space: OutputSpace) -> Tensor:
    """See `Dynamics.loss`."""
    by = targets.new_tensor(scale)
    huber = F.smooth_l1_loss(outputs.mean / by, targets / by, beta=0.5)
    return 2 * huber + 0.1 * space.loss(outputs, targets)
