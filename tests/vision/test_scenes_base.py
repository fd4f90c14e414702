"""The bundled detector: small, made of drawings alone, and it finds drawn things it has never seen."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

import kshot
from kshot.bundles.places import find
from kshot.demo.detect import commands, run_detect
from kshot.seeds import generator
from kshot.vision import Detector, Scenes, average_precision, detector


def test_it_is_small_and_says_how_it_was_made() -> None:
    learner = kshot.load("scenes")
    assert isinstance(learner, Detector)
    assert find("scenes").stat().st_size < 2_000_000
    assert "no outside data" in learner.card["trained on"]


def test_it_finds_new_things_on_drawn_scenes() -> None:
    learner = detector(size=192)
    source = Scenes(size=192, ways=2, pictures=4, queries=5, things=(2, 4), strangers=0.0, marked=False)
    values = []
    for seed in range(3):
        task = source.sample(generator(seed, "base"))
        assert task.support is not None
        assert task.query is not None
        taught = learner.adapt(task.support)
        outputs = taught.outputs(taught.embed(learner.encoder.read(task.query.inputs)))
        found = taught.space.decode(outputs, least=0.01).boxes
        values.append(average_precision(found, task.query.targets).ap)
    assert sum(values) / 3 > FLOOR


FLOOR = 0.1


def test_the_demo_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kshot.demo.detect.TUNED", {False: 1.0})  # seconds
    told = Console(file=io.StringIO(), width=100)
    figures = run_detect(told, out=tmp_path, data=tmp_path / "nowhere")
    page = (tmp_path / "detect.html").read_text()
    assert page.count("<svg") >= 6
    assert 0 <= figures["kshot"] == figures["drawn_things_tuned_ap50"] <= 1
    assert figures["drawn_things_tune_seconds"] > 0
    assert json.loads((tmp_path / "pictures" / "taught" / "boxes.json").read_text())["annotations"]
    assert len(commands(tmp_path)) == 3
    assert isinstance(kshot.load(tmp_path / "drawn_things.kshot"), kshot.Adapted)
