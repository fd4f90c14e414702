"""The whole demo on a tiny plan: real digits, a real fresh process, and the commands it prints."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import kshot
from kshot.cli import app
from kshot.demo import EFFORTS, Plan, plan, run_demo
from kshot.demo.handwriting import omniglot_folder
from kshot.demo.story import next_commands, quoted
from kshot.errors import BundleError, SettingError

TINY = Plan(classes=30, drawings=5, ways=10, steps=6, validate_every=3, tasks=4, slow_tasks=1, width=8)


@dataclass(frozen=True)
class Done:
    """What a demo left behind."""

    out: Path
    told: str
    figures: dict[str, Any]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """One tiny demo."""
    out = tmp_path_factory.mktemp("a demo")  # a path with a blank must work too
    told = io.StringIO()
    figures = run_demo(Console(file=told, width=100), out=out, chosen=TINY, seed=3, progress=False)
    return Done(out, told.getvalue(), figures)


def test_it_compares_on_the_same_tasks_and_says_how_many(done: Done) -> None:
    found = done.figures
    for name in ("kshot", "nearest_mean", "logistic_regression", "fine_tuning"):
        for shots in (1, 5):
            key = f"{name}_digits_5w{shots}s"
            assert 0 <= found[key] <= 100
            assert found[f"{key}_ms"] > 0
            assert found[f"{key}_tasks"] == (1 if name == "fine_tuning" else 4)
        assert found[name] == found[f"{name}_digits_5w1s"]
    assert found["nearest_mean"] > 40, "raw pixels know digits better than chance"
    assert not any(isinstance(value, dict | list) for value in found.values())
    assert "95 %" in done.told


def test_the_saved_lesson_answers_alike_in_a_fresh_process(done: Done) -> None:
    assert done.figures["same_in_fresh_process"] is True
    task = kshot.load(done.out / "digits.kshot")
    assert isinstance(task, kshot.Adapted)
    assert len(task) == 50
    assert task.space.size == 10


def test_a_changed_answer_would_be_noticed(done: Done) -> None:
    from kshot.demo.lesson import answers_again, fingerprint_of

    task = kshot.load(done.out / "digits.kshot")
    assert isinstance(task, kshot.Adapted)
    pictures = sorted((done.out / "pictures" / "ask").glob("*.png"))
    less = task.remove(task.ids[0])
    assert fingerprint_of(less.predict(pictures)) != fingerprint_of(task.predict(pictures))
    with pytest.raises(BundleError, match="fresh process"):
        answers_again(done.out / "nothing.kshot", done.out / "pictures" / "ask")


def test_the_report_is_one_file_with_everything_inside(done: Done) -> None:
    text = (done.out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "prefers-color-scheme:dark" in text
    for heading in ("In short", "Training on", "Real handwriting", "More examples", "One lesson", "Why this answer",
                    "mistaken", "What to try next"):  # fmt: skip
        assert heading in text
    assert text.count("<svg") == 2
    assert text.count("data:image/png;base64,") > 40
    assert len(text) < 2_000_000


def test_the_printed_commands_work_as_printed(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(done.out)
    end = done.told.partition("Your turn")[2]
    lines = [line.strip() for line in end.splitlines() if line.strip().startswith("kshot ")]
    assert [line.split()[1] for line in lines] == ["adapt", "predict", "explain"]
    for line in lines:
        words = shlex.split(line, posix=os.name != "nt")
        result = CliRunner().invoke(app, [word.strip('"') for word in words[1:]])
        assert result.exit_code == 0, result.output
    assert (done.out / "answers.csv").read_text(encoding="utf-8").count("\n") == 41
    assert "data:image/png" in (done.out / "why.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_same_seed_tells_the_same_story(done: Done, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100)
    again = run_demo(console, out=tmp_path, chosen=TINY, seed=3, progress=False)

    def compared(found: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in found.items() if "ms" not in k and "seconds" not in k and k != "report"}

    assert compared(again) == compared(done.figures)
    one, two = done.out / "base.kshot", tmp_path / "base.kshot"
    assert one.read_bytes() == two.read_bytes()


def test_efforts_grow_and_an_unknown_one_is_an_error() -> None:
    steps = [plan(effort).steps for effort in EFFORTS]
    assert steps == sorted(steps)
    with pytest.raises(SettingError, match="heroic"):
        plan("heroic")


def test_omniglot_is_found_at_or_below_the_folder(real_data: Any, tmp_path: Path) -> None:
    folder = real_data("omniglot")
    assert omniglot_folder(folder) == omniglot_folder(folder.parent) == folder
    assert omniglot_folder(tmp_path) is None
    assert omniglot_folder(None) is None


def test_paths_with_blanks_are_quoted() -> None:
    assert quoted(Path("demo") / "base.kshot") == str(Path("demo") / "base.kshot")
    assert quoted(Path("my demo")) == '"my demo"'
    assert '"my demo' in next_commands(Path("my demo") / "base.kshot", Path("my demo") / "pictures", "a.png")


def test_importing_the_demo_starts_nothing() -> None:
    code = "import kshot.demo, sys; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
