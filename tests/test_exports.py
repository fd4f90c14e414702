"""The public names: few, importable, documented; and `import kshot` drags nothing heavy along."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import kshot

HEAVY = ("torchvision", "PIL", "sklearn", "scipy", "matplotlib", "tensorboard", "wandb", "pandas", "mlflow")

DESCRIBED = {"forward", "sample", "draw"}
"""Methods of a protocol (nn.Module, TaskSource, Sampler), described there once for all."""


def packages() -> list[ModuleType]:
    """kshot and every unit of it that says what it exports."""
    names = [m.name for m in pkgutil.iter_modules(kshot.__path__) if not m.name.startswith("_")]
    modules = [kshot, *(importlib.import_module(f"kshot.{name}") for name in names)]
    return [m for m in modules if hasattr(m, "__all__")]


def test_at_most_25_public_names() -> None:
    assert len(kshot.__all__) <= 25
    assert len(set(kshot.__all__)) == len(kshot.__all__)


@pytest.mark.parametrize("module", packages(), ids=lambda m: m.__name__)
def test_exports_exist_and_are_sorted(module: ModuleType) -> None:
    for name in module.__all__:
        assert hasattr(module, name), f"{module.__name__}.__all__ names {name!r}, which does not exist"


@pytest.mark.parametrize("module", packages(), ids=lambda m: m.__name__)
def test_every_public_thing_has_a_docstring(module: ModuleType) -> None:
    bare = []
    if not module.__doc__:
        bare.append(module.__name__)
    for name in module.__all__:
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or inspect.isroutine(thing) or inspect.ismodule(thing)):
            continue
        if not _own_doc(thing):
            bare.append(f"{module.__name__}.{name}")
        if inspect.isclass(thing) and thing.__module__.startswith("kshot"):
            bare += [f"{module.__name__}.{name}.{m}" for m in _bare_methods(thing)]
    assert not bare, f"without docstring: {bare}"


def _own_doc(thing: object) -> bool:
    doc = getattr(thing, "__doc__", None)
    generated = inspect.isclass(thing) and doc is not None and doc.startswith(f"{thing.__name__}(")
    return bool(doc) and not generated


def _bare_methods(kind: type) -> list[str]:
    """Public methods that neither they nor any base class describe."""
    return [
        name
        for name, member in vars(kind).items()
        if not name.startswith("_")
        and name not in DESCRIBED
        and inspect.isfunction(member)
        and not inspect.getdoc(getattr(kind, name))
    ]


def test_import_is_light() -> None:
    """Optional and heavy modules are imported where they are used, not by `import kshot`."""
    code = (
        "import torch, sys; before = set(sys.modules)\n"
        "import kshot\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules and m not in before])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
