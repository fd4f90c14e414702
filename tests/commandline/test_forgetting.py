"""kshot remove, restore, forget and retune on a saved task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import kshot
from kshot.cli import app
from kshot.learners import Adapted, ProtoNet
from kshot.seeds import generator


@pytest.fixture
def task(tmp_path: Path) -> Path:
    x = torch.randn(6, 3, generator=generator(0, "rows"))
    taught = ProtoNet(kshot.encoders.identity(3)).adapt(x, ["ann", "ann", "bob", "bob", "cyd", "cyd"])
    return taught.save(tmp_path / "t.kshot", include_base=True)


def call(*words: object, code: int = 0) -> tuple[dict[str, Any], str]:
    """The JSON line of a command, and everything it said."""
    result = CliRunner().invoke(app, [str(word) for word in (*words, "--json")])
    assert result.exit_code == code, result.output
    return (json.loads(result.stdout.strip().splitlines()[-1]) if not code else {}), result.output


def loaded(path: Path) -> Adapted:
    found = kshot.load(path)
    assert isinstance(found, Adapted)
    return found


def test_removed_examples_come_back(task: Path) -> None:
    call("remove", task, "e1", "e5")
    assert call("show", task)[0]["kept_aside"] == ["e1", "e5"]
    assert call("restore", task, "e5")[0] == {"kshot": 5, "restored": 1, "kept_aside": 1, "file": str(task)}
    assert call("restore", task)[0]["kept_aside"] == 0
    assert sorted(loaded(task).ids) == [f"e{k}" for k in range(6)]
    assert "'e9' is not kept aside" in call("restore", task, "e9", code=2)[1]


def test_forgotten_examples_do_not(task: Path) -> None:
    row = loaded(task).inputs[5].numpy().tobytes()
    call("remove", task, "e4")
    assert row in task.read_bytes()
    assert call("forget", task, "e4", "e5")[0] == {"kshot": 4, "forgotten": 2, "file": str(task)}
    assert row not in task.read_bytes()
    assert b"cyd" not in task.read_bytes()
    assert call("show", task)[0]["kept_aside"] == []
    assert "'e5' is not in this task" in call("forget", task, "e5", code=2)[1]


def test_retuning_says_what_changed_and_saves_it(task: Path) -> None:
    before = loaded(task).retune()
    found, said = call("retune", task)
    assert found["kshot"] == pytest.approx(before.loss_after)
    assert found["changed"] == before.changed
    assert "log_scale" in said
    assert loaded(task).scalars == before.task.scalars
