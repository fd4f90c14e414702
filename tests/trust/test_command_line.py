"""kshot calibrate, and what the other commands say of a calibrated base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import kshot
from kshot.cli import app
from kshot.demo.handwriting import digits
from kshot.explanation import png
from kshot.learners import Learner, ProtoNet, save_learner


def call(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output if code else result.stdout


def figures(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw pixels, calibrated by the command on scikit-learn's digits."""
    folder = tmp_path_factory.mktemp("calibrated")
    save_learner(ProtoNet(kshot.encoders.pixels(8)), folder / "plain.kshot", {"made": "by a test"})
    told = figures(
        call("calibrate", folder / "plain.kshot", "--data", "digits", "-o", folder / "base.kshot",
             "--tasks", 20, "--json")
    )  # fmt: skip
    assert told["kshot"] == 15
    assert 50 < told["accuracy_10way_1shot"] < told["accuracy_2way_1shot"] <= 100
    return folder / "base.kshot"


def test_weights_stay_and_the_card_says_on_what(base: Path) -> None:
    plain, calibrated = kshot.load(base.with_name("plain.kshot")), kshot.load(base)
    assert isinstance(plain, Learner)
    assert isinstance(calibrated, Learner)
    assert all(map(torch.equal, plain.parameters(), calibrated.parameters()))
    assert calibrated.card["calibrated on"] == "digits, 20 tasks of each size"
    assert calibrated.card["made"] == "by a test"
    shown = figures(call("show", base, "--json"))
    assert (shown["calibrated"], len(shown["record"])) == (True, 15)
    assert figures(call("show", base.with_name("plain.kshot"), "--json"))["calibrated"] is False


def test_evaluate_says_what_the_promises_are_worth(base: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.md"
    text = call("evaluate", base, "--data", "digits", "--tasks", 40, "--out", page, "--json")
    told = figures(text)
    assert 0.8 < told["kshot_coverage"] <= 1
    assert told["kshot_refused"] < 0.15
    assert 0 <= told["kshot_ece"] < 0.2
    assert 1 <= told["kshot_set_size"] <= 5
    assert "marginal over tasks" in text
    assert "marginal over tasks" in page.read_text(encoding="utf-8")


def test_predict_and_explain_name_strangers_and_sets(base: Path, tmp_path: Path) -> None:
    pool = digits()
    for digit in (0, 1, 4):
        for place in pool.members[digit][:3].tolist():
            file = tmp_path / ("new" if digit == 4 else "taught") / f"{digit}" / f"{place}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(pool.inputs[place]))
    task, new = tmp_path / "task.kshot", tmp_path / "new"
    call("adapt", base, tmp_path / "taught", "-o", task)
    told = figures(call("predict", task, new, tmp_path / "taught", "--json"))
    assert told["kshot"] == 9
    assert told["set_size"] >= 1
    strict = figures(call("predict", task, new, "--refused", 0.5, "--json"))["unknown"]
    assert strict >= figures(call("predict", task, new, "--refused", 0.01, "--json"))["unknown"]
    picture = next((tmp_path / "taught" / "0").iterdir())
    why = figures(call("explain", task, picture, "--json"))
    assert (why["unknown"], why["set"][0]) == (False, "0")


def test_an_uncalibrated_base_cannot_be_asked_for_a_share(base: Path, tmp_path: Path) -> None:
    pool = digits()
    for digit in (0, 1):
        file = tmp_path / "taught" / str(digit) / "1.png"
        file.parent.mkdir(parents=True)
        file.write_bytes(png(pool.inputs[int(pool.members[digit][0])]))
    task = tmp_path / "task.kshot"
    call("adapt", base.with_name("plain.kshot"), tmp_path / "taught", "-o", task)
    text = call("predict", task, tmp_path / "taught", "--refused", 0.1, code=2)
    assert "never calibrated" in text
    assert "kshot calibrate" in text
