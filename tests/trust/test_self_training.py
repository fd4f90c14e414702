"""Unlabelled inputs: they help, they are marked, they go again, and where they do not help they stay out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import kshot
from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.learners import Adapted, ClosedForm, ProtoNet
from kshot.trust import with_unlabelled

HELPED = 1  # a seed whose unlabelled inputs help


def noisy(centre: Tensor, count: int, rng: torch.Generator, spread: float = 1.0) -> Tensor:
    return centre + spread * torch.randn(count, len(centre), generator=rng)


def blobs(shots: int, seed: int = 0) -> tuple[Adapted, Tensor, Tensor, list[int]]:
    """A task of three classes in eight dimensions, its unlabelled inputs (half of them distractors), queries."""
    rng = torch.Generator().manual_seed(seed)
    centres = 1.1 * torch.randn(6, 8, generator=rng)
    support = torch.cat([noisy(c, shots, rng) for c in centres[:3]])
    more = torch.cat([noisy(c, 12, rng) for c in centres])
    query = torch.cat([noisy(c, 30, rng) for c in centres[:3]])
    learner = ProtoNet(kshot.encoders.identity(8))
    task = learner.adapt(support, [c for c in range(3) for _ in range(shots)])
    return task, more, query, [c for c in range(3) for _ in range(30)]


def accuracy(task: Adapted, query: Tensor, answers: list[int]) -> float:
    return float(np.mean(np.array(task.predict(query).labels) == answers))


@pytest.mark.parametrize("method", ["spread", "soft"])
def test_it_helps_on_average(method: str) -> None:
    gains = []
    for seed in range(30):
        task, more, query, answers = blobs(2, seed)
        better, _ = with_unlabelled(task, more, method=method)
        gains.append(accuracy(better, query, answers) - accuracy(task, query, answers))
    assert np.mean(gains) > 0.01


def test_the_gate_measures_what_really_leaving_out_gives() -> None:
    """Against tasks adapted without the example, through the public methods only."""
    task, more, _, _ = blobs(3)
    _, told = with_unlabelled(task, more)
    before, after = [], []
    for name, label in zip(task.ids, task.targets, strict=True):
        own = task.inputs[[task.ids.index(name)]]
        rest = task.remove(name)
        _, guess = with_unlabelled(rest, more, unchecked=True)
        grown = rest.add(more[list(guess.places)], list(guess.labels))
        for one, losses in ((rest, before), (grown, after)):
            answer = one.predict(own)
            losses.append(-math.log(answer.probabilities[0, list(answer.classes).index(label)]))
    assert told.loss_before == pytest.approx(np.mean(before), rel=1e-5)
    assert told.loss_after == pytest.approx(np.mean(after), rel=1e-5)
    assert told.checked == 9


def test_harm_is_kept_out() -> None:
    """Unlabelled inputs that lead astray: a chain of them joins the second class to the first one's examples."""
    learner = ProtoNet(kshot.encoders.identity(1))
    task = learner.adapt(torch.tensor([[0.0], [0.5], [4.0], [4.5]]), ["a", "a", "b", "b"])
    astray = torch.cat([torch.linspace(0.6, 2.0, 8), torch.linspace(5, 12, 8)]).unsqueeze(1)
    same, told = with_unlabelled(task, astray, neighbours=3)
    assert not told.kept
    assert same is task
    assert told.ids == ()
    assert told.loss_after >= told.loss_before
    assert "did not fall" in told.why


def test_guesses_are_marked_saved_and_undone(tmp_path: Path) -> None:
    task, more, query, _ = blobs(2, HELPED)
    grown, told = with_unlabelled(task, more)
    assert told.kept
    assert told.loss_after < told.loss_before
    assert [name for name in grown.ids if name.startswith("unlabelled-")] == list(told.ids)
    assert torch.equal(grown.inputs[len(task) :], more[list(told.places)])
    path = grown.save(tmp_path / "grown.kshot", include_base=True)
    loaded = kshot.load(path)
    assert isinstance(loaded, Adapted)
    assert loaded.ids == grown.ids
    back = grown.forget(list(told.ids))
    assert back.ids == task.ids
    np.testing.assert_array_equal(back.predict(query).probabilities, task.predict(query).probabilities)


def test_a_second_call_starts_from_the_truth() -> None:
    task, more, _, _ = blobs(2, HELPED)
    once, told = with_unlabelled(task, more)
    twice, again = with_unlabelled(once, more)
    assert told.kept
    assert told == again
    assert once.ids == twice.ids


def test_one_example_a_class_cannot_be_checked() -> None:
    task, more, _, _ = blobs(1)
    same, told = with_unlabelled(task, more)
    assert same is task
    assert not told.kept
    assert told.checked == 0
    assert math.isnan(told.loss_before)
    assert "no class has two labelled examples" in told.why
    grown, told = with_unlabelled(task, more, unchecked=True)
    assert told.kept
    assert len(grown) == len(task) + len(told.places)


def test_far_inputs_belong_to_no_class() -> None:
    task, _, _, _ = blobs(3)
    far = 500 + torch.arange(80.0).reshape(10, 8)
    for method in ("spread", "soft"):
        same, told = with_unlabelled(task, far, method=method)
        assert same is task
        assert told.places == ()
        assert "sure enough" in told.why


def test_at_most_so_many_for_each_class() -> None:
    task, more, _, _ = blobs(3)
    _, told = with_unlabelled(task, more, per_class=2, unchecked=True)
    counts = [told.labels.count(c) for c in range(3)]
    assert max(counts) <= 2
    assert sum(counts) == len(told.places) > 0


@pytest.mark.parametrize("head", ["ridge", "kernel_ridge", "lda"])
def test_other_heads_take_them_too(head: str) -> None:
    task, more, _, _ = blobs(3)
    other = ClosedForm(kshot.encoders.identity(8), head).adapt(task.inputs, task.targets)
    grown, told = with_unlabelled(other, more, unchecked=True)
    assert told.checked == 9
    assert len(grown) == len(other) + (len(told.places) if told.kept else 0)


def test_duplicates_of_examples_are_no_trouble() -> None:
    task, more, _, _ = blobs(2)
    grown, told = with_unlabelled(task, torch.cat([task.inputs, task.inputs, more]), unchecked=True)
    assert told.places
    assert np.isfinite(grown.predict(more).probabilities).all()


def test_bad_requests_are_named() -> None:
    task, more, _, _ = blobs(2)
    with pytest.raises(DataError, match="0 unlabelled inputs"):
        with_unlabelled(task, more[:0])
    with pytest.raises(DataError, match="NaN"):
        with_unlabelled(task, torch.full((1, 8), float("nan")))
    with pytest.raises(SettingError, match="method is 'magic'"):
        with_unlabelled(task, more, method="magic")
    for name in ("per_class", "neighbours"):
        with pytest.raises(SettingError, match=f"{name} is 0"):
            with_unlabelled(task, more, **{name: 0})  # type: ignore[arg-type]
    numbers = ClosedForm(kshot.encoders.identity(1), "ridge").adapt(torch.zeros(2, 1), [0.0, 1.0])
    with pytest.raises(UnsupportedError, match="classes only"):
        with_unlabelled(numbers, torch.zeros(1, 1))
    ridge = ClosedForm(kshot.encoders.identity(8), "ridge").adapt(task.inputs, task.targets)
    with pytest.raises(UnsupportedError, match="no prototypes"):
        with_unlabelled(ridge, more, method="soft")
