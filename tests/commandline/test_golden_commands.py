"""Golden checks, diff, learning on and rebase from the command line, on scikit-learn's digits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import kshot
from commands import call, figures
from kshot.cli import app
from kshot.demo.handwriting import digits
from kshot.explanation import png
from kshot.learners import ClosedForm, Learner, ProtoNet, save_learner


def pictures(folder: Path, digit: int, places: range, *, label: str | None = None) -> Path:
    """PNG files of a digit below `folder`."""
    pool = digits()
    own = folder / (label or str(digit))
    own.mkdir(parents=True, exist_ok=True)
    for number in places:
        (own / f"{digit}-{number}.png").write_bytes(png(pool.inputs[int(pool.members[digit][number])]))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of raw pixels; taught/ and golden/ of three digits; wrong/: sixes that are called nought."""
    top = tmp_path_factory.mktemp("golden")
    for digit in (0, 1, 6):
        pictures(top / "taught", digit, range(3))
        pictures(top / "golden", digit, range(5, 7))
    pictures(top / "wrong", 6, range(5, 11), label="0")
    pictures(top / "more", 7, range(3))
    save_learner(ClosedForm(kshot.encoders.pixels(8), "ridge"), top / "base.kshot")
    return top


@pytest.fixture
def task(root: Path, tmp_path: Path) -> Path:
    path = tmp_path / "task.kshot"
    call("adapt", root / "base.kshot", root / "taught", "-o", path, "--golden", root / "golden")
    return path


def test_golden_examples_travel_and_check_asks_them(task: Path) -> None:
    found = figures(call("check", task, "--json"))
    assert found == {"kshot": True, "right": 6, "total": 6, "wrong": []}
    loaded = kshot.load(task)
    assert isinstance(loaded, kshot.Adapted)
    assert loaded.golden is not None
    assert "6/6-5.png" in loaded.golden.ids


def test_add_warns_and_check_then_fails(root: Path, task: Path) -> None:
    result = call("add", task, root / "wrong", "--json")
    assert "Warning: " in result.stderr
    assert "golden checks were right and are wrong after this change" in result.stderr
    failed = call("check", task, "--json", code=1)
    assert figures(failed)["wrong"]
    assert "golden example" in failed.stdout


def test_add_refuses_on_request_and_leaves_the_file(root: Path, task: Path) -> None:
    before = task.read_bytes()
    result = call("add", task, root / "wrong", "--on-regression", "refuse", code=2)
    assert "nothing was changed" in result.stderr
    assert task.read_bytes() == before
    call("add", task, root / "more", "--on-regression", "refuse")
    call("check", task)


def test_remove_refuses_too(root: Path, task: Path) -> None:
    names = [f"1/1-{k}.png" for k in range(3)]
    before = task.read_bytes()
    assert "1/1-5.png" in call("remove", task, *names, "--on-regression", "refuse", code=2).stderr
    assert task.read_bytes() == before


