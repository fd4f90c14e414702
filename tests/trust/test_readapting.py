"""Learning again after a change: taken where it is better, rolled back where it is not, and clear refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from streams import CENTRES, draw

import kshot
from kshot.errors import DataError, SettingError
from kshot.learners import Adapted, ClosedForm, ProtoNet
from kshot.trust import Watch
from kshot.trust.readapting import _folds, _luck


@pytest.fixture(name="rng")
def _rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(name="task")
def _task(rng: torch.Generator) -> Adapted:
    inputs, labels = draw(rng, 30)
    return ProtoNet(kshot.encoders.identity(2)).adapt(inputs, labels)


def test_wrong_labels_are_rolled_back(task: Adapted, rng: torch.Generator) -> None:
    watch = Watch(task).see(*draw(rng, 150))
    inputs, _ = draw(rng, 60, shift=5.0)
    noise = [f"c{k}" for k in torch.randint(3, (60,), generator=rng).tolist()]
    after = watch.see(inputs, noise)
    assert after.alarm is not None
    again = after.readapt()
    assert not again.adopted
    assert again.task is task
    assert again.why.startswith("rolled back; ")


def test_golden_examples_stop_a_change_that_breaks_them(task: Adapted, rng: torch.Generator) -> None:
    guarded = task.with_golden(CENTRES, ["c0", "c1", "c2"])
    watch = Watch(guarded).see(*draw(rng, 150)).see(*draw(rng, 60, shift=6.0))
    again = watch.readapt()
    assert not again.adopted
    assert again.regressions
    assert "golden examples became wrong" in again.why
    assert again.task is guarded


def test_numbers_are_watched_and_learned_again(rng: torch.Generator) -> None:
    base = ClosedForm(kshot.encoders.identity(1), "ridge")
    x = torch.rand(20, 1, generator=rng)
    task = base.adapt(x, (2 * x[:, 0]).tolist())
    near = torch.rand(100, 1, generator=rng)
    watch = Watch(task).see(near, (2 * near[:, 0]).tolist())
    far = torch.rand(60, 1, generator=rng) + 3
    after = watch.see(far, (8 - far[:, 0]).tolist())
    assert after.alarm is not None
    again = after.readapt()
    assert again.adopted
    assert again.after > again.before


def test_folds_spread_each_class() -> None:
    fold = _folds(["a", "b"] * 5 + ["c"], 5)
    for label in range(2):
        assert sorted(fold[label:10:2]) == [0, 1, 2, 3, 4]


def test_luck_is_the_binomial_tail() -> None:
    assert _luck(8, 2) == pytest.approx(56 / 1024)
    assert _luck(0, 3) == 1.0


BAD: dict[str, tuple[Callable[[Adapted], Any], type[Exception], str]] = {
    "no labels to learn from": (lambda t: Watch(t).see(CENTRES).readapt(), DataError, "0 labelled inputs"),
    "one fold": (
        lambda t: Watch(t).see(CENTRES, ["c0", "c1", "c2"]).readapt(folds=1),
        SettingError,
        "folds is 1",
    ),
    "chance 0": (lambda t: Watch(t).readapt(chance=0), SettingError, "chance is 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(task: Adapted, name: str) -> None:
    act, error, message = BAD[name]
    with pytest.raises(error, match=message):
        act(task)
