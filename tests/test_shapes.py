"""The shapes in signatures are really checked while the tests run, and cost an installed kshot nothing."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

import kshot
from kshot.encoders import Conv4, Identity, conv4, mlp
from kshot.errors import SettingError
from kshot.tasks.spaces import Classes, Numbers
from kshot.tasks.spaces.geometry import iou
from shapes import PACKAGES


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: conv4(8, size=16)(torch.rand(2, 1, 15, 16)),
        lambda: conv4(8, size=16)(torch.rand(2, 3, 16, 16)),
        lambda: conv4(8, size=16)(torch.zeros(2, 1, 16, 16, dtype=torch.uint8)),
        lambda: mlp(3)(torch.rand(3)),
        lambda: Classes(("a", "b")).loss(torch.rand(4, 3), torch.zeros(4, dtype=torch.long)),
        lambda: Classes(("a", "b")).loss(torch.rand(4, 2), torch.zeros(3, dtype=torch.long)),
        lambda: Numbers(2).loss(torch.rand(4, 2), torch.rand(4, 1)),
        lambda: iou(torch.rand(2, 4), torch.rand(3, 5)),
    ],
)
def test_a_wrong_shape_is_caught_where_it_arises(wrong: Callable[[], Any]) -> None:
    with pytest.raises(TypeCheckError):
        wrong()


def test_results_are_checked_against_the_object_itself() -> None:
    class Short(Conv4):
        @property
        def features(self) -> int:
            return 7

        @features.setter
        def features(self, value: int) -> None:
            pass

    with pytest.raises(TypeCheckError, match="return value"):
        Short(8, size=16)(torch.rand(2, 1, 16, 16))


def test_wrong_settings_are_left_to_our_own_errors() -> None:
    with pytest.raises(SettingError, match="width is '64'"):
        conv4("64")  # type: ignore[arg-type]


def test_shapes_hold_under_vmap() -> None:
    rows = torch.rand(3, 5, 2)
    assert torch.func.vmap(Identity(2))(rows).shape == (3, 5, 2)
    with pytest.raises(TypeCheckError):
        torch.func.vmap(Identity(5))(rows)


def modules() -> list[ModuleType]:
    found = [importlib.import_module(name) for name in PACKAGES]
    inner = [f"{m.__name__}.{part.name}" for m in found for part in pkgutil.iter_modules(m.__path__)]
    return [*found, *(importlib.import_module(name) for name in inner)]


def test_every_forward_of_ours_says_its_shapes() -> None:
    bare = [
        f"{module.__name__}.{kind.__name__}"
        for module in modules()
        for kind in vars(module).values()
        if inspect.isclass(kind) and kind.__module__ == module.__name__ and "forward" in vars(kind)
        if "Tensor," not in str(vars(kind)["forward"].__annotations__.get("return"))
    ]
    assert not bare, f"say the shapes of forward in {bare}"


def test_kshot_imports_no_jaxtyping() -> None:
    code = "import sys, kshot; print([m for m in ('jaxtyping', 'beartype') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"
    assert isinstance(kshot.encoders.mlp(2)(torch.rand(1, 2)), Tensor)
