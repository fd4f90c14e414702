"""The adapted task as its user meets it: add, remove, ids, explain, check, rebase, and clear refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import kshot
from kshot.errors import DataError, UserError
from kshot.learners import Adapted, ClosedForm, GradientLearner, Learner, ProtoNet
from kshot.tasks.spaces import Classes, Numbers

MAKERS: dict[str, Callable[[], Learner]] = {
    "protonet": lambda: ProtoNet(kshot.encoders.identity(2)),
    "kernel_ridge": lambda: ClosedForm(kshot.encoders.identity(2)),
    "maml": lambda: GradientLearner(kshot.encoders.mlp(2, (8,)), outputs=3, steps=20, rate=0.3),
}


@pytest.fixture(params=MAKERS, name="learner")
def _learner(request: pytest.FixtureRequest) -> Learner:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MAKERS[request.param]().double().eval()


def rows(*values: tuple[float, float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


X = rows((0, 0), (0.2, 0), (3, 3), (3, 3.2), (-3, 3), (-3, 3.3))
Y = ["a", "a", "b", "b", "c", "c"]
Q = rows((0.1, 0.1), (2.5, 3), (-2, 2))


def probabilities(task: Adapted, inputs: Tensor = Q) -> dict[Any, list[float]]:
    answer = task.predict(inputs)
    return {label: answer.probabilities[:, k].tolist() for k, label in enumerate(answer.classes)}


def alike(first: Adapted, second: Adapted) -> None:
    ours, theirs = probabilities(first), probabilities(second)
    assert ours.keys() == theirs.keys()
    for label, values in ours.items():
        assert values == pytest.approx(theirs[label], abs=1e-9)


def test_ids_are_made_up_kept_and_never_reused(learner: Learner) -> None:
    task = learner.adapt(X[:4], Y[:4])
    assert task.ids == ("e0", "e1", "e2", "e3")
    less = task.remove("e1")
    assert less.ids == ("e0", "e2", "e3")
    more = less.add(X[4:], Y[4:])
    assert more.ids == ("e0", "e2", "e3", "e4", "e5")
    assert len(more) == 5
    assert task.ids == ("e0", "e1", "e2", "e3")


def test_adding_a_class_equals_adapting_afresh(learner: Learner) -> None:
    grown = learner.adapt(X[2:], Y[2:]).add(X[:2], Y[:2])
    alike(grown, learner.adapt(X, Y))
    alike(learner.adapt(X[:4], Y[:4]).add(X[4:5], Y[4:5]).add(X[5:], Y[5:]), learner.adapt(X, Y))


def test_removing_a_class_equals_never_having_seen_it(learner: Learner) -> None:
    left = learner.adapt(X, Y).remove(["e0", "e1"])
    alike(left, learner.adapt(X[2:], Y[2:]))
    assert left.predict(Q).classes == ("b", "c")


def test_add_then_remove_is_where_one_was(learner: Learner) -> None:
    task = learner.adapt(X[:4], Y[:4])
    alike(task.add(X[4:], Y[4:], ids=["p", "q"]).remove(["p", "q"]), task)


def test_an_order_of_the_callers_own_stays(learner: Learner) -> None:
    """Rows of a trained head belong to places, so removing one example must not shuffle the classes."""
    space = Classes(("c", "a", "b"))
    task = learner.adapt(X, Y, space=space)
    less = task.remove("e1")
    assert less.space == space
    keep = [0, 2, 3, 4, 5]
    alike(less, learner.adapt(X[keep], [Y[k] for k in keep], space=space))
    assert task.remove(["e0", "e1"]).space == Classes(("c", "b"))
    assert task.add(Q[:1], ["0"]).space == Classes(("c", "a", "b", "0"))


def test_evidence_equals_real_re_adaptation(learner: Learner) -> None:
    task = learner.adapt(X, Y)
    told = task.explain(Q[1])
    assert told.label == task.predict(Q[1:2]).labels[0]
    assert sorted(e.id for e in told.evidence) == sorted(task.ids)
    sizes = [abs(e.contribution) for e in told.evidence]
    assert sizes == sorted(sizes, reverse=True)
    for item in told.evidence:
        keep = [k for k, name in enumerate(task.ids) if name != item.id]
        without = learner.adapt(X[keep], [Y[k] for k in keep])
        left = probabilities(without, Q[1:2])[told.label][0]
        assert item.contribution == pytest.approx(told.probability - left, abs=1e-9)
        assert item.label_without == without.predict(Q[1:2]).labels[0]
        assert item.label == Y[int(item.id[1:])]


def test_evidence_of_the_only_example_of_a_class(learner: Learner) -> None:
    """Without it the class is gone, so it carries the whole probability."""
    task = learner.adapt(X[[0, 2]], ["a", "b"])
    told = task.explain(X[0])
    own = next(e for e in told.evidence if e.label == told.label)
    assert own.contribution == pytest.approx(told.probability)
    assert own.label_without != told.label


def test_explain_takes_one_input(learner: Learner) -> None:
    task = learner.adapt(X, Y)
    row = task.explain(Q[0])
    assert task.explain(Q[:1]).evidence == row.evidence
    assert task.explain(Q[0].numpy()).evidence == row.evidence
    assert task.explain(Q[0].tolist()).evidence == row.evidence
    with pytest.raises(DataError, match="got 3 inputs"):
        task.explain(Q)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["dog", "ant", "dog", "cat"], ("ant", "cat", "dog")),
        ([30, -1, 30, 7], (-1, 7, 30)),
        ([True, False, True, True], (False, True)),
        (np.array([5, 2, 5, 2]), (2, 5)),
        (torch.tensor([5, 2, 5, 9]), (2, 5, 9)),
        (np.array(["x", "y", "x", "y"]), ("x", "y")),
    ],
)
def test_labels_of_any_kind(learner: Learner, labels: Any, expected: tuple[Any, ...]) -> None:
    task = learner.adapt(X[:4], labels)
    answer = task.predict(X[:4])
    assert answer.classes == expected
    assert set(answer.labels) <= set(expected)
    assert all(type(label) in (str, int, bool) for label in answer.labels)


BAD: dict[str, tuple[Callable[[Learner], Any], str]] = {
    "one class": (lambda b: b.adapt(X[:2], ["a", "a"]), r"the classes are \['a'\]; .* at least two"),
    "no example": (lambda b: b.adapt(X[:0], []), "0 examples were given"),
    "no class": (lambda b: b.adapt(X[:2], []), "2 inputs came with 0 targets"),
    "no targets": (lambda b: b.adapt(X), "no targets were given"),
    "zero shots": (
        lambda b: b.adapt(X[:4], Y[:4], space=Classes(("a", "b", "c"))),
        "class 'c' has 0 examples",
    ),
    "too few labels": (lambda b: b.adapt(X, Y[:3]), "6 inputs came with 3 targets"),
    "NaN input": (lambda b: b.adapt(torch.full((2, 2), float("nan")), ["a", "b"]), "NaN"),
    "infinite input": (
        lambda b: b.adapt(rows((0, 1), (2, float("inf"))), ["a", "b"]),
        r"rows \[1\].*infinite",
    ),
    "NaN label": (lambda b: b.adapt(X[:2], ["a", float("nan")], space=Classes(("a", "b"))), "NaN"),
    "no label": (lambda b: b.adapt(X[:2], ["a", None]), "None"),
    "mixed labels": (lambda b: b.adapt(X[:2], ["a", 1]), "mix kinds"),
    "label outside": (lambda b: b.adapt(X[:3], [*Y[:2], "z"], space=Classes(("a", "b"))), "'z'"),
    "wrong width": (lambda b: b.adapt(torch.zeros(2, 3), ["a", "b"]), r"\(2, 3\).*\[n, 2\]"),
    "words for rows": (lambda b: b.adapt(["x", "y"], ["a", "b"]), "rows cannot be read as numbers"),
    "same id twice": (lambda b: b.adapt(X[:2], ["a", "b"], ids=["p", "p"]), "'p' is used twice"),
    "too few ids": (lambda b: b.adapt(X[:2], ["a", "b"], ids=["p"]), "1 ids came with 2 examples"),
    "taken id": (lambda b: b.adapt(X, Y).add(Q[:1], ["a"], ids=["e0"]), "'e0' is used twice"),
    "add nothing": (lambda b: b.adapt(X, Y).add(X[:0], []), "0 examples were given"),
    "add unevenly": (lambda b: b.adapt(X, Y).add(X[:2], ["a"]), "2 inputs came with 1 targets"),
    "add another kind": (lambda b: b.adapt(X, Y).add(X[:1], [3]), "mix kinds"),
    "remove unknown": (lambda b: b.adapt(X, Y).remove(["e0", "zz"]), "'zz' is not in this task"),
    "remove all": (
        lambda b: b.adapt(X, Y).remove(["e0", "e1", "e2", "e3", "e4", "e5"]),
        "removing 6 examples",
    ),
    "remove but one class": (lambda b: b.adapt(X, Y).remove(["e0", "e1", "e2", "e3"]), r"\['c'\]"),
    "NaN query": (lambda b: b.adapt(X, Y).predict(rows((float("nan"), 0))), "NaN"),
    "wrong query width": (lambda b: b.adapt(X, Y).predict(torch.zeros(1, 5)), r"\(1, 5\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(learner: Learner, name: str) -> None:
    call, message = BAD[name]
    with pytest.raises(UserError, match=message):
        call(learner)


def test_query_labels_unknown_to_the_support_are_refused(learner: Learner) -> None:
    """An evaluation task whose query asks for a class that the support lacks."""
    space = Classes(("a", "b", "c"))
    task = kshot.Task(space, kshot.Examples(X[:4], Y[:4]), kshot.Examples(Q[:1], ["d"]))
    with pytest.raises(DataError, match="'d' is not one of the task's classes"):
        learner.prepare(task)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_targets_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(DataError, match=r"targets \[1\] hold NaN or infinite"):
        ClosedForm(kshot.encoders.identity(1), "ridge").adapt([[0.0], [1.0]], [0.0, value])


def test_whole_and_real_targets_together_are_numbers() -> None:
    task = ClosedForm(kshot.encoders.identity(1), "ridge").adapt([[0.0], [1.0]], [0, 1.5])
    assert task.space == Numbers(1)
