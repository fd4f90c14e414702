"""Evidence and leave-one-out of tasks, against really adapting without each example."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import kshot
from kshot.errors import TaskError, UnsupportedError
from kshot.learners import Adapted, ClosedForm, GradientLearner, Learner, ProtoNet
from kshot.learners import evidence as module
from kshot.testing import Blobs
from kshot.trust import calibrate

HEADS = ("prototype", "ridge", "kernel_ridge", "lda", "bayesian")


def blobs(shots: list[int], d: int = 6, seed: int = 0) -> tuple[Tensor, list[str], Tensor]:
    """Features of classes with `shots` examples, their labels, and 5 queries, in float64."""
    g = torch.Generator().manual_seed(seed)
    own = torch.arange(len(shots)).repeat_interleave(torch.tensor(shots))
    centres = 2 * torch.randn(len(shots), d, generator=g, dtype=torch.float64)
    x = centres[own] + torch.randn(len(own), d, generator=g, dtype=torch.float64)
    return x, [f"c{k}" for k in own.tolist()], torch.randn(5, d, generator=g, dtype=torch.float64)


def closed(head: str, d: int = 6) -> Learner:
    return ClosedForm(kshot.encoders.identity(d), head).double().eval()


def calibrated(head: str) -> Learner:
    learner = closed(head, 4)
    calibrate(learner, Blobs(), tasks=20)
    learner.seen = torch.zeros(0)  # the inputs here are others; that is not what is tested
    return learner


def without(task: Adapted, place: int) -> Adapted:
    keep = [k for k in range(len(task)) if k != place]
    return task.learner.adapt(task.inputs[keep], [task.targets[k] for k in keep])


def check(task: Adapted, queries: Tensor, tolerance: float = 1e-8) -> None:
    told = task.explain_many(queries)
    answers = task.predict(queries)
    assert [t.label for t in told] == answers.labels
    np.testing.assert_allclose([t.probability for t in told], answers.probabilities.max(1), atol=tolerance)
    for place, name in enumerate(task.ids):
        rest = without(task, place).predict(queries)
        for q, one in enumerate(told):
            item = next(e for e in one.evidence if e.id == name)
            left = dict(zip(rest.classes, rest.probabilities[q], strict=True)).get(one.label, 0.0)
            assert item.contribution == pytest.approx(one.probability - left, abs=tolerance)
            assert item.label_without == rest.labels[q]
            assert item.label == task.targets[place]


def check_own(task: Adapted, tolerance: float = 1e-8) -> None:
    own = task.leave_one_out()
    assert own.classes == task.space.labels  # type: ignore[attr-defined]
    for place in range(len(task)):
        rest = without(task, place).predict(task.inputs[place : place + 1])
        left = dict(zip(rest.classes, rest.probabilities[0], strict=True))
        wanted = [left.get(label, 0.0) for label in own.classes]
        np.testing.assert_allclose(own.probabilities[place], wanted, atol=tolerance)
        assert own.labels[place] == rest.labels[0]
        assert own.unknown[place] == rest.unknown[0]
        assert own.scores[place] == pytest.approx(rest.scores[0], abs=1e-7)


@pytest.mark.parametrize("head", HEADS)
def test_equals_really_adapting_without_each(head: str) -> None:
    x, y, queries = blobs([4, 1, 3, 2])
    task = closed(head).adapt(x, y)
    check(task, queries)
    check_own(task)
    assert all(told.exact and "closed form" in told.method for told in task.explain_many(queries))


@pytest.mark.parametrize("head", HEADS)
def test_also_where_a_base_knows_about_its_answers(head: str) -> None:
    """There the temperature depends on the examples, so leaving one out moves it too."""
    x, y, queries = blobs([3, 1, 2], d=4)
    task = calibrated(head).adapt(x, y)
    assert task.warmth is not None
    check(task, queries)
    check_own(task)


def test_a_learner_without_a_formula_is_adapted_again() -> None:
    x, y, queries = blobs([2, 1, 2])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = GradientLearner(kshot.encoders.mlp(6, (8,)), outputs=3, steps=5).double()
    task = learner.adapt(x, y)
    check(task, queries)
    check_own(task)
    assert "adapted without each" in task.explain(queries[0]).method


def test_very_large_tasks_keep_the_temperature_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, queries = blobs([3, 2, 2], d=4)
    task = calibrated("prototype").adapt(x, y)
    monkeypatch.setattr(module, "_MOST", 10)
    told = task.explain(queries[0])
    assert told.method.endswith("at the temperature of the whole task")
    assert told.label == task.predict(queries[:1]).labels[0]


def test_evidence_is_a_sequence_the_strongest_first() -> None:
    x, y, queries = blobs([3, 3])
    told = closed("prototype").adapt(x, y).explain(queries[0])
    pieces = told.evidence
    assert len(pieces) == 6
    assert [abs(e.contribution) for e in pieces] == sorted(
        (abs(e.contribution) for e in pieces), reverse=True
    )
    assert pieces[0] == pieces[:1][0] == next(iter(pieces))
    assert pieces[-1] == list(pieces)[5]
    assert pieces == list(pieces)
    assert pieces != list(pieces)[1:]
    with pytest.raises(IndexError):
        pieces[6]


def test_leave_one_out_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, queries = blobs([3, 3, 2])
    task = closed("lda").adapt(x, y)
    whole = task.explain_many(queries)
    monkeypatch.setattr(module, "_SCORES", 1)
    for one, other in zip(whole, task.explain_many(queries), strict=True):
        assert dict((e.id, pytest.approx(e.contribution, abs=1e-12)) for e in one.evidence) == {
            e.id: e.contribution for e in other.evidence
        }


@pytest.mark.parametrize("head", ["ridge", "kernel_ridge", "bayesian"])
def test_numbers(head: str) -> None:
    x, _, _ = blobs([4, 4])
    values = x[:, :1] * 2 + 1
    task = closed(head).adapt(x, values)
    own = task.leave_one_out()
    for place in range(len(task)):
        keep = [k for k in range(len(task)) if k != place]
        rest = task.learner.adapt(x[keep], values[keep]).predict(x[place : place + 1])
        np.testing.assert_allclose(own.values[place], rest.values[0], atol=1e-8)
        if rest.deviations is not None:
            np.testing.assert_allclose(own.deviations[place], rest.deviations[0], atol=1e-8)


def test_numbers_without_a_formula() -> None:
    x, _, _ = blobs([2, 2])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = GradientLearner(kshot.encoders.mlp(6, (8,)), outputs=1, steps=3).double()
    task = learner.adapt(x, x[:, :1])
    rest = learner.adapt(x[1:], x[1:, :1]).predict(x[:1])
    np.testing.assert_allclose(task.leave_one_out().values[0], rest.values[0], atol=1e-8)


def test_what_cannot_be_left_out() -> None:
    task = ClosedForm(kshot.encoders.identity(1), "ridge").adapt([[0.0]], [0.5])
    with pytest.raises(TaskError, match="1 example"):
        task.leave_one_out()


class Bound(ProtoNet):
    """A learner that cannot take an example back."""

    removes = False


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.remove("e0"),
        lambda t: t.forget("e0"),
        lambda t: t.leave_one_out(),
        lambda t: t.explain(t.inputs[0]),
    ],
)
def test_removal_is_a_declared_capability(call: Callable[[Adapted], object]) -> None:
    x, y, _ = blobs([2, 2])
    task = Bound(kshot.encoders.identity(6)).double().adapt(x, y)
    with pytest.raises(UnsupportedError, match=r"Bound cannot take an example back.*adapt it afresh"):
        call(task)
    assert len(task.add(x[:1], ["c0"])) == 5


def test_float32_tasks_have_contributions_free_of_rounding() -> None:
    """An example far away from everything contributes nothing, not the noise of two float32 solves."""
    x, y, _ = blobs([5, 5, 5])
    x = torch.cat([x, torch.full((2, 6), 60.0)])
    task = ClosedForm(kshot.encoders.identity(6), "kernel_ridge").adapt(x.float(), [*y, "far", "far"])
    told = task.explain(x[:15].mean(0).float())
    far = [e.contribution for e in told.evidence if e.label == "far"]
    assert max(map(abs, far)) < 1e-9
    assert abs(told.evidence[0].contribution) > 1e-3


def test_printed_it_names_the_strongest_and_says_how_many_more() -> None:
    x, y, _ = blobs([10, 10, 10])
    told = ProtoNet(kshot.encoders.identity(6)).double().adapt(x, y).explain(x[0])
    for shown in (str(told), repr(told)):
        named = [e.id for e in told.evidence if re.search(rf"\b{e.id}\b", shown)]
        assert named == [e.id for e in told.evidence[:5]]
        assert "and 25 more" in shown
    every = told.told()
    assert all(e.id in every for e in told.evidence)
    assert "more" not in every
    assert str(told).splitlines()[-1] == told.method
