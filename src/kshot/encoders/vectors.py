"""Rows of numbers as inputs, and the encoders for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from kshot.encoders.encoder import Encoder, GraphInput, Read
from kshot.encoders.images import ImageEncoder
from kshot.encoders.sizes import check_scale, whole, whole_numbers
from kshot.errors import DataError, SettingError

if TYPE_CHECKING:
    from jaxtyping import Float


class VectorEncoder(Encoder):
    """Base of encoders of rows [n, inputs].

    Args:
        inputs: numbers in a row.
        mean, std: per column, subtracted from and divided into the values; None: the values as they are.
    """

    modality: ClassVar[str] = "vector"

    def __init__(
        self, inputs: int, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.inputs = whole("inputs", inputs)
        check_scale(mean or (), std or (), self.inputs, "column")
        self.mean, self.std = list(mean or []), list(std or [])

    def vector_config(self) -> dict[str, Any]:
        """The part of `config()` that belongs to the inputs."""
        scale = {"mean": self.mean, "std": self.std} if self.mean else {}
        return {"inputs": self.inputs, **scale}

    def read(self, inputs: Any) -> Read:
        try:
            x = inputs if isinstance(inputs, Tensor) else torch.as_tensor(np.asarray(inputs, dtype=None))
        except (TypeError, ValueError) as cause:
            raise DataError(
                f"rows cannot be read as numbers ({cause}); give an array [n, {self.inputs}]"
            ) from None
        x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
        x = x.reshape(-1, 1) if x.ndim == 1 and self.inputs == 1 else x.reshape(1, -1) if x.ndim == 1 else x
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise DataError(f"rows have shape {tuple(x.shape)}; this encoder takes [n, {self.inputs}]")
        bad = ~torch.isfinite(x).all(1)
        if bool(bad.any()):
            raise DataError(
                f"rows {bad.nonzero().flatten().tolist()[:5]} hold NaN or infinite values; "
                "every number must be finite: fill in or drop these rows"
            )
        return x

    def prepare(self, inputs: Read) -> Float[Tensor, "n {self.inputs}"]:
        if isinstance(inputs, list):
            inputs = torch.stack(inputs) if inputs else torch.zeros(0, self.inputs)
        weight = next(self.parameters(), None)
        rows: Tensor = inputs if weight is None else inputs.to(weight.dtype)
        return (rows - rows.new_tensor(self.mean)) / rows.new_tensor(self.std) if self.mean else rows

    def graph_inputs(self) -> list[GraphInput]:
        return [GraphInput("rows", (self.inputs,), torch.float32, "rows of numbers as they are, not scaled")]

    def from_graph(self, *inputs: Tensor) -> Tensor:
        rows = inputs[0]
        return (rows - rows.new_tensor(self.mean)) / rows.new_tensor(self.std) if self.mean else rows

    def to_graph(self, read: Read) -> list[Tensor]:
        return [(torch.stack(read) if isinstance(read, list) else read).float()]

    def from_json(self, value: Any) -> Tensor:
        row: Tensor = self.read([value])[0]
        return row


class Identity(VectorEncoder):
    """Rows are their own features: for features made elsewhere.

    >>> import torch
    >>> Identity(3)(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """

    kind: ClassVar[str] = "identity"

    def __init__(
        self, inputs: int, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        super().__init__(inputs, mean, std)
        self.features = self.inputs

    def config(self) -> dict[str, Any]:
        return self.vector_config()

    def forward(self, x: Float[Tensor, "n {self.inputs}"]) -> Float[Tensor, "n {self.features}"]:
        return x


class MLP(VectorEncoder):
    """Fully connected layers with ReLU (or "tanh", "silu"); rows [n, inputs] to [n, hidden[-1]].

    Raises:
        SettingError: an unknown activation, or a size that is no whole number above 0.

    >>> import torch
    >>> MLP(1, (40, 40))(torch.zeros(5, 1)).shape
    torch.Size([5, 40])
    """

    kind: ClassVar[str] = "mlp"

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int] = (40, 40),
        *,
        activation: str = "relu",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(inputs, mean, std)
        makers = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}
        if activation not in makers:
            raise SettingError(f"activation is {activation!r}; choose one of {', '.join(makers)}")
        self.hidden, self.activation = whole_numbers("hidden", hidden, some=False), activation
        sizes = (self.inputs, *self.hidden)
        layers: list[nn.Module] = []
        for i, o in zip(sizes, self.hidden, strict=False):
            layers += [nn.Linear(i, o), makers[activation]()]
        self.layers = nn.Sequential(*layers)
        self.features = sizes[-1]

    def config(self) -> dict[str, Any]:
        return {**self.vector_config(), "hidden": list(self.hidden), "activation": self.activation}

    def forward(self, x: Float[Tensor, "n {self.inputs}"]) -> Float[Tensor, "n {self.features}"]:
        out: Tensor = self.layers(x)
        return out


class Pixels(ImageEncoder):
    """Raw pixels as features [n, channels * size * size]: the baseline that every encoder must beat."""

    kind: ClassVar[str] = "pixels"

    def __init__(
        self,
        size: int = 28,
        channels: int = 1,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(size, channels, mean, std)
        self.features = self.channels * self.size**2

    def config(self) -> dict[str, Any]:
        return self.image_config()

    def forward(
        self, x: Float[Tensor, "n {self.channels} {self.size} {self.size}"]
    ) -> Float[Tensor, "n {self.features}"]:
        return x.flatten(1)
