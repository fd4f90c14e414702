"""Who imports whom: the floors and walls of the house, read from the source itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kshot

ROOT = Path(kshot.__file__).parent

FLOORS: dict[str, int] = {
    "errors": 1, "seeds": 1, "client": 1,
    "tasks": 2, "encoders": 2, "heads": 2, "adaptation": 2, "engine": 2, "storage": 2, "tracking": 2,
    "data": 3, "learners": 3, "exporting": 3,
    "bundles": 4, "trust": 4, "training": 4, "evaluation": 4, "explanation": 4,
    "tuning": 5, "serving": 5, "testing": 5,
    "vision": 5, "text": 5, "recommend": 5, "control": 5, "tabular": 5,
    "estimators": 6, "cli": 6, "commandline": 6, "demo": 6, "__init__": 6, "__main__": 6,
}  # fmt: skip
"""A unit may import units of lower floors, and of its own floor where APART does not forbid it."""

MECHANISMS = {"tasks", "encoders", "heads", "adaptation", "engine", "storage", "tracking"}
DOMAINS = {"vision", "text", "recommend", "control", "tabular"}
APART = (MECHANISMS, DOMAINS)
"""Units of one such group never import one another."""

WALLS: dict[str, set[str]] = {
    "evaluation": {"tracking", "training"},
    "serving": {*DOMAINS, "training", "tuning"},
    **{domain: {"serving", "tuning", "testing"} for domain in DOMAINS},
}
"""What a unit must not import although it stands below."""

BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}


def unit_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def targets(node: ast.AST, package: str) -> list[str]:
    """Dotted names that an import statement of a module of `package` reaches."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
        return [f"{base}.{alias.name}" for alias in node.names] if base == "kshot" else [base]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        literal = node.args[0] if node.args else None
        if name in ("import_module", "__import__") and isinstance(literal, ast.Constant):
            return [str(literal.value)]
    return []


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes, also inside functions; not what only the type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield other
                yield from walk(other)
            continue
        yield child
        yield from walk(child)


def arrows_of(source: str, unit: str, package: str) -> set[tuple[str, str]]:
    found = set()
    for node in walk(ast.parse(source)):
        for name in targets(node, package):
            parts = name.split(".")
            if parts[0] != "kshot":
                continue
            other = parts[1] if len(parts) > 1 and (parts[1] in FLOORS or is_unit(parts[1])) else "__init__"
            if other != unit:
                found.add((unit, other))
    return found


def is_unit(name: str) -> bool:
    return (ROOT / name).is_dir() or (ROOT / f"{name}.py").exists()


def arrows() -> set[tuple[str, str, str]]:
    found = set()
    for path in sorted(ROOT.rglob("*.py")):
        package = ".".join(["kshot", *path.relative_to(ROOT).parts[:-1]])
        for unit, other in arrows_of(path.read_text(encoding="utf-8"), unit_of(path), package):
            found.add((unit, other, str(path.relative_to(ROOT))))
    return found


def allowed(unit: str, other: str) -> bool:
    sideways = any(unit in group and other in group for group in APART)
    return (
        FLOORS.get(other, 9) <= FLOORS.get(unit, 0) and not sideways and other not in WALLS.get(unit, set())
    )


def test_every_unit_has_a_floor() -> None:
    units = {unit_of(path) for path in ROOT.rglob("*.py")}
    assert units <= set(FLOORS), f"give {sorted(units - set(FLOORS))} a floor in tests/test_arrows.py"


def test_no_arrow_upwards_or_through_a_wall() -> None:
    wrong = sorted(arrow for arrow in arrows() if not allowed(arrow[0], arrow[1]))
    assert not wrong, "\n".join(f"{file}: {unit} must not import {other}" for unit, other, file in wrong)


def test_no_cycle_between_units() -> None:
    graph: dict[str, set[str]] = {}
    for unit, other, _ in arrows():
        graph.setdefault(unit, set()).add(other)
    done: set[str] = set()

    def visit(unit: str, trail: tuple[str, ...]) -> None:
        assert unit not in trail, f"cycle: {' -> '.join([*trail[trail.index(unit) :], unit])}"
        if unit not in done:
            for other in sorted(graph.get(unit, ())):
                visit(other, (*trail, unit))
            done.add(unit)

    for unit in sorted(graph):
        visit(unit, ())


def test_no_grab_bag_package() -> None:
    names = {path.stem for path in ROOT.rglob("*.py")} | {p.name for p in ROOT.rglob("*") if p.is_dir()}
    assert not names & BANNED_NAMES, f"name what is inside instead: {sorted(names & BANNED_NAMES)}"


@pytest.mark.parametrize(
    ("line", "arrow"),
    [
        ("from kshot.learners import Learner", ("engine", "learners")),
        ("def f():\n    import kshot.training", ("engine", "training")),
        ("from kshot import heads", ("engine", "heads")),
        ("from ..encoders import conv4", ("engine", "encoders")),
        ("import importlib\nimportlib.import_module('kshot.vision')", ("engine", "vision")),
        ("from kshot import fit", ("engine", "__init__")),
    ],
)
def test_the_walker_sees_forbidden_arrows(line: str, arrow: tuple[str, str]) -> None:
    """The checks above can fail."""
    assert arrows_of(line, "engine", "kshot.engine") == {arrow}
    assert not allowed(*arrow)


def test_type_checking_imports_are_no_arrows() -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from kshot.learners import Learner\n"
    assert arrows_of(text, "engine", "kshot.engine") == set()