def test_golden_examples_alone_can_be_added(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "bare.kshot"
    call("adapt", root / "base.kshot", root / "taught", "-o", path)
    assert "0 golden checks" in call("check", path, code=2).stderr
    assert "6 of 6 are answered right" in call("add", path, "--golden", root / "golden").stdout
    call("add", path, "--golden", root / "golden")
    assert figures(call("check", path, "--json"))["total"] == 12
    assert "--golden" in call("add", path, code=2).stderr


def test_check_still_describes_data(root: Path) -> None:
    assert figures(call("check", root / "taught", "--json"))["classes"] == 3
    assert "is neither a file nor a base" in call("check", root / "no.kshot", code=2).stderr


def test_diff_shows_what_changed(root: Path, task: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.kshot"
    call("add", task, root / "wrong", "-o", other)
    result = call("diff", task, other, root / "more", "--json")
    found = figures(result)
    assert (found["golden_asked"], found["examples_asked"], found["given_asked"]) == (6, 15, 3)
    assert found["golden_different"] >= 1
    assert set(found["regressions"]) >= {n for n in figures(call("check", other, "--json", code=1))["wrong"]}
    assert "worse" in result.stdout
    assert figures(call("diff", task, task, "--json"))["kshot"] == 0


def test_diff_asks_pictures_without_labels(root: Path, task: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.kshot"
    call("add", task, root / "more", "-o", other)
    found = figures(call("diff", task, other, root / "more" / "7", "--json"))
    assert (found["given_asked"], found["given_different"]) == (3, 3)


def test_diff_of_other_kinds(root: Path, task: Path, tmp_path: Path) -> None:
    rows = ProtoNet(kshot.encoders.identity(2)).adapt(torch.eye(2), ["a", "b"])
    rows.save(tmp_path / "rows.kshot", include_base=True)
    assert "image inputs, the other vector" in call("diff", task, tmp_path / "rows.kshot", code=2).stderr
    assert "has learned no task" in call("diff", task, root / "base.kshot", code=2).stderr


@pytest.fixture
def gathered(tmp_path: Path) -> Path:
    """Six tasks of two digits in mirror writing and turned, so that no class occurs twice; their base beside them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base: Learner = ProtoNet(kshot.encoders.conv4(4, size=8, blocks=2)).eval()
    save_learner(base, tmp_path / "base.kshot")
    pool = digits()
    for n in range(6):
        chosen = [int(p) for d in (n, n + 3) for p in pool.members[d][:4]]
        turned = torch.rot90(pool.inputs[chosen], n % 4, (-2, -1))
        base.adapt(turned, [f"{d} turned {n}" for d in (n, n + 3) for _ in range(4)]).save(
            tmp_path / "tasks" / f"{n}.kshot"
        )
    return tmp_path / "tasks"


def test_a_base_learns_on_and_tasks_move(gathered: Path) -> None:
    top = gathered.parent
    words = ("train", "--from-tasks", gathered, "--learner", top / "base.kshot", "--steps", 5, "--json")
    result = CliRunner().invoke(app, [str(w) for w in (*words, "-o", top / "new.kshot")])
    found = figures(result)
    assert result.exit_code == (0 if found["kshot"] else 1), result.output
    assert found["held_back_tasks"] >= 1
    assert found["tasks"] == 6
    assert (top / "new.kshot").exists() == found["kshot"]
    assert (found["after"] - found["before"] >= 0) or not found["kshot"]
    assert "held-back tasks" in result.stdout


def test_a_worse_base_is_not_saved(gathered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very same training, with the figures of both bases swapped: what got better got worse."""
    real = sys.modules["kshot.training.learn_on"]._move

    def swapped(saved: Any, part: str, old: Learner, new: Learner) -> Any:
        return real(saved, part, new, old)

    monkeypatch.setattr(sys.modules["kshot.training.learn_on"], "_move", swapped)
    top = gathered.parent
    words = ("train", "--from-tasks", gathered, "--learner", top / "base.kshot", "--steps", 30)
    result = call(*words, "-o", top / "new.kshot", "--json", code=1)
    assert figures(result)["kshot"] is False
    assert not (top / "new.kshot").exists()
    assert "old base stays" in result.stdout


def test_rebase_moves_a_folder_or_refuses(gathered: Path) -> None:
    top = gathered.parent
    save_learner(ClosedForm(kshot.encoders.pixels(8), "ridge"), top / "other.kshot")
    old = kshot.load(top / "base.kshot")
    assert isinstance(old, Learner)
    first = kshot.load(gathered / "0.kshot", base=old)
    assert isinstance(first, kshot.Adapted)
    assert (
        figures(call("rebase", top / "other.kshot", gathered, "--old", top / "base.kshot", "--json"))["kshot"]
        == 6
    )
    other = kshot.load(top / "other.kshot")
    assert isinstance(other, Learner)
    moved = kshot.load(gathered / "0.kshot", base=other)
    assert isinstance(moved, kshot.Adapted)
    assert isinstance(moved.learner, ClosedForm)
    assert list(moved.ids) == list(first.ids)
    with_checks = moved.with_golden(moved.inputs, [str(y) for y in moved.predict(moved.inputs).labels])
    guarded = with_checks.save(gathered / "0.kshot", include_base=True)
    blind = ProtoNet(kshot.encoders.conv4(4, size=8, blocks=1)).eval()
    with torch.no_grad():
        for parameter in blind.parameters():
            parameter.zero_()
    save_learner(blind, top / "blind.kshot")
    before = guarded.read_bytes()
    result = call("rebase", top / "blind.kshot", guarded, "--on-regression", "refuse", "--json", code=1)
    assert figures(result) == {"kshot": 0, "refused": 1, "tasks": 1}
    assert guarded.read_bytes() == before
    assert "golden examples became wrong" in call("rebase", top / "blind.kshot", guarded).stdout
    call("check", guarded, code=1)


def test_bad_folders_and_bases(gathered: Path, tmp_path: Path) -> None:
    top = gathered.parent
    (tmp_path / "empty").mkdir()
    base = ("--learner", top / "base.kshot")
    assert "0 saved tasks" in call("train", "--from-tasks", tmp_path / "empty", *base, code=2).stderr
    assert "not a folder" in call("train", "--from-tasks", tmp_path / "none", *base, code=2).stderr
    assert "--learner is 'protonet'" in call("train", "--from-tasks", gathered, code=2).stderr
    assert "--data is None" in call("train", code=2).stderr
    assert "holds no saved tasks" in call("rebase", top / "base.kshot", tmp_path / "empty", code=2).stderr
    assert "is a base, not a task" in call("rebase", top / "base.kshot", top / "base.kshot", code=2).stderr
    (gathered / "junk.kshot").write_text("junk")
    assert (
        "junk.kshot is not a whole kshot file"
        in call("train", "--from-tasks", gathered, *base, code=2).stderr
    )
