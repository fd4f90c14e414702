"""What an answer is. A space owns its prediction type, its losses and metrics, and its JSON form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from kshot.errors import BundleError

Outputs = Any
"""What a learner returns for n inputs: a tensor [n, ...] or a named tuple of tensors, by space."""


class OutputSpace(ABC):
    """Base of all output spaces. Values are immutable and compare by content."""

    kind: ClassVar[str]
    metric: ClassVar[str]
    """Name of the main figure in `metrics`."""
    higher_is_better: ClassVar[bool] = True
    ranked: ClassVar[bool] = False
    """True where outputs are one score per class or number, so that closed-form heads apply."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many outputs a head needs for one input."""

    @abstractmethod
    def encode(self, targets: Any) -> Any:
        """Raw targets to tensors. Raises DataError for a target outside the space."""

    @abstractmethod
    def loss(self, outputs: Outputs, targets: Any) -> Tensor:
        """Mean loss, a scalar; `targets` are encoded."""

    @abstractmethod
    def metrics(self, outputs: Outputs, targets: Any) -> dict[str, float]:
        """Figures of one task, each a mean over its queries; `targets` are encoded."""

    @abstractmethod
    def decode(self, outputs: Outputs, **settings: Any) -> Any:
        """Outputs to the space's prediction."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """A JSON object that `space_from_json` turns back into an equal space."""


_SPACES: dict[str, type[OutputSpace]] = {}


def register_space(space: type[OutputSpace]) -> type[OutputSpace]:
    """Make a space known by its kind, so that saved tasks find it again (class decorator)."""
    _SPACES[space.kind] = space
    return space


def space_from_json(value: Mapping[str, Any]) -> OutputSpace:
    """The space that `to_json` described.

    Raises:
        BundleError: nobody registered such a kind.
    """
    kind = value.get("kind")
    if kind not in _SPACES:
        raise BundleError(
            f"output space {kind!r} is not known; known are {sorted(_SPACES)}: install the package that brings it"
        )
    return _SPACES[kind](**{key: item for key, item in value.items() if key != "kind"})
