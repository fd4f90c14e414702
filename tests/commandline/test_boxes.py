"""Detection on the command line: teach, ask, explain, show, with COCO and VOC files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import kshot
from kshot.cli import app
from kshot.commandline.tuning import what_was_done
from kshot.learners import save_learner
from kshot.vision import Tuned, write_coco, write_voc
from kshot.vision.detection import untrained

RUN = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A base, pictures with a bright square each, and their boxes as COCO and as VOC."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = untrained(size=32, features=4, tower=4, vector=4, most=4, least=-20.0)
    save_learner(learner.eval(), tmp_path / "base.kshot")
    images = tmp_path / "images"
    images.mkdir()
    paths, boxes = [], []
    for n in range(3):
        picture = Image.new("L", (40, 32))
        picture.paste(255, (4 + n, 5, 20 + n, 20))
        picture.save(images / f"{n}.png")
        paths.append(images / f"{n}.png")
        boxes.append([(4.0 + n, 5.0, 20.0 + n, 20.0, "square" if n else "first")])
    write_coco(tmp_path / "boxes.json", paths, boxes)
    write_voc(tmp_path / "xml", paths, boxes)
    return tmp_path


def told(*words: str) -> dict[str, object]:
    """What a command says as its last line of JSON."""
    done = RUN.invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.output.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("data", ["boxes.json", "xml"])
def test_from_files_to_boxes(folder: Path, data: str) -> None:
    task = str(folder / "task.kshot")
    first = told(
        "adapt", str(folder / "base.kshot"), str(folder / data), "-o", task, "--golden", str(folder / data)
    )
    assert (first["kshot"], first["classes"]) == (3, 2)
    assert "square" in RUN.invoke(app, ["show", task]).output
    shown = told("show", task)
    assert shown["answers_with"] == "boxes"
    assert shown["classes"] == ["first (1)", "square (2)"]
    answers = folder / "answers.csv"
    assert told("predict", task, str(folder / "images"), "--csv", str(answers))["kshot"] == 3
    with answers.open(newline="") as rows:
        head, *lines = csv.reader(rows)
    assert head == ["file", "left", "top", "right", "bottom", "label", "probability", "unknown"]
    assert all(len(line) == 8 for line in lines)
    page = folder / "why.html"
    why = told("explain", task, str(folder / "images" / "0.png"), "--html", str(page))
    assert why["strongest"] in [f"images/{n}.png" for n in range(3)] + [
        str(folder / f"images/{n}.png") for n in range(3)
    ]
    assert "<svg" in page.read_text()
    assert told("remove", task, shown["names"][0])["kshot"] == 2  # type: ignore[index]


def test_what_does_not_fit(folder: Path) -> None:
    done = RUN.invoke(app, ["adapt", "glyphs", str(folder / "boxes.json"), "-o", str(folder / "t.kshot")])
    assert done.exit_code != 0
    assert "boxes" in done.output
    done = RUN.invoke(app, ["train", "--data", str(folder / "boxes.json")])
    assert done.exit_code != 0
    assert "kshot adapt BASE" in done.output


def test_tuning_tells_what_it_did(folder: Path) -> None:
    """A real run on three pictures, and each thing that a run may come to."""
    words = ["adapt", str(folder / "base.kshot"), str(folder / "boxes.json"), "-o", str(folder / "t.kshot")]
    done = RUN.invoke(app, [*words, "--tune", "1"])
    assert done.exit_code == 0, done.output
    task = kshot.load(folder / "t.kshot")
    told = Tuned(task, True, False, 0.2, 0.5, 9, 1.2)
    assert what_was_done(told) == (
        "Found and named, on pictures held out: 20 % untuned, 50 % in a trial; tuned in 1 s."
    )
    assert "named by their parts" in what_was_done(replace(told, by_parts=True))
    assert "not tuned, since that did not help" in what_was_done(replace(told, kept=False))
    assert "no picture could be held out" in what_was_done(replace(told, before=float("nan")))
    assert "on pictures held out" in done.output
