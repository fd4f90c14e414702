"""Calling a module with other parameters, from any thread, without touching the module.

torch's functional_call swaps a module's tensors for the time of the call, so two threads that
call one module meet. Each thread therefore swaps in a skeleton of its own: a copy of the module's
structure whose parameters hold no memory.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class _Skeletons(threading.local):
    def __init__(self) -> None:
        self.of: weakref.WeakKeyDictionary[nn.Module, nn.Module] = weakref.WeakKeyDictionary()


_SKELETONS = _Skeletons()


def call(module: nn.Module, parameters: Mapping[str, Tensor], *args: Any) -> Any:
    """`module(*args)` with `parameters` in place of its own; buffers stay the module's."""
    skeleton = _SKELETONS.of.get(module)
    if skeleton is None:
        skeleton = _SKELETONS.of[module] = _skeleton(module)
    for mine, theirs in zip(skeleton.modules(), module.modules(), strict=True):
        mine.training = theirs.training  # part by part: a frozen part stays frozen
    return functional_call(skeleton, {**dict(module.named_buffers()), **parameters}, args)


def _skeleton(module: nn.Module) -> nn.Module:
    memo: dict[int, Any] = {}
    for tensor in module.parameters():
        memo[id(tensor)] = nn.Parameter(torch.empty(tensor.shape, device="meta"), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty(buffer.shape, dtype=buffer.dtype, device="meta")
    return copy.deepcopy(module, memo)
