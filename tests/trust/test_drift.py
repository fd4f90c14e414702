"""Watching a stream: alarms with a stated rate, learning again, rolling back, and clear refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from streams import CENTRES, draw
from torch import Tensor

import kshot
from kshot.errors import BundleError, DataError, SettingError, UnsupportedError
from kshot.learners import Adapted, ProtoNet
from kshot.trust import Watch
from kshot.trust.nonconformity import strangeness


@pytest.fixture(name="rng")
def _rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(name="task")
def _task(rng: torch.Generator) -> Adapted:
    inputs, labels = draw(rng, 30)
    return ProtoNet(kshot.encoders.identity(2)).adapt(inputs, labels)


def test_a_change_is_noticed_dated_and_put_right(task: Adapted, rng: torch.Generator) -> None:
    watch = Watch(task, false_alarms=0.01).see(*draw(rng, 150))
    assert watch.alarm is None
    moved = draw(rng, 90, shift=5.0)
    after = watch.see(*moved)
    assert watch.alarm is None, "a watch is a value"
    assert after.alarm is not None
    assert 150 < after.alarm.at <= 175
    assert abs(after.alarm.change - 150) <= 10
    assert 80 <= len(after.recent) <= 100
    again = after.readapt()
    assert again.adopted
    assert again.after > again.before + 0.2
    assert again.luck < 0.01
    assert again.why.startswith("adopted; ")
    fresh = draw(rng, 100, shift=5.0)
    assert again.task.check(*fresh).right > task.check(*fresh).right + 20
    assert (again.watch.task, again.watch.seen, again.watch.alarm) == (again.task, 0, None)


def test_labels_alone_give_an_alarm(task: Adapted, rng: torch.Generator) -> None:
    """The inputs look as ever, but two classes change their names."""
    watch = Watch(task).see(*draw(rng, 150))
    inputs, labels = draw(rng, 60)
    swapped = [{"c0": "c1", "c1": "c0"}.get(label, label) for label in labels]
    alarm = watch.see(inputs, swapped).alarm
    assert alarm is not None
    assert alarm.by == "labels"
    assert abs(alarm.change - 150) <= 15


def test_a_label_never_taught_is_as_strange_as_can_be(task: Adapted, rng: torch.Generator) -> None:
    watch = Watch(task).see(*draw(rng, 100))
    inputs, _ = draw(rng, 40)
    again = watch.see(inputs, ["new"] * 40)
    assert again.alarm is not None
    assert again.alarm.by == "labels"


def test_false_alarms_stay_under_the_stated_rate(task: Adapted, rng: torch.Generator) -> None:
    """80 calm streams of 60 labelled inputs, at a stated 10 %: more than 15 alarms have a chance of 1 %."""
    alarms = [Watch(task, 0.1, seed=s).see(*draw(rng, 60)).alarm is not None for s in range(80)]
    assert sum(alarms) <= 15


def test_in_parts_is_as_at_once(task: Adapted, rng: torch.Generator) -> None:
    inputs, labels = draw(rng, 40)
    known = [label if k % 3 else None for k, label in enumerate(labels)]
    whole = Watch(task).see(inputs, known)
    parts = Watch(task).see(inputs[:7], known[:7]).see(inputs[7:8], known[7:8]).see(inputs[8:], known[8:])
    assert parts.row() == whole.row()
    assert parts.recent.targets == whole.recent.targets
    assert whole.row()["labelled"] == sum(k is not None for k in known)


def test_a_score_of_ones_own(task: Adapted, rng: torch.Generator) -> None:
    def second_number(_: Adapted, embedded: Tensor) -> np.ndarray:
        values: np.ndarray = embedded[:, 1].numpy()
        return values

    watch = Watch(task, score=second_number).see(torch.randn(100, 2, generator=rng))
    moved = torch.randn(60, 2, generator=rng)
    moved[:, 1] += 4
    assert watch.see(moved).alarm is not None
    odd = strangeness(task, torch.tensor([[0.0, 0.0], [30.0, 30.0]]))
    assert odd[1] > 10 * abs(odd[0])


def test_it_goes_on_in_another_process(task: Adapted, rng: torch.Generator) -> None:
    first = Watch(task, 0.05, seed=3).see(*draw(rng, 50))
    text = json.dumps(first.to_json())
    rest = draw(rng, 30, shift=4)
    again = Watch.from_json(task, json.loads(text))
    assert again.see(*rest).row() == first.see(*rest).row()
    alarmed = first.see(*draw(rng, 60, shift=9))
    assert Watch.from_json(task, json.loads(json.dumps(alarmed.to_json()))).alarm == alarmed.alarm
    other = task.add(CENTRES[:1], ["c0"])
    with pytest.raises(BundleError, match="another task"):
        Watch.from_json(other, first.to_json())
    with pytest.raises(BundleError, match="no watch"):
        Watch.from_json(task, {})


def test_only_so_many_labelled_inputs_are_kept(task: Adapted, rng: torch.Generator) -> None:
    inputs, labels = draw(rng, 30)
    assert Watch(task, keep=7).see(inputs, labels).recent.targets == labels[-7:]


BAD: dict[str, tuple[Callable[[Adapted], Any], type[Exception], str]] = {
    "rate 0": (lambda t: Watch(t, 0), SettingError, "false_alarms is 0; it is a chance between 0 and 1"),
    "rate 1": (lambda t: Watch(t, 1.0), SettingError, "false_alarms is 1.0"),
    "rate NaN": (lambda t: Watch(t, float("nan")), SettingError, "nan"),
    "rate as text": (lambda t: Watch(t, "1 %"), SettingError, "'1 %'"),  # type: ignore[arg-type]
    "keep 0": (lambda t: Watch(t, keep=0), SettingError, "keep is 0"),
    "an empty stream": (lambda t: Watch(t).see(CENTRES[:0]), DataError, "0 inputs were seen"),
    "too few labels": (lambda t: Watch(t).see(CENTRES, ["c0"]), DataError, "3 inputs came with 1 targets"),
    "NaN scores": (
        lambda t: Watch(t, score=lambda _, x: np.array([0.0, np.nan, 1.0])).see(CENTRES),
        DataError,
        r"scores of inputs \[1\] are NaN",
    ),
    "one score for all": (
        lambda t: Watch(t, score=lambda _, x: np.zeros(1)).see(CENTRES),
        DataError,
        r"\(1,\); give one number per input, \(3,\)",
    ),
    "NaN inputs": (lambda t: Watch(t).see(CENTRES * float("nan")), DataError, "NaN"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(task: Adapted, name: str) -> None:
    act, error, message = BAD[name]
    with pytest.raises(error, match=message):
        act(task)


def test_a_transductive_learner_cannot_be_watched(task: Adapted) -> None:
    class Together(ProtoNet):
        regime = "transductive"

    with pytest.raises(UnsupportedError, match="transductive"):
        Watch(Together(kshot.encoders.identity(2)).adapt(torch.eye(2), ["a", "b"]))
