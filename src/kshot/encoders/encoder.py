"""The encoder: owns its inputs, turns them into features, and can be told apart from any other."""

from __future__ import annotations

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from kshot.errors import UnsupportedError

if TYPE_CHECKING:
    from jaxtyping import Float

Prepared = Any
"""Inputs as the network takes them: a tensor [n, ...], or a list of n tensors of unequal size."""
Read = Any
"""Inputs as read: a tensor [n, ...], or a list of n tensors or strings; nothing is lost yet."""


class GraphInput(NamedTuple):
    """An input of an exported graph.

    Attributes:
        name: as in the graph. shape: without the first axis, which counts inputs; None where a length is free.
        dtype: its number type. meaning: what belongs into it, in a sentence.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: torch.dtype
    meaning: str


class Encoder(nn.Module, ABC):
    """Base of all encoders: `read` -> `prepare` -> `forward`.

    A subclass sets `kind` (its name in saved files), keeps its constructor's arguments in
    `config()`, and says the number of features in `features`.
    """

    kind: ClassVar[str]
    modality: ClassVar[str]
    chunk: ClassVar[int] = 512
    """Inputs encoded at a time: bounds the memory of predicting thousands."""
    features: int
    runner: Any = None
    """What runs the network in its place where no gradient is asked; see `kshot.exporting.optimize_for_inference`."""
    run_free: ClassVar[tuple[int, ...]] = (0,)
    """Axes of `run`'s inputs whose length is free."""

    def __call__(self, *inputs: Any) -> Any:
        if self.runs_elsewhere(*inputs):
            return self.runner(*inputs)
        return super().__call__(*inputs)

    def runs_elsewhere(self, *inputs: Any) -> bool:
        """Is there a `runner` that may be asked now?"""
        plain = self.runner is None or self.training or torch.is_grad_enabled()
        return not plain and self.runner.takes(*inputs)

    def run(self, *inputs: Any) -> Any:
        """The network that a `runner` may replace, as it is; by default `forward`."""
        return self.forward(*inputs)

    def run_inputs(self, read: Read) -> tuple[Any, ...]:
        """What `run` takes, for inputs as read."""
        return (self.prepare(read),)

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON."""

    @abstractmethod
    def read(self, inputs: Any) -> Read:
        """Check what the user gave and bring it into one raw form. Raises DataError."""

    @abstractmethod
    def prepare(self, inputs: Read) -> Prepared:
        """Raw form to the network's input, a float tensor [n, ...], or a list of n tensors where they are of unequal
        size. Call it once."""

    @abstractmethod
    def from_json(self, value: Any) -> Any:
        """One input out of a JSON value, as `read` takes it. Raises DataError."""

    def to_json(self, item: Any) -> Any:
        """One input in raw form as the JSON value that `from_json` takes."""
        return item.tolist() if isinstance(item, Tensor) else item

    def graph_inputs(self) -> list[GraphInput]:
        """What an exported graph of this encoder takes, see `kshot.exporting`.

        Raises:
            UnsupportedError: it is not made of tensor operations alone.
        """
        raise self._no_graph()

    def from_graph(self, *inputs: Tensor) -> Tensor:
        """What `prepare` gives, from the inputs of an exported graph. Raises as `graph_inputs` does."""
        raise self._no_graph()

    def to_graph(self, read: Read) -> list[Tensor]:
        """The inputs of an exported graph for inputs as read: what is done outside of the graph. Raises as
        `graph_inputs` does."""
        raise self._no_graph()

    def _no_graph(self) -> UnsupportedError:
        return UnsupportedError(
            f"{self.kind} encoders are not made of tensor operations alone, so no graph of them can be written; export "
            "the head with inputs='features' and compute features by kshot, or serve the task by kshot serve"
        )

    def join(self, parts: Sequence[Any]) -> Any:
        """Prepared inputs of several sets in one; an encoder of inputs of unequal length pads or lists them."""
        if all(isinstance(part, Tensor) for part in parts) and len({part.shape[1:] for part in parts}) == 1:
            return torch.cat(list(parts))
        return [item for part in parts for item in part]

    def fingerprint(self) -> str:
        """SHA-256 over kind, configuration, preprocessing and every weight: equal means interchangeable."""
        digest = hashlib.sha256(identifying(self.kind, type(self), self.config()))
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor_bytes(tensor))
        return digest.hexdigest()

    def profile(self, prepared: Any) -> Float[Tensor, "n statistics"]:
        """Coarse statistics of prepared inputs, [n, statistics]; used to notice unfamiliar inputs."""
        if isinstance(prepared, list):
            return torch.cat([self.profile(item.unsqueeze(0)) for item in prepared])
        flat = prepared.flatten(1)
        return torch.stack([flat.mean(1), flat.std(1, correction=0)], 1)

    def digest(self, item: Any) -> str:
        """Content hash of one input in raw form."""
        if isinstance(item, Tensor):
            head = f"{item.dtype}{tuple(item.shape)}".encode()
            return hashlib.sha256(head + tensor_bytes(item)).hexdigest()[:32]
        return hashlib.sha256(str(item).encode()).hexdigest()[:32]


def identifying(kind: str, maker: type, config: Mapping[str, Any]) -> bytes:
    """Kind and settings for a fingerprint, without the settings that have their default value.

    So a setting that a later version adds, with a default that means "as before", leaves every old
    fingerprint as it was, and files of older versions still find their bases.
    """
    found = inspect.signature(maker).parameters
    defaults = {
        name: json.dumps(p.default, default=str) for name, p in found.items() if p.default is not p.empty
    }
    kept = {name: value for name, value in config.items() if json.dumps(value) != defaults.get(name)}
    return json.dumps([kind, kept], sort_keys=True).encode()


def tensor_bytes(tensor: Tensor) -> bytes:
    """The numbers of a tensor in row-major order, whatever its layout."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
