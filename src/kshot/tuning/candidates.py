"""What is compared: closed-form heads on any features, and adapters that start from a base's weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from kshot.encoders import Encoder
from kshot.errors import SettingError
from kshot.heads import HEADS
from kshot.learners import Adapter, ClosedForm, Learner

ADAPTERS: Mapping[str, tuple[str, int, float]] = MappingProxyType(
    {"film": ("film", 10, 0.3), "lora": ("lora", 10, 0.1), "fine_tune": ("full", 20, 0.01)}
)
"""What moves, steps and rate of each adapter: chosen on crops of blood cells and playing cards, and on digits."""

HEADS_TRIED: Mapping[str, tuple[str, Mapping[str, float]]] = MappingProxyType(
    {
        "kernel_ridge": ("kernel_ridge", {"scale": 1.0, "width": 1.0, "ridge": 0.1, "gain": 10.0}),
        "smooth_kernel_ridge": ("kernel_ridge", {"scale": 3.0, "width": 0.3, "ridge": 1.0, "gain": 10.0}),
        "prototype": ("prototype", {"scale": 3.0}),
        "ridge": ("ridge", {"ridge": 0.3}),
        "lda": ("lda", {"floor": 1 / 3, "share": 10 / 3}),
    }
)
"""Heads and their scalars, for features whose columns vary by 1; `heads_on` brings them to any features."""


def heads_on(encoder: Encoder, features: Tensor) -> dict[str, ClosedForm]:
    """Every head of HEADS_TRIED on an encoder, its scalars brought to the scale of `features` [n, d]."""
    return {name: ClosedForm(encoder, _head_for(name, features)).eval() for name in HEADS_TRIED}


def _head_for(name: str, features: Tensor) -> Any:
    """Distances grow with the variance of the features, so scales and widths shrink and ridges and floors grow by it."""
    kind, scalars = HEADS_TRIED[name]
    spread = float(features.double().var(0, correction=0).mean()) or 1.0
    head = HEADS[kind]().to(features.dtype).requires_grad_(False)
    for scalar, value in scalars.items():
        factor = {"scale": 1 / spread, "width": 1 / spread, "floor": spread}.get(scalar, 1.0)
        if (kind, scalar) == ("ridge", "ridge"):
            factor = spread * features.shape[1]
        getattr(head, f"log_{scalar}").fill_(float(torch.tensor(value * factor).log()))
    return head


def adapter_on(base: Learner, name: str) -> Learner | str:
    """The adapter, or why there is none."""
    moves, steps, rate = ADAPTERS[name]
    if not isinstance(base, ClosedForm):
        return f"adapters start from closed-form bases, this one is a {type(base).__name__}"
    try:
        return Adapter.of(base, moves, steps=steps, rate=rate)
    except SettingError as cause:
        return str(cause)
