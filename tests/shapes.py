"""Shapes in signatures are checked while the tests run: `Float[Tensor, "n features"]` and its like.

The annotations are jaxtyping's (Kidger), which kshot itself never imports: Python leaves annotations alone, so
an installed kshot needs no jaxtyping. Here its import hook wraps every function of the packages below, and
beartype compares what goes in and what comes out with the shapes, also those shared between arguments. Only
shapes: wrong settings such as width="64" are for kshot's own errors to name.
"""

from __future__ import annotations

import builtins
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import beartype

PACKAGES = ("kshot.encoders", "kshot.engine", "kshot.tasks.spaces")
NAMES = ("Bool", "Float", "Int", "Shaped", "UInt8")


def check_shapes() -> None:
    """From now on, modules of `PACKAGES` are imported with their shapes checked."""
    for name in NAMES:  # the modules import these names for type checkers only
        setattr(builtins, name, getattr(jaxtyping, name))
    jaxtyping.install_import_hook(list(PACKAGES), "shapes.only_shapes")


def only_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """beartype on the annotations that say a shape; other functions stay as they are."""
    kept = {name: hint for name, hint in function.__annotations__.items() if says_shape(hint)}
    function.__annotations__ = kept
    return beartype(function) if kept else function


def says_shape(hint: Any) -> bool:
    """Is it a jaxtyping array, or does it hold one, as in a union?"""
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(says_shape(part) for part in typing.get_args(hint))
