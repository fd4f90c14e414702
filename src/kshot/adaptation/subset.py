"""Which numbers move when a model adapts. The engine sees only a tree of tensors.

A subset turns the parameters of a model into what moves (`initial`) and back (`apply`). Names
that begin with "head." belong to the head; the others to the body.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from kshot.errors import SettingError
from kshot.seeds import generator

Tensors = dict[str, Tensor]
HEAD = "head."


class Subset(ABC):
    """Base of all choices of what moves."""

    name: ClassVar[str]

    def spec(self) -> str:
        """The text that `subset` turns back into this choice."""
        return self.name

    @abstractmethod
    def initial(self, parameters: Mapping[str, Tensor], norms: frozenset[str]) -> Tensors:
        """What moves, at its start. `norms` names the scales and shifts of norm layers."""

    def apply(self, parameters: Mapping[str, Tensor], moving: Tensors) -> Tensors:
        """All parameters of the adapted model."""
        return {**parameters, **moving}


class Chosen(Subset):
    """Moves whole parameters, chosen by name."""

    name: ClassVar[str] = "full"

    def chooses(self, name: str) -> bool:
        """Does this parameter move?"""
        return True

    def initial(self, parameters: Mapping[str, Tensor], norms: frozenset[str]) -> Tensors:
        return {name: value for name, value in parameters.items() if self.chooses(name)}


class Full(Chosen):
    """Everything moves: MAML (Finn et al. 2017)."""


class HeadOnly(Chosen):
    """Only the head moves: ANIL (Raghu et al. 2020)."""

    name: ClassVar[str] = "head"

    def chooses(self, name: str) -> bool:
        return name.startswith(HEAD)


class Body(Chosen):
    """Only the body moves: BOIL (Oh et al. 2021)."""

    name: ClassVar[str] = "body"

    def chooses(self, name: str) -> bool:
        return not name.startswith(HEAD)


class Bias(Chosen):
    """Biases and the head move: BitFit (Ben Zaken et al. 2022)."""

    name: ClassVar[str] = "bias"

    def chooses(self, name: str) -> bool:
        return name.startswith(HEAD) or name.endswith("bias")


class FiLM(Subset):
    """A scale and a shift behind every norm layer, and the head: Perez et al. (2018); for few shots
    Requeima et al. (2019). Norm weights w, b become w (1 + g), b + h."""

    name: ClassVar[str] = "film"

    def initial(self, parameters: Mapping[str, Tensor], norms: frozenset[str]) -> Tensors:
        found = [name for name in parameters if name in norms]
        if not found:
            raise SettingError(
                "film moves scales and shifts of norm layers and this encoder has none; use lora or full"
            )
        moving = {"film:" + name: torch.zeros_like(parameters[name]) for name in found}
        return {**moving, **HeadOnly().initial(parameters, norms)}

    def apply(self, parameters: Mapping[str, Tensor], moving: Tensors) -> Tensors:
        out = dict(parameters)
        for key, delta in moving.items():
            name = key.removeprefix("film:")
            if name == key:
                out[name] = delta
            else:
                scale = name.endswith("weight")
                out[name] = parameters[name] * (1 + delta) if scale else parameters[name] + delta
        return out


class LoRA(Subset):
    """Low-rank changes W + B A of every body weight with two or more axes, and the head: Hu et al. (2022)."""

    name: ClassVar[str] = "lora"

    def __init__(self, rank: int = 4) -> None:
        if rank < 1:
            raise SettingError(f"rank is {rank}; a low-rank change has rank 1 or more")
        self.rank = rank
        self._noise: dict[tuple[str, int], Tensor] = {}

    def spec(self) -> str:
        return f"lora:{self.rank}"

    def initial(self, parameters: Mapping[str, Tensor], norms: frozenset[str]) -> Tensors:
        moving: Tensors = {}
        for name, value in parameters.items():
            if value.ndim >= 2 and not name.startswith(HEAD):
                rows, columns = value.shape[0], value[0].numel()
                moving["lora.a:" + name] = self._start(name, columns).to(value) / columns**0.5
                moving["lora.b:" + name] = value.new_zeros(rows, self.rank)
        return {**moving, **HeadOnly().initial(parameters, norms)}

    def _start(self, name: str, columns: int) -> Tensor:
        """The same start of A for every task, drawn once: under vmap a draw would differ from task to task."""
        key = (name, columns)
        if key not in self._noise:
            self._noise[key] = torch.randn(self.rank, columns, generator=generator(0, "lora", name))
        return self._noise[key]

    def apply(self, parameters: Mapping[str, Tensor], moving: Tensors) -> Tensors:
        out = dict(parameters)
        for key, value in moving.items():
            kind, _, name = key.partition(":")
            if not name:
                out[key] = value
            elif kind == "lora.b":
                change = value @ moving["lora.a:" + name]
                out[name] = parameters[name] + change.reshape(parameters[name].shape)
        return out


_SUBSETS: dict[str, type[Subset]] = {s.name: s for s in (Full, HeadOnly, Body, Bias, FiLM, LoRA)}


def subset(spec: str | Subset) -> Subset:
    """A subset by its text: full, head, body, bias, film, lora or lora:RANK.

    >>> subset("lora:2").spec()
    'lora:2'
    """
    if isinstance(spec, Subset):
        return spec
    name, _, rank = spec.partition(":")
    if name not in _SUBSETS or (rank and (name != "lora" or not rank.isdigit())):
        raise SettingError(f"what moves is {spec!r}; choose one of {', '.join(_SUBSETS)} or lora:RANK")
    return LoRA(int(rank)) if rank else _SUBSETS[name]()


def norm_parameters(module: nn.Module, prefix: str = "") -> frozenset[str]:
    """Names of the scales and shifts of all norm layers of `module`, each with `prefix` before it."""
    kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
    return frozenset(
        f"{prefix}{path}.{name}" if path else f"{prefix}{name}"
        for path, layer in module.named_modules()
        if isinstance(layer, kinds)
        for name, _ in layer.named_parameters(recurse=False)
    )
