"""Saved tasks as a source, and learning on from them: class-disjoint parts, adoption, clear refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import kshot
from kshot.errors import BundleError, DataError, SettingError, TaskError
from kshot.learners import ClosedForm, GradientLearner, Learner, ProtoNet, save_learner
from kshot.seeds import generator
from kshot.training import LearnedOn, Move, SavedTasks, Settings, learn_on
from kshot.training.learn_on import _decision, left_out

HIDDEN = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(5))).Q
FEW = Settings(steps=2, validation_tasks=2)


def base(seed: int = 0) -> Learner:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ProtoNet(kshot.encoders.mlp(6, (12,))).eval()


def rows(rng: torch.Generator, labels: list[str]) -> Tensor:
    """Rows whose first number, small, tells the class, and whose others, large, do not."""
    own = torch.tensor([float(sum(map(ord, label)) % 7) for label in labels])
    noise = 2 * torch.randn(len(labels), 5, generator=rng)
    return torch.cat([own.unsqueeze(1) + 0.1 * torch.randn(len(labels), 1, generator=rng), noise], 1) @ HIDDEN


@pytest.fixture(name="gathered")
def _gathered(tmp_path: Path) -> Path:
    """Ten tasks of three classes with four examples; the base lies beside them."""
    rng = torch.Generator().manual_seed(0)
    learner = base()
    save_learner(learner, tmp_path / "base.kshot")
    for n in range(10):
        labels = [f"{n}{letter}" for letter in "abc" for _ in range(4)]
        learner.adapt(rows(rng, labels), labels).save(tmp_path / "in" / f"{n}.kshot")
    return tmp_path / "in"


def test_a_folder_becomes_a_source(gathered: Path) -> None:
    source = SavedTasks.read(gathered.parent, base=base(), queries=2)
    assert [task.path.stem for task in source.tasks] == [str(n) for n in range(10)]
    rng = torch.Generator().manual_seed(1)
    for _ in range(20):
        task = source.sample(rng)
        assert task.support is not None
        assert task.query is not None
        assert task.space.size == 3
        assert len({str(label)[0] for label in task.support.targets}) == 1
        seen = {tuple(row) for row in task.support.inputs.tolist()}
        assert not seen & {tuple(row) for row in task.query.inputs.tolist()}
        assert len(task.query) in (3, 6)


def test_the_same_generator_gives_the_same_task(gathered: Path) -> None:
    source = SavedTasks.read(gathered, mixed=0.5)
    first, second = (source.sample(generator(3, "x")) for _ in range(2))
    assert first.name == second.name
    assert torch.equal(first.support.inputs, second.support.inputs)  # type: ignore[union-attr]


def test_a_mixture_has_classes_of_several_tasks_and_no_label_twice(gathered: Path) -> None:
    source = SavedTasks.read(gathered, mixed=1.0, ways=8)
    task = source.sample(torch.Generator().manual_seed(0))
    assert task.space.size == 8
    assert len({str(label)[0] for label in task.space.labels}) > 2  # type: ignore[attr-defined]
    twins = SavedTasks((*source.tasks, *source.tasks), mixed=1.0, ways=60).sample(
        torch.Generator().manual_seed(0)
    )
    assert twins.space.size == 30


def test_parts_have_no_class_in_common(gathered: Path) -> None:
    source = SavedTasks.read(gathered)
    parts = source.split(0.6, 0.2, 0.2, seed=4)
    assert [len(part.tasks) for part in parts] == [6, 2, 2]
    labels = [{t for task in part.tasks for t in task.targets} for part in parts]
    assert not labels[0] & labels[1]
    assert not labels[0] & labels[2]
    assert not labels[1] & labels[2]


def test_tasks_that_share_a_class_stay_together(gathered: Path) -> None:
    learner = base()
    task = kshot.load(gathered / "0.kshot", base=learner)
    assert isinstance(task, kshot.Adapted)
    task.add(task.inputs[:2] + 1, ["1a", "1a"]).save(gathered / "joined.kshot")  # shares with tasks 0 and 1
    for seed in range(5):
        for part in SavedTasks.read(gathered).split(0.5, 0.5, seed=seed):
            names = {task.path.stem for task in part.tasks}
            assert {"0", "1", "joined"} <= names or not {"0", "1", "joined"} & names


def test_labels_that_mean_other_things(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    for n in range(4):
        base().adapt(torch.randn(6, 6, generator=rng), ["yes", "no"] * 3).save(tmp_path / f"{n}.kshot")
    source = SavedTasks.read(tmp_path)
    with pytest.raises(SettingError, match=r"form 1 groups .*by_label=False"):
        source.split(0.5, 0.5)
    assert [len(part.tasks) for part in source.split(0.5, 0.5, by_label=False)] == [2, 2]


def test_learning_on_helps_and_is_adopted(gathered: Path) -> None:
    learner = base()
    settings = Settings(steps=150, rate=0.01, validate_every=50, validation_tasks=20, meta_batch=4)
    found = learn_on(learner, SavedTasks.read(gathered, base=learner), settings=settings, progress=False)
    assert found.adopted
    assert found.base is found.candidate
    assert found.gain().mean > 0.2
    assert "adopted: " in found.why
    assert [sum(m.part == part for m in found.moves) for part in ("train", "validation", "held back")] == [
        6,
        2,
        2,
    ]
    assert {m.file for m in found.better()} | {m.file for m in found.worse()} <= {m.file for m in found.moves}
    assert all(m.gain > 0 for m in found.better())


def test_a_worse_base_is_not_adopted(gathered: Path) -> None:
    """A base that sees just what matters is ruined by an absurd rate; it stays."""
    learner = base()
    first, second = learner.encoder.layers[0].weight, learner.encoder.layers[0].bias
    with torch.no_grad():
        first.zero_()
        first[0], second[0] = HIDDEN[0], 10.0
    wild = Settings(steps=4, rate=3.0, validate_every=4, schedule="constant", average=0.0)
    source = SavedTasks.read(gathered, any_base=True)
    found = learn_on(learner, source, settings=wild, progress=False)
    assert all(move.before > 0.9 for move in found.moves)
    assert not found.adopted
    assert found.base is learner
    assert found.candidate is not learner
    assert found.why.startswith("not adopted")
    assert found.worse()[0].gain == min(move.gain for move in found.moves)


def test_beside_other_tasks(gathered: Path) -> None:
    found = learn_on(
        base(),
        SavedTasks.read(gathered),
        besides=SavedTasks.read(gathered, ways=2),
        settings=FEW,
        progress=False,
    )
    assert isinstance(found, LearnedOn)


def move(before: float, after: float, loss: float = 0.0) -> Move:
    return Move(Path("x"), "held back", 10, before, after, 1.0, 1.0 + loss)


def test_the_decision() -> None:
    assert _decision([move(0.5, 0.6), move(0.5, 0.45)])[0]
    assert not _decision([move(0.5, 0.6), move(0.5, 0.35)])[0]
    assert _decision([move(0.5, 0.5, -0.1)])[0]
    assert not _decision([move(0.5, 0.5, 0.1)])[0]


MAKERS: dict[str, Callable[[], Learner]] = {
    "protonet": lambda: ProtoNet(kshot.encoders.identity(2)),
    "kernel ridge": lambda: ClosedForm(kshot.encoders.identity(2)),
    "fine-tuned": lambda: GradientLearner(kshot.encoders.mlp(2, (4,)), outputs=2, steps=3, rate=0.3),
}


@pytest.mark.parametrize("name", MAKERS)
def test_left_out_is_adapting_without_each(name: str) -> None:
    learner = MAKERS[name]().double().eval()
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(7, 2, dtype=torch.float64, generator=rng)
    y = ["a", "a", "a", "b", "b", "b", "c"] if name != "fine-tuned" else ["a", "b", "a", "b", "a", "b", "a"]
    accuracy, loss, count = left_out(learner.adapt(x, y))
    rights, losses = [], []
    for place in range(7):
        if y.count(y[place]) == 1:
            continue
        rest = [k for k in range(7) if k != place]
        answer = learner.adapt(x[rest], [y[k] for k in rest]).predict(x[place : place + 1])
        rights.append(answer.labels[0] == y[place])
        losses.append(-math.log(answer.probabilities[0, answer.classes.index(y[place])]))
    assert count == len(rights)
    assert accuracy == pytest.approx(np.mean(rights))
    assert loss == pytest.approx(np.mean(losses), abs=1e-6)


def test_single_examples_cannot_be_left_out() -> None:
    accuracy, loss, count = left_out(base().adapt(torch.eye(6)[:2], ["a", "b"]))
    assert count == 0
    assert math.isnan(accuracy)
    assert math.isnan(loss)


def numbers(folder: Path) -> None:
    ClosedForm(kshot.encoders.identity(1), "ridge").adapt([[0.0], [1.0]], [0.0, 1.0]).save(folder / "n.kshot")


def pictures(folder: Path) -> None:
    ProtoNet(kshot.encoders.pixels(4)).adapt(torch.rand(4, 1, 4, 4), list("aabb")).save(folder / "p.kshot")


BAD: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "no folder": (lambda p: SavedTasks.read(p / "none"), DataError, "none is not a folder"),
    "an empty folder": (
        lambda p: SavedTasks.read(_made(p / "empty")),
        DataError,
        r"holds 0 saved tasks \(0 .kshot",
    ),
    "only a base": (
        lambda p: SavedTasks.read(save_learner(base(), p / "only" / "b.kshot").parent),
        DataError,
        r"holds 0 saved tasks \(1 .kshot",
    ),
    "no kshot file": (
        lambda p: ((p / "x.kshot").write_text("hello"), SavedTasks.read(p)),
        BundleError,
        "x.kshot is not a whole kshot file",
    ),
    "numbers": (lambda p: (numbers(p), SavedTasks.read(p)), DataError, "n.kshot answers with numbers"),
    "two kinds of input": (lambda p: (pictures(p), SavedTasks.read(p)), DataError, "image and vector inputs"),
    "another kind than the base's": (
        lambda p: SavedTasks.read(p, base=ProtoNet(kshot.encoders.pixels(4))),
        DataError,
        "0.kshot takes vector inputs, the base image inputs",
    ),
    "another base": (lambda p: SavedTasks.read(p, base=base(1)), DataError, "10 of 10 tasks do so"),
    "one example a class": (
        lambda p: SavedTasks.read(
            base().adapt(torch.eye(6)[:2], ["a", "b"]).save(p / "s" / "1.kshot").parent
        ),
        TaskError,
        "0 of 1 saved tasks have two classes with 2 examples",
    ),
    "mixed": (lambda p: SavedTasks.read(p, mixed=1.5), SettingError, "mixed is 1.5"),
    "ways": (lambda p: SavedTasks.read(p, ways=1), SettingError, "ways is 1"),
    "shares": (lambda p: SavedTasks.read(p).split(0.5, 0), SettingError, r"shares are \(0.5, 0\)"),
    "too many parts": (
        lambda p: SavedTasks.read(p).split(*[1] * 11),
        SettingError,
        "10 tasks cannot be split",
    ),
}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(gathered: Path, name: str) -> None:
    act, error, message = BAD[name]
    with pytest.raises(error, match=message):
        act(gathered)


def test_another_base_on_request(gathered: Path) -> None:
    assert len(SavedTasks.read(gathered, base=base(1), any_base=True).tasks) == 10


def test_a_checkpoint_knows_its_tasks(gathered: Path) -> None:
    whole, part = SavedTasks.read(gathered), SavedTasks.read(gathered).split(0.5, 0.5)[0]
    assert whole.identity() == SavedTasks.read(gathered).identity()
    assert whole.identity()["content"] != part.identity()["content"]
