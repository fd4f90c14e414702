"""How large the inner steps are: one number, one per parameter, or one per layer and step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from kshot.errors import SettingError

if TYPE_CHECKING:
    from jaxtyping import Float


class Rates(nn.Module, ABC):
    """Base: the step size of a named tensor at an inner step. Learned rates are parameters."""

    name: ClassVar[str]

    def __init__(self, start: float) -> None:
        super().__init__()
        if not start > 0:
            raise SettingError(f"inner learning rate is {start!r}; it must be above 0, for example 0.4")
        self.start = float(start)

    @abstractmethod
    def make(self, moving: Mapping[str, Tensor], steps: int) -> None:
        """Create what is learned, for tensors of these names and shapes."""

    @abstractmethod
    def rate(self, name: str, step: int, like: Tensor) -> Tensor | float:
        """A number, or a tensor of the shape of `like`."""


class Fixed(Rates):
    """One number for all: MAML."""

    name: ClassVar[str] = "fixed"

    def make(self, moving: Mapping[str, Tensor], steps: int) -> None:
        return None

    def rate(self, name: str, step: int, like: Tensor) -> float:
        return self.start


class PerParameter(Rates):
    """A learned number for every single parameter: Meta-SGD (Li et al. 2017)."""

    name: ClassVar[str] = "per_parameter"

    def make(self, moving: Mapping[str, Tensor], steps: int) -> None:
        self.rates = nn.ParameterDict(
            {_key(name): torch.full_like(value, self.start) for name, value in moving.items()}
        )

    def rate(self, name: str, step: int, like: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return rows_like(self.rates[_key(name)], like)


class PerLayerPerStep(Rates):
    """A learned number per parameter tensor and inner step: MAML++ (Antoniou et al. 2019).

    Steps beyond the trained ones use the last step's numbers.
    """

    name: ClassVar[str] = "per_layer_per_step"

    def make(self, moving: Mapping[str, Tensor], steps: int) -> None:
        self.rates = nn.ParameterDict({_key(name): torch.full((steps,), self.start) for name in moving})

    def rate(self, name: str, step: int, like: Tensor) -> Float[Tensor, ""]:
        rates: Tensor = self.rates[_key(name)]
        return rates[min(step, len(rates) - 1)]


_RATES: dict[str, type[Rates]] = {r.name: r for r in (Fixed, PerParameter, PerLayerPerStep)}


def rates(name: str, start: float) -> Rates:
    """Rates by name: fixed, per_parameter or per_layer_per_step."""
    if name not in _RATES:
        raise SettingError(f"rates are {name!r}; choose one of {', '.join(_RATES)}")
    return _RATES[name](start)


def rows_like(value: Float[Tensor, ...], like: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """`value` with as many rows as `like`: cut, or filled up with the mean row.

    Heads are built for the task at hand, so one more class than in training gets the mean of what
    was learned for the trained ones.
    """
    rows = like.shape[0] if like.ndim else 0
    if value.shape == like.shape or value.ndim == 0:
        return value
    if rows <= value.shape[0]:
        return value[:rows]
    extra = value.mean(0, keepdim=True).expand(rows - value.shape[0], *value.shape[1:])
    return torch.cat([value, extra])


def _key(name: str) -> str:
    """Module attributes cannot hold dots."""
    return name.replace(".", "/")
