"""The same examples on another base, or at other scalars: what moves along, and what is told of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import kshot
from kshot.errors import DataError, UnsupportedError
from kshot.learners import Adapted, ClosedForm, ProtoNet
from kshot.tasks.spaces import Numbers

X = torch.tensor([[0, 0], [0.2, 0], [3, 3], [3, 3.2], [-3, 3], [-3, 3.3]], dtype=torch.float64)
Y = ["a", "a", "b", "b", "c", "c"]
Q = torch.tensor([[0.1, 0.1], [2.5, 3], [-2, 2]], dtype=torch.float64)


def closed() -> ClosedForm:
    return ClosedForm(kshot.encoders.identity(2)).double().eval()


def proto() -> ProtoNet:
    return ProtoNet(kshot.encoders.identity(2)).double().eval()


def outputs(task: Adapted) -> Tensor:
    found: Tensor = task.outputs(Q)
    return found


def test_the_examples_move_and_both_answers_are_told() -> None:
    task = closed().adapt(X, Y)
    moved = task.rebase(proto())
    assert moved.task.ids == task.ids
    assert isinstance(moved.task.learner, ProtoNet)
    assert moved.before == task.check(X, Y)
    assert moved.after.passed
    assert torch.equal(outputs(moved.task), outputs(proto().adapt(X, Y)))
    with pytest.raises(DataError, match="takes image inputs"):
        task.rebase(ProtoNet(kshot.encoders.pixels(4)))


def test_numbers_are_checked_and_rebased_by_their_own_figures() -> None:
    base = ClosedForm(kshot.encoders.identity(1), "ridge")
    task = base.adapt([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
    figures = task.check([[1.0]], [1.5]).figures
    value = float(task.predict([[1.0]]).values[0, 0])
    assert figures["mse"] == pytest.approx((1.5 - value) ** 2, rel=1e-4)
    moved = task.rebase(ClosedForm(kshot.encoders.identity(1), "kernel_ridge"))
    assert moved.after.figures["mse"] != moved.before.figures["mse"]
    assert moved.task.space == Numbers(1)
    with pytest.raises(UnsupportedError, match="Numbers"):
        task.explain([1.0])


def test_what_a_task_carries_moves_along() -> None:
    task = closed().adapt(X, Y).with_golden(Q, ["a", "b", "c"]).remove("e1")
    other = proto()
    moved = task.on(other)
    assert moved.learner is other
    assert torch.equal(outputs(moved), outputs(proto().adapt(X, Y).remove("e1")))
    assert moved.golden is not None
    assert moved.removed is not None
    assert (moved.golden.ids, moved.removed.ids) == (("g0", "g1", "g2"), ("e1",))
    assert torch.equal(outputs(moved.restore()), outputs(proto().adapt(X, Y).remove("e1").restore()))
    assert task.on(task.learner) is task


def test_other_scalars_change_the_answers_and_nothing_else() -> None:
    task = closed().adapt(X, Y).with_golden(Q, ["a", "b", "c"]).remove("e1")
    wider = {name: value + 1 for name, value in task.learner.scalars().items()}
    other = task.at_scalars(wider)
    assert (other.scalars, other.golden, other.removed) == (wider, task.golden, task.removed)
    assert not torch.allclose(outputs(other), outputs(task))
    assert torch.equal(outputs(other.at_scalars(None)), outputs(task))
    assert task.at_scalars(None) is task
