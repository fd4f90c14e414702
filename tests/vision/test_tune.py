"""Tuning a detector on its task's pictures: what it changes, what it leaves alone, and that it can be given up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import kshot
from kshot.errors import SettingError, UnsupportedError
from kshot.learners import Adapted, save_learner
from kshot.learners.records import fingerprint
from kshot.seeds import generator
from kshot.vision import Crops, Detector, tune
from kshot.vision.detection import untrained

sys.path.insert(0, str(Path(__file__).parent.parent / "contracts"))

from members import SCENES

SMALL: dict[str, Any] = {"batch": 2, "rate": 5e-3, "crops": Crops(48)}
DRAWN = SCENES.using(size=48, shots=3, queries=6, sides=(12, 18)).sample(generator(0, "tune"))


@pytest.fixture(scope="module")
def task() -> Adapted:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = untrained(48, features=8, tower=8, vector=8)
    assert DRAWN.support is not None
    return learner.eval().adapt(DRAWN.support)


@pytest.fixture(scope="module")
def tuned(task: Adapted) -> Adapted:
    return tune(task, steps=30, trial=False, **SMALL).task


def ill(task: Adapted) -> float:
    """How ill the task's network locates pieces of pictures that it was not tuned on."""
    assert DRAWN.query is not None
    assert isinstance(task.learner, Detector)
    items = list(task.embed(task.learner.encoder.read(DRAWN.query.inputs)))
    with torch.no_grad():
        return float(task.learner.localiser.loss(items, task.space.encode(DRAWN.query.targets)))


def test_it_learns_from_its_own_pictures(task: Adapted, tuned: Adapted) -> None:
    """A network that knows nothing finds things better in other pictures after 30 steps on six."""
    assert ill(tuned) < 0.7 * ill(task)
    assert isinstance(tuned.learner, Detector)
    assert fingerprint(tuned.learner) != fingerprint(task.learner)
    assert tuned.ids == task.ids


def test_the_base_stays_and_the_same_steps_give_the_same_network(task: Adapted) -> None:
    before, random = fingerprint(task.learner), torch.get_rng_state()
    runs = [tune(task, steps=3, trial=False, seed=1, **SMALL) for _ in range(2)]
    assert fingerprint(task.learner) == before
    assert torch.equal(random, torch.get_rng_state())
    assert len({fingerprint(run.task.learner) for run in runs}) == 1
    assert runs[0].steps == 3
    assert not any(p.grad is not None for p in runs[0].task.learner.parameters())


def test_a_trial_that_gains_nothing_keeps_the_task(task: Adapted) -> None:
    """A step too small to change anything finds no more than before on what was held out."""
    shares: list[float] = []
    done = tune(task, steps=2, watch=shares.append, **{**SMALL, "rate": 1e-12})
    assert not done.kept
    assert done.task is task
    assert done.after <= done.before
    assert shares[0] == 0.0
    one = tune(task.remove(task.ids[1:]), steps=2, **SMALL)  # nothing can be held out of one picture
    assert (one.kept, one.steps) == (False, 0)
    assert one.before != one.before


def test_a_tuned_task_does_what_others_do(tuned: Adapted, tmp_path: Path) -> None:
    assert DRAWN.query is not None
    asked = DRAWN.query.inputs
    loaded = kshot.load(tuned.save(tmp_path / "t.kshot"))  # its base goes along, asked for or not
    assert isinstance(loaded, Adapted)
    assert loaded.predict(asked).to_json() == tuned.predict(asked).to_json()
    told = loaded.explain(asked[:1])
    assert len(told.evidence) == len(tuned)
    grown = loaded.add(asked[:1], DRAWN.query.targets[:1])
    back = grown.remove(grown.ids[-1])
    assert back.predict(asked).to_json() == tuned.predict(asked).to_json()


def test_forgetting_a_picture_gives_the_tuning_up(task: Adapted, tuned: Adapted, tmp_path: Path) -> None:
    """The network has seen it; what never went into the network is forgotten without that."""
    assert DRAWN.query is not None
    asked = DRAWN.query.inputs
    golden = tuned.add(asked[:1], DRAWN.query.targets[:1], ids=["late"]).with_golden(
        asked[1:2], DRAWN.query.targets[1:2]
    )
    assert golden.forget("late").learner is tuned.learner
    gone = golden.forget(tuned.ids[0], on_regression="ignore")
    assert fingerprint(gone.learner) == fingerprint(task.learner)
    assert gone.golden is not None
    never = task.remove(task.ids[0]).add(asked[:1], DRAWN.query.targets[:1])
    assert gone.predict(asked).to_json() == never.predict(asked).to_json()
    alone = kshot.load(tuned.save(tmp_path / "alone.kshot"))
    assert isinstance(alone, Adapted)
    with pytest.raises(UnsupportedError, match="adapt that base to the other examples, and tune again"):
        alone.forget(alone.ids[0])


def test_a_tuned_base_finds_the_one_it_came_from(
    tuned: Adapted, task: Adapted, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("KSHOT_HOME", str(tmp_path))
    named = kshot.load(save_learner(task.learner, tmp_path / "mine.kshot"))
    done = tune(named.adapt(task.inputs, task.targets), steps=1, trial=False, **SMALL).task
    loaded = kshot.load(done.save(tmp_path / "t.kshot"))
    assert isinstance(loaded, Adapted)
    assert fingerprint(loaded.forget(loaded.ids[0]).learner) == fingerprint(named)
    twice = tune(done, steps=1, trial=False, **SMALL).task
    assert fingerprint(twice.forget(twice.ids[0]).learner) == fingerprint(named)


def test_what_cannot_be_tuned(task: Adapted) -> None:
    classes = kshot.learners.ProtoNet(kshot.encoders.identity(2)).adapt(torch.eye(2), ["a", "b"])
    with pytest.raises(UnsupportedError, match="is a ProtoNet"):
        tune(classes)
    for wrong in ({"seconds": 0.0}, {"rate": -1.0}, {"steps": 0}, {"batch": 0}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            tune(task, **wrong)
    with pytest.raises(SettingError, match="sees as one cell"):
        tune(task, batch=1, crops=Crops(32))


def test_crops_move_boxes_with_what_they_show() -> None:
    """A bright rectangle stays under its box however the crop is made; pictures smaller than the crop too."""
    draw = generator(0, "crops")
    for height, width in ((60, 90), (30, 40)):
        picture = torch.zeros(3, height, width)
        picture[:, 8:24, 10:20] = 1.0
        boxes = torch.tensor([[10.0, 8.0, 20.0, 24.0, 0.0], [0.0, 0.0, 2.0, 2.0, 1.0]])
        for _ in range(20):
            found, kept = Crops(48, turn=True, light=0.0)(picture, boxes, 0, draw)
            own = kept[kept[:, 4] == 0]
            assert len(own) == 1
            left, top, right, bottom = own[0, :4].round().int().tolist()
            assert found[:, top + 1 : bottom - 1, left + 1 : right - 1].mean() > 0.97
            around = found.mean(0)
            around[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = 0
            assert around.max() < 0.1
    assert Crops(32)(picture, boxes[:0], None, draw)[1].shape == (0, 5)
