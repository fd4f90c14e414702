"""Calling a module with other parameters, from any thread, without touching the module.

torch's functional_call swaps a module's tensors for the time of the call, so two threads that
call one module meet. Each thread therefore swaps into a skeleton of its own: a copy of the module's
structure whose parameters hold no memory. Where every tensor goes is looked up once.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class _Skeletons(threading.local):
    def __init__(self) -> None:
        self.of: weakref.WeakKeyDictionary[nn.Module, _Skeleton] = weakref.WeakKeyDictionary()


_SKELETONS = _Skeletons()


def call(module: nn.Module, parameters: Mapping[str, Tensor], *args: Any) -> Any:
    """`module(*args)` with `parameters` in place of its own; buffers stay the module's.

    Raises:
        KeyError: a parameter of the module is not in `parameters`.
    """
    skeleton = _SKELETONS.of.get(module)
    if skeleton is None or not skeleton.fits(module):
        skeleton = _SKELETONS.of[module] = _Skeleton(module)
    return skeleton(parameters, *args)


class _Skeleton:
    """A module's structure, and the places of its tensors; it holds no module and no parameter of the original."""

    def __init__(self, module: nn.Module) -> None:
        self.copy = _emptied(module)
        pairs = list(zip(self.copy.modules(), module.modules(), strict=True))
        self.pairs = [(mine, weakref.ref(theirs)) for mine, theirs in pairs]
        names: dict[int, str] = {}  # a tensor with two places goes by its first name, as in named_parameters
        for name, tensor in module.named_parameters():
            names.setdefault(id(tensor), name)
        self.parameters = [
            (mine, name, names[id(tensor)])
            for mine, theirs in pairs
            for name, tensor in theirs._parameters.items()
            if tensor is not None
        ]
        self.buffers = [(mine, weakref.ref(theirs)) for mine, theirs in pairs if theirs._buffers]

    def fits(self, module: nn.Module) -> bool:
        """Has the module still the parts that it had?"""
        count = 0
        for (_, known), part in zip(self.pairs, module.modules(), strict=False):
            if known() is not part:
                return False
            count += 1
        return count == len(self.pairs)

    def __call__(self, parameters: Mapping[str, Tensor], *args: Any) -> Any:
        for mine, known in self.pairs:
            theirs = known()
            assert theirs is not None
            mine.training = theirs.training  # part by part: a frozen part stays frozen
        for mine, known in self.buffers:
            theirs = known()
            assert theirs is not None
            mine._buffers.update(theirs._buffers)
        try:
            for mine, name, full in self.parameters:
                mine._parameters[name] = parameters[full]  # type: ignore[assignment]
            return self.copy(*args)
        finally:
            for mine, name, _ in self.parameters:
                mine._parameters[name] = None


def _emptied(module: nn.Module) -> nn.Module:
    memo: dict[int, Any] = {}
    for tensor in module.parameters():
        memo[id(tensor)] = nn.Parameter(torch.empty(tensor.shape, device="meta"), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty(buffer.shape, dtype=buffer.dtype, device="meta")
    return copy.deepcopy(module, memo)
