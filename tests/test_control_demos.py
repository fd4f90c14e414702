"""The demos of control, tiny: they end, compare on the same questions, and write their pictures."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from kshot.cli import app
from kshot.demo.bandit import run_bandit
from kshot.demo.maze import run_maze

PNG = b"\x89PNG\r\n\x1a\n"


def test_the_maze_is_told_and_drawn(tmp_path: Path) -> None:
    told = io.StringIO()
    found = run_maze(Console(file=told, width=100), out=tmp_path, steps=2, maps=8, progress=False)
    assert (tmp_path / "maze.png").read_bytes().startswith(PNG)
    assert found["questions"] == 16
    assert found["a_star_extra_percent"] == found["dijkstra_extra_percent"] == 0
    assert 0 < found["a_star"] < found["dijkstra"]
    assert found["kshot"] > 0
    assert "Fewer cells" in told.getvalue()


def test_the_bandit_is_told_and_drawn(tmp_path: Path) -> None:
    told = io.StringIO()
    found = run_bandit(
        Console(file=told, width=100), out=tmp_path, steps=2, pulls=20, tasks=300, progress=False
    )
    assert (tmp_path / "bandit.png").read_bytes().startswith(PNG)
    assert found["random"] < found["thompson"] < found["gittins"] < found["oracle"]
    assert found["kshot"] > found["random"]
    assert "its index is the largest" in told.getvalue()


@pytest.mark.parametrize("about", ["maize", "robot"])
def test_an_unknown_demo_is_an_error_that_lists_them(about: str) -> None:
    result = CliRunner().invoke(app, ["demo", about])
    assert result.exit_code != 0
    assert f"{about!r}; there are pictures, service, detect, entities, maze, bandit" in " ".join(
        result.output.split()
    )
