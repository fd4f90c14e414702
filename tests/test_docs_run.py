"""Every example runs: the `>>>` in docstrings and the python blocks of README and docs."""

from __future__ import annotations

import doctest
import importlib
import os
import re
from pathlib import Path

import pytest

import kshot

ROOT = Path(kshot.__file__).parent
PROJECT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def modules() -> list[str]:
    names = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        if parts[-1] == "__main__":
            continue
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def pages() -> list[Path]:
    found = [*PROJECT.glob("README*.md"), *sorted((PROJECT / "docs").rglob("*.md"))]
    return [page for page in found if blocks(page.read_text(encoding="utf-8"))]


def blocks(text: str) -> list[tuple[int, str]]:
    """Line and code of each python block that is meant to run."""
    return [
        (text[: match.start()].count("\n") + 2, match.group(2))
        for match in BLOCK.finditer(text)
        if "no-run" not in match.group(1)
    ]


@pytest.mark.parametrize("name", modules())
def test_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_pages(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one page run in order and share their names; files they write go to a fresh folder."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__page__"}
    for line, code in blocks(page.read_text(encoding="utf-8")):
        padded = "\n" * (line - 1) + code  # so that a traceback names the page's own line
        if ">>>" in code:
            test = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), line)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
            assert runner.run(test, clear_globs=False).failed == 0, f"{page.name}, line {line}"
            names.update(test.globs)
        else:
            exec(compile(padded, os.fspath(page), "exec"), names)


def test_blocks_are_found() -> None:
    text = (
        "a\n```python\nx = 1\n```\n```python no-run\nfail()\n```\n```\nplain\n```\n```python\nx += 1\n```\n"
    )
    assert blocks(text) == [(3, "x = 1\n"), (12, "x += 1\n")]
