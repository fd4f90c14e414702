"""The two editions of the README agree in commands, code and figures, and the tables fit the rows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh.md"


def _blocks(page: Path) -> list[str]:
    return re.findall(r"```.*?\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S)


def _tables(page: Path) -> list[str]:
    return [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]


def test_both_editions_hold_the_same_commands_and_code() -> None:
    assert _blocks(ENGLISH) == _blocks(CHINESE)
    assert len(_blocks(ENGLISH)) >= 4


def test_both_editions_hold_the_same_figures() -> None:
    assert _tables(ENGLISH) == _tables(CHINESE)
    assert len(_tables(ENGLISH)) >= 6


def test_links_lead_somewhere() -> None:
    for page in (ENGLISH, CHINESE):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), f"{page.name} links to {target}, which is not there"


def test_tables_are_made_from_the_rows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tables", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
