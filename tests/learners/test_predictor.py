"""A base adapted to examples, by itself: a value that answers, and the next one made from what it solved."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import Tensor

import kshot
from kshot.errors import DataError, InputWarning
from kshot.learners import ClosedForm, Learner, ProtoNet
from kshot.learners.embedded_examples import EmbeddedExamples
from kshot.learners.predictor import Predictor
from kshot.tasks.spaces import Classes

X = torch.tensor([[0, 0], [0.2, 0], [3, 3], [3, 3.2], [-3, 3], [-3, 3.3]], dtype=torch.float64)
Y = ["a", "a", "b", "b", "c", "c"]
Q = torch.tensor([[0.1, 0.1], [2.5, 3], [-2, 2]], dtype=torch.float64)
HEADS = ("prototype", "ridge", "kernel_ridge", "lda")


def closed(head: str) -> Learner:
    return ClosedForm(kshot.encoders.identity(2), head).double().eval()


def predictor(learner: Learner, x: Tensor = X, y: list[str] = Y) -> Predictor:
    names = tuple(f"e{place}" for place in range(len(x)))
    return Predictor.of_embedded(learner, Classes.of(y), x, y, names, x)


@pytest.mark.parametrize("head", HEADS)
def test_it_answers_as_the_adapted_task_does(head: str) -> None:
    learner = closed(head)
    one, task = predictor(learner), learner.adapt(X, Y)
    assert torch.equal(one.outputs(Q), task.outputs(Q))
    assert one.predict(Q).labels == ["a", "b", "c"]
    assert type(task.without({0})) is type(task)
    assert type(one.without({0})) is Predictor


@pytest.mark.parametrize("head", HEADS)
def test_other_examples_in_any_order_are_as_solved_afresh(head: str) -> None:
    """Some stay, at other places; one is new."""
    learner = closed(head)
    rows = [5, 0, -1, 2]
    x = torch.cat([X[[5, 0]], Q[1:2], X[2:3]])
    y = ["c", "a", "b", "b"]
    held = EmbeddedExamples(x, y, ("p", "q", "r", "s"), x)
    found = predictor(learner).with_examples(held, Classes.of(y), rows)
    assert torch.allclose(found.outputs(Q), predictor(learner, x, y).outputs(Q), atol=1e-9)
    assert found.ids == held.ids


def test_it_is_a_value() -> None:
    one = predictor(closed("prototype"))
    before = one.outputs(Q).clone()
    one.without({1, 2})
    assert torch.equal(one.outputs(Q), before)
    with pytest.raises(FrozenInstanceError):
        one.ids = ()  # type: ignore[misc]


def test_answers_that_are_known_are_checked() -> None:
    one = predictor(closed("prototype"))
    assert one.checked(X, Y).passed
    wrong = one.checked(X, ["a", "b", "b", "b", "c", "c"])
    assert (wrong.right, wrong.total, wrong.passed) == (5, 6, False)
    assert wrong.wrong == [(1, "b", "a")]
    with pytest.raises(DataError, match="6 inputs came with 2 targets"):
        one.checked(X, Y[:2])


def test_a_warning_names_the_line_of_whoever_asked() -> None:
    """However deep in kshot it is given; so that Python shows it for each such line."""
    learner = ProtoNet(kshot.encoders.identity(2))
    task = learner.adapt(torch.eye(2), ["a", "b"])
    learner.seen = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    for ask in (
        lambda x: task.predict(x),
        lambda x: task.add(x, ["a"]),
        lambda x: learner.adapt(torch.cat([x, x]), ["a", "b"]),
    ):
        with pytest.warns(InputWarning, match="do not look like") as told:
            ask(torch.full((1, 2), 9.0))
        assert told[0].filename == __file__


def test_frozen_parts_stay_frozen_after_adapting() -> None:
    """A part in eval mode inside a learner in training mode keeps its mode, and the other way round."""
    learner = ProtoNet(kshot.encoders.conv4(4, size=8, blocks=2)).train()
    learner.encoder.layers[0].eval()
    modes = [part.training for part in learner.modules()]
    task = learner.adapt(torch.rand(2, 1, 8, 8), ["a", "b"])
    assert [part.training for part in learner.modules()] == modes
    before = learner.encoder.layers[1][1].running_mean.clone()
    learner.eval()
    learner.encoder.train()  # only a part trains: predicting must not feed its running statistics
    task.predict(torch.rand(3, 1, 8, 8))
    assert torch.equal(before, learner.encoder.layers[1][1].running_mean)
    assert learner.encoder.training


def test_a_task_is_shown_in_a_line_without_its_examples() -> None:
    task = ClosedForm(kshot.encoders.identity(2)).adapt(torch.eye(2), ["left", "right"], ids=["secret", "e1"])
    assert repr(task) == "Adapted(2 classes, 2 examples, closed_form on identity)"
    numbers = ClosedForm(kshot.encoders.identity(2)).adapt(torch.eye(2), [0.5, 1.5])
    assert repr(numbers) == "Adapted(numbers, 2 examples, closed_form on identity)"
