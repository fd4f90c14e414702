"""Motors that weaken, in a model of dynamics: what acts on a body is strength times action.

That is physics, and need not be learned: a robot with weak motors moves as a whole one does that is driven more softly. So
what was lived with whole motors tells of weak ones, and a model that knows it errs less about them than one in which each
strength is a direction of the last layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.control.dynamics import Dynamics
from kshot.control.quadruped import Quadruped
from kshot.encoders import Encoder
from kshot.encoders.sizes import whole
from kshot.errors import SettingError
from kshot.heads.ridge import with_constant

_SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: lambda x: (x > 0).to(x.dtype),
    nn.Tanh: lambda x: 1 - x.tanh().square(),
    nn.SiLU: lambda x: x.sigmoid() * (1 + x * (1 - x.sigmoid())),
}
"""Derivatives of the activations that `kshot.encoders.mlp` knows."""


class MotorDynamics(Dynamics):
    """A `Dynamics` whose first coefficients are the strengths of motors, which multiply actions before the network.

    y = M'h(s, d a) + sum_k c_k B_k'h(s, d a) + e for strengths d, an action a, and other coefficients c. The posterior is
    that of y made linear at the mean strengths of training, one step of Gauss and Newton; so it is in closed form,
    and transitions add up, come and go as they do there. Predictions then use the strengths that were found, within 0..1.

    Args:
        encoder: `kshot.encoders.mlp` of observation and action. outputs, directions, scale: as for `Dynamics`; the
            strengths count among the directions.
        parameters: mean and standard deviation of each parameter in training: of the strengths, then of the others.
        motors: how many of the last inputs are actions that a strength multiplies.

    Raises:
        SettingError: more motors than directions or inputs, or no parameters.

    >>> import kshot
    >>> encoder = kshot.encoders.mlp(3, (8,))
    >>> learner = MotorDynamics(encoder, 2, directions=2, parameters=[[0.9, 0.0], [0.2, 1.0]], motors=1)
    >>> task = learner.adapt(torch.zeros(5, 3), torch.ones(5, 2))
    >>> learner.strengths(task.state["coefficients"]).shape
    torch.Size([1])
    """

    kind: ClassVar[str] = "motor_dynamics"

    def __init__(
        self, encoder: Encoder, outputs: int, directions: int, scale: Sequence[float] | None = None,
        parameters: Sequence[Sequence[float]] | None = None, motors: int = 1,
    ) -> None:  # fmt: skip
        most = min(getattr(encoder, "inputs", 0) - 1, directions)
        if whole("motors", motors) > most or not hasattr(encoder, "layers"):
            raise SettingError(
                f"motors is {motors} and directions {directions}, the encoder is {type(encoder).__name__}; give "
                "kshot.encoders.mlp of observation and action, and as many directions and actions as motors at least"
            )
        if not parameters:
            raise SettingError(
                f"parameters is {parameters!r}; give mean and deviation of {directions} parameters, strengths first"
            )
        self.motors = motors  # read while the last layer is made
        super().__init__(encoder, outputs, directions, scale, parameters)

    def linear(self) -> int:
        """Directions of the last layer: coefficients that are no strengths."""
        return self.directions - self.motors

    def config(self) -> dict[str, Any]:
        return super().config() | {"motors": self.motors}

    def embed(self, prepared: Tensor) -> Tensor:
        """Transitions as they are: what they mean to the network depends on the strengths."""
        return prepared

    def strengths(self, coefficients: Tensor) -> Tensor:
        """Of the motors, within 0..1, [..., motors], at coefficients [..., k]."""
        mean, std = (coefficients.new_tensor(row[: self.motors]) for row in self.parameters_scale)
        return (coefficients[..., : self.motors] * std + mean).clamp(0, 1)

    def driven(self, embedded: Tensor, strengths: Tensor) -> Tensor:
        """Features of transitions [n, inputs] with these strengths [motors], or with some for each, [n, motors]."""
        encoder: Any = self.encoder
        cut = encoder.inputs - self.motors
        mean, std = self._scales(embedded)
        pushed = ((embedded[:, cut:] * std + mean) * strengths - mean) / std
        features: Tensor = encoder(torch.cat([embedded[:, :cut], pushed], 1))
        return features

    def _scales(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the actions in training."""
        encoder: Any = self.encoder
        none = ([0.0] * self.motors, [1.0] * self.motors)
        rows = (encoder.mean[-self.motors :], encoder.std[-self.motors :]) if encoder.mean else none
        return like.new_tensor(rows[0]), like.new_tensor(rows[1])

    def expected(self, embedded: Tensor) -> Tensor:
        """At the mean parameters."""
        return self.predicted(embedded.new_zeros(self.directions), embedded)

    def effects(self, embedded: Tensor) -> Tensor:
        """Slopes at the mean parameters: exact, by forward differentiation."""
        encoder: Any = self.encoder
        usual, by = (embedded.new_tensor(row[: self.motors]) for row in self.parameters_scale)
        mean, std = self._scales(embedded)
        cut = encoder.inputs - self.motors
        actions = embedded[:, cut:] * std + mean
        now = torch.cat([embedded[:, :cut], (actions * usual - mean) / std], 1)
        # each strength moves its own action only, [motors, n, inputs]
        moved = F.pad(torch.diag_embed(actions * by / std).transpose(0, 1), (cut, 0))
        for layer in encoder.layers:
            if isinstance(layer, nn.Linear):
                now, moved = layer(now), moved @ layer.weight.T
            else:
                moved = moved * _SLOPES[type(layer)](now)
                now = layer(now)
        slopes = (moved @ self.mean[:-1]).transpose(0, 1)
        return torch.cat([slopes, self.spanned(with_constant(now))], 1)

    def predicted(self, coefficients: Tensor, embedded: Tensor) -> Tensor:
        h = with_constant(self.driven(embedded, self.strengths(coefficients)))
        weights = self.at(coefficients)
        return h @ weights if weights.ndim == 2 else torch.einsum("nf,nfd->nd", h, weights)

    def at(self, coefficients: Tensor) -> Tensor:
        """The last layer, [..., features + 1, outputs]: of the coefficients that are no strengths."""
        return super().at(coefficients[..., self.motors :])

    def simulator(
        self, coefficients: Tensor, view: Quadruped | None = None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        advance, strengths = super().simulator(coefficients, view), self.strengths(coefficients).unsqueeze(1)
        return lambda seen, action: advance(seen, strengths * action)
