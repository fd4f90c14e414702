"""What two versions of a task answer differently."""

from __future__ import annotations

import pytest
import torch

import kshot
from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.learners import ClosedForm, ProtoNet
from kshot.tasks.spaces import Density
from kshot.trust import Difference, diff
from kshot.trust.differences import _comparable

X = torch.tensor([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0], [5.0, 0.0]])
BASE = ProtoNet(kshot.encoders.identity(2))
FIRST = BASE.adapt(X, ["a", "a", "b", "b"]).with_golden(torch.tensor([[2.4, 0.0], [0.2, 0.0]]), ["a", "a"])
SECOND = FIRST.add(torch.tensor([[2.2, 0.0], [2.3, 0.0]]), ["b", "b"], on_regression="ignore")


def test_golden_and_learned_examples_of_both_are_asked() -> None:
    found = diff(FIRST, SECOND)
    assert found.asked == {"golden": 2, "examples": 6, "given": 0}
    assert found.of("golden") == (Difference("golden", "g0", "a", "a", "b"),)
    assert [d.id for d in found.of("examples")] == ["e4", "e5"]
    assert [d.id for d in found.regressions] == ["g0"]
    assert [d.id for d in found.repairs] == ["e4", "e5"]
    assert len(diff(FIRST, FIRST)) == 0


def test_it_turns_around() -> None:
    there, back = diff(FIRST, SECOND), diff(SECOND, FIRST)
    assert {d.id for d in there.regressions} == {d.id for d in back.repairs}


def test_given_inputs_are_asked_with_their_names_and_answers() -> None:
    inputs = torch.tensor([[2.3, 0.0], [0.0, 0.0], [2.4, 0.1]])
    assert [d.id for d in diff(FIRST, SECOND, inputs).of("given")] == ["0", "2"]
    named = diff(FIRST, SECOND, inputs, ["b", "a", "a"], ids=["x", "y", "z"])
    assert [d.id for d in named.repairs if d.group == "given"] == ["x"]
    assert [d.id for d in named.regressions if d.group == "given"] == ["z"]


def test_classes_that_came_and_went() -> None:
    third = FIRST.add(torch.tensor([[9.0, 9.0]]), ["c"]).remove(["e2", "e3"], on_regression="ignore")
    found = diff(FIRST, third)
    assert (found.gone, found.new) == (("b",), ("c",))


def test_other_bases_are_fine_other_kinds_are_not() -> None:
    ridge = ClosedForm(kshot.encoders.identity(2), "ridge")
    assert diff(FIRST, ridge.adapt(X, ["a", "a", "b", "b"])).asked["examples"] == 4
    pictures = ProtoNet(kshot.encoders.pixels(4)).adapt(torch.rand(2, 1, 4, 4), ["a", "b"])
    with pytest.raises(DataError, match="vector inputs, the other image"):
        diff(FIRST, pictures)
    with pytest.raises(DataError, match="answers with classes, the other with numbers"):
        diff(FIRST, ridge.adapt(X, [0.0, 1.0, 2.0, 3.0]))


def test_numbers_differ_by_more_than_the_tolerance() -> None:
    ridge = ClosedForm(kshot.encoders.identity(1), "ridge")
    first = ridge.adapt([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
    second = first.add([[1.5]], [3.0])
    assert len(diff(first, second, tolerance=10)) == 0
    assert len(diff(first, second, [[1.5]]).of("given")) == 1


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="0 inputs were given"):
        diff(FIRST, SECOND, X[:0])
    with pytest.raises(DataError, match="4 inputs came with 1 ids and 4 targets"):
        diff(FIRST, SECOND, X, ids=["x"])
    with pytest.raises(SettingError, match="tolerance is -1"):
        diff(FIRST, SECOND, tolerance=-1)


def test_answers_that_cannot_be_compared() -> None:
    flow = object.__new__(type(FIRST))
    for name, value in {**vars(FIRST), "space": Density(2)}.items():
        object.__setattr__(flow, name, value)
    with pytest.raises(UnsupportedError, match="density"):
        _comparable(flow, flow)
