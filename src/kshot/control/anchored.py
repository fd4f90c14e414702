"""Training of a model of dynamics whose coefficients are true parameters, which a simulation knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.control.dynamics import Dynamics, robust_loss
from kshot.control.motors import MotorDynamics
from kshot.encoders import MLP, Encoder, Identity
from kshot.encoders.sizes import whole
from kshot.errors import SettingError
from kshot.heads.ridge import with_constant
from kshot.learners import Learner
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Gaussian, Numbers, OutputSpace

SHARED = ("mean", "basis", "log_noise")
"""Weights that the model that is told and the one that adapts have in common, beside the encoder's."""


class Anchored(Learner):
    """Trains a `Dynamics` whose coefficients are the true parameters of the robots, which a simulation knows.

    y = M'h + sum_k c_k B_k'h + e as there, with c the scaled parameters, which are given as inputs. What is learned
    so predicts where parameters are told, and finds them where they are not: `adaptive()` is the same network with
    the parameters unknown, its prior their distribution in training.

    Args:
        encoder: `kshot.encoders.mlp` of observation, action and parameters, with mean and std; the parameters reach
            the last layer only.
        outputs, scale: as for `Dynamics`. parameters: how many of the last inputs are parameters.
        motors: how many of these, the first, are strengths, each of one of the last actions: see `MotorDynamics`.
    """

    kind: ClassVar[str] = "anchored_dynamics"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Numbers,)

    def __init__(
        self,
        encoder: Encoder,
        outputs: int,
        parameters: int,
        scale: Sequence[float] | None = None,
        motors: int = 0,
    ) -> None:
        super().__init__(encoder)
        inputs = getattr(encoder, "inputs", 0)
        self.told, self.motors = whole("parameters", parameters), whole("motors", motors, 0)
        if not isinstance(encoder, MLP) or inputs <= self.told + self.motors or not encoder.mean:
            raise SettingError(
                f"the encoder is {type(encoder).__name__} of {inputs} inputs, {parameters} of them parameters; give "
                "kshot.encoders.mlp of observation, action and parameters, with mean= and std="
            )
        if self.motors > self.told:
            raise SettingError(f"motors is {motors}, parameters {parameters}; strengths are parameters, too")
        self.model = Dynamics(Identity(encoder.features), outputs, self.told - self.motors, scale)

    def config(self) -> dict[str, Any]:
        motors = {"motors": self.motors} if self.motors else {}
        return {"outputs": self.model.outputs, "parameters": self.told, "scale": self.model.scale, **motors}

    def check_space(self, space: OutputSpace) -> None:
        self.model.check_space(space)

    def embed(self, prepared: Tensor) -> Tensor:
        """Features, and the scaled parameters that are no strengths, [n, features + parameters - motors]."""
        seen, known = prepared[:, : -self.told], prepared[:, -self.told :]
        if self.motors:
            seen = torch.cat([seen[:, : -self.motors], self._pushed(seen, known)], 1)
        features = self.encoder(torch.cat([seen, torch.zeros_like(known)], 1))
        return torch.cat([features, known[:, self.motors :]], 1)

    def _pushed(self, seen: Tensor, known: Tensor) -> Tensor:
        """Scaled actions times strengths: what the motors do."""
        encoder: Any = self.encoder
        mean, std = seen.new_tensor(encoder.mean), seen.new_tensor(encoder.std)
        actions = slice(-self.told - self.motors, -self.told)
        strengths = slice(len(mean) - self.told, len(mean) - self.told + self.motors)
        factor = known[:, : self.motors] * std[strengths] + mean[strengths]
        taken = seen[:, -self.motors :] * std[actions] + mean[actions]
        return (taken * factor - mean[actions]) / std[actions]

    def loss(self, task: Task) -> Tensor:
        return robust_loss(*self.answer(task), self.model.scale, task.space)

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        """Nothing: what differs between robots is told."""
        return {}

    def respond(self, state: dict[str, Tensor], inputs: Tensor, space: OutputSpace) -> Gaussian:
        own, features = self.model, self.encoder.features
        h, known = with_constant(inputs[:, :features]), inputs[:, features:]
        scale = inputs.new_tensor(own.scale)
        mean = h @ own.mean + (known.unsqueeze(2) * own.spanned(h)).sum(1)
        return Gaussian(mean * scale, ((2 * own.log_noise).exp() * scale.square()).expand(len(h), -1))

    @classmethod
    def of(cls, model: Dynamics) -> Anchored:
        """The model that `adaptive` gave, to be trained further with the parameters told.

        Raises:
            SettingError: its coefficients are no true parameters.
        """
        encoder, told = model.encoder, model.directions
        if not isinstance(encoder, MLP) or not model.parameters_scale or not encoder.mean:
            raise SettingError(
                f"{type(model).__name__} has {told} coefficients that are no parameters with a name; give a model that "
                "kshot.control.Anchored.adaptive() made"
            )
        scales = [
            own + more for own, more in zip((encoder.mean, encoder.std), model.parameters_scale, strict=True)
        ]
        wider = MLP(
            encoder.inputs + told,
            encoder.hidden,
            activation=encoder.activation,
            mean=scales[0],
            std=scales[1],
        )
        weights = {name: value.clone() for name, value in encoder.state_dict().items()}
        weights["layers.0.weight"] = F.pad(weights["layers.0.weight"], (0, told))
        wider.load_state_dict(weights)
        found = cls(wider, model.outputs, told, model.scale, getattr(model, "motors", 0))
        with torch.no_grad():
            for name in SHARED:
                getattr(found.model, name).copy_(getattr(model, name))
        return found.train(model.training)

    def adaptive(self) -> Dynamics:
        """The same model with the parameters unknown: it finds them in transitions."""
        cut, encoder, own = -self.told, self.encoder, self.model
        assert isinstance(encoder, MLP)
        smaller = MLP(
            encoder.inputs - self.told, encoder.hidden, activation=encoder.activation, mean=encoder.mean[:cut],
            std=encoder.std[:cut],
        )  # fmt: skip
        weights = {name: value.clone() for name, value in encoder.state_dict().items()}
        weights["layers.0.weight"] = weights["layers.0.weight"][:, :cut].clone()
        smaller.load_state_dict(weights)
        scales = [encoder.mean[cut:], encoder.std[cut:]]
        found = (
            MotorDynamics(smaller, own.outputs, self.told, own.scale, scales, self.motors)
            if self.motors
            else Dynamics(smaller, own.outputs, self.told, own.scale, scales)
        )
        with torch.no_grad():
            for name in SHARED:
                getattr(found, name).copy_(getattr(own, name))
            # errors of neighbouring transitions are alike, so each counts for less than one
            found.log_trust.fill_(-1.0)
        return found.train(self.training)
