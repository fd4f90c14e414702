"""House rules that a linter does not know, read from the source."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import kshot

ROOT = Path(kshot.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}

RANDOM_HOME = {"seeds.py"}
LOADERS = {"encoders/catalogue.py"}
"""May call torch.load: on weights that torchvision publishes and whose hash it has checked, never on a user's."""

GLOBAL_RANDOM = ("random.", "np.random", "numpy.random", "torch.manual_seed", "torch.seed", "torch.random.", "torch.cuda.manual_seed")  # fmt: skip
UNSAFE = ("pickle.", "cPickle.", "dill.", "joblib.", "torch.load", "torch.save", "marshal.", "shelve.")
LIMIT = 60


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a chain of names, else an empty text."""
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return node.id if isinstance(node, ast.Name) else ""


def uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Dotted names in use, and modules imported (with a dot behind), with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and dotted(node):
            yield node.lineno, dotted(node)
        if isinstance(node, ast.Import):
            yield from ((node.lineno, f"{alias.name}.") for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def offences(tree: ast.AST, banned: tuple[str, ...]) -> list[tuple[int, str]]:
    return sorted({(line, name) for line, name in uses(tree) if name.startswith(banned)})


def everywhere(banned: tuple[str, ...], allowed: set[str]) -> list[str]:
    return [
        f"{file}:{line} {name}"
        for file, tree in TREES.items()
        if file not in allowed
        for line, name in offences(tree, banned)
    ]


def test_no_print() -> None:
    calls = [
        f"{file}:{node.lineno}"
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func) == "print"
    ]
    assert not calls, f"print() in {calls}; the command line echoes, the rest returns"


def test_no_global_random_state() -> None:
    assert not everywhere(GLOBAL_RANDOM, RANDOM_HOME)


def test_bytes_are_never_executed() -> None:
    assert not everywhere(UNSAFE, LOADERS)
    allow = [
        f"{file}:{node.value.lineno}"
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False"
    ]
    assert not allow


def raises(tree: ast.AST) -> Iterator[tuple[int, bool]]:
    """Lines of `raise Kind(...)`, and whether the message carries a value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            parts = [*node.exc.args, *(k.value for k in node.exc.keywords)]
            yield node.lineno, any(_value(part) for part in parts)


def _value(part: ast.AST) -> bool:
    return any(isinstance(n, ast.FormattedValue) for n in ast.walk(part)) or not isinstance(
        part, ast.Constant
    )


def test_errors_name_the_value() -> None:
    found = [(file, line, named) for file, tree in TREES.items() for line, named in raises(tree)]
    bare = [f"{file}:{line}" for file, line, named in found if not named]
    share = 1 - len(bare) / len(found)
    assert share >= 0.8, f"{share:.0%} of {len(found)} raises name the value; these do not: {bare}"


def test_functions_are_short() -> None:
    long = [
        f"{file}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for file, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > LIMIT
    ]
    assert not long, long


def test_files_of_tests_have_names_of_their_own() -> None:
    """pytest imports them by name alone; of two with the same one, whichever comes second cannot be collected."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert not [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize(
    ("line", "banned"),
    [
        ("import random", GLOBAL_RANDOM),
        ("from numpy import random", GLOBAL_RANDOM),
        ("import numpy as np\nnp.random.rand()", GLOBAL_RANDOM),
        ("import torch\ntorch.manual_seed(0)", GLOBAL_RANDOM),
        ("import pickle", UNSAFE),
        ("from torch import load", UNSAFE),
        ("import torch\ntorch.load('x')", UNSAFE),
    ],
)
def test_the_rules_can_fail(line: str, banned: tuple[str, ...]) -> None:
    assert offences(ast.parse(line), banned)


def test_the_measure_of_raises_can_fail() -> None:
    text = "raise ValueError('bad')\nraise ValueError(f'{x} is bad')\nraise ValueError('a' f'{x}')\nraise"
    assert [named for _, named in raises(ast.parse(text))] == [False, True, True]
