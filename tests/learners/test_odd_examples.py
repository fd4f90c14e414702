"""Odd sets of examples: a right answer, or a clear error."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

import kshot
from kshot.errors import DataError
from kshot.learners import Adapted, ClosedForm, Learner

HEADS = ("prototype", "ridge", "kernel_ridge", "lda", "bayesian")


@pytest.fixture(params=HEADS, name="head")
def _head(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def closed(head: str, d: int) -> Learner:
    return ClosedForm(kshot.encoders.identity(d), head).double().eval()


def rows(count: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(count, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sound(task: Adapted, queries: Tensor) -> None:
    """Finite probabilities; evidence and leave-one-out as by really adapting without each."""
    answer = task.predict(queries)
    assert np.isfinite(answer.probabilities).all()
    np.testing.assert_allclose(answer.probabilities.sum(1), 1)
    own = task.leave_one_out()
    assert np.isfinite(own.probabilities).all()
    told = task.explain(queries[0])
    for place, name in enumerate(task.ids):
        rest = task.without({place})
        item = next(e for e in told.evidence if e.id == name)
        found = rest.predict(queries[:1])
        left = dict(zip(found.classes, found.probabilities[0], strict=True)).get(told.label, 0.0)
        assert item.contribution == pytest.approx(told.probability - left, abs=1e-8)


def test_contradicting_labels_for_one_input(head: str) -> None:
    x = torch.cat([rows(1, 4).expand(2, 4), rows(4, 4, 1)])
    task = closed(head, 4).adapt(x, ["a", "b", "a", "a", "b", "b"])
    sound(task, rows(3, 4, 2))
    both = closed(head, 4).adapt(x[:2], ["a", "b"])
    np.testing.assert_allclose(both.predict(x[:1]).probabilities, 0.5, atol=1e-9)
    assert task.leave_one_out().labels[:2] == [task.without({k}).predict(x[:1]).labels[0] for k in (0, 1)]


def test_duplicates(head: str) -> None:
    x = rows(4, 4)[[0, 0, 0, 1, 1, 2, 3]]
    sound(closed(head, 4).adapt(x, ["a", "a", "a", "b", "b", "c", "c"]), rows(3, 4, 2))


def test_no_variance_at_all(head: str) -> None:
    x = torch.ones(6, 4, dtype=torch.float64)
    task = closed(head, 4).adapt(x, ["a", "a", "a", "b", "b", "b"])
    np.testing.assert_allclose(task.predict(x[:1]).probabilities, 0.5, atol=1e-9)
    sound(task, rows(3, 4))


def test_features_that_do_not_vary(head: str) -> None:
    x = rows(6, 4)
    x[:, 1:3] = 0.0
    sound(closed(head, 4).adapt(x, ["a", "a", "b", "b", "c", "c"]), rows(3, 4, 2))


def test_more_features_than_examples(head: str) -> None:
    sound(closed(head, 500).adapt(rows(5, 500), ["a", "a", "b", "b", "c"]), rows(3, 500, 2))


def test_features_of_any_size(head: str) -> None:
    for size in (1e-6, 1e3):
        sound(closed(head, 4).adapt(size * rows(6, 4), ["a", "a", "b", "b", "c", "c"]), size * rows(3, 4, 2))


def test_one_example_and_one_class(head: str) -> None:
    for x, y in ((rows(1, 4), ["a"]), (rows(3, 4), ["a", "a", "a"])):
        with pytest.raises(DataError, match=r"classes are \['a'\]; .*at least two"):
            closed(head, 4).adapt(x, y)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_no_numbers(head: str, bad: float) -> None:
    x = rows(4, 4)
    task = closed(head, 4).adapt(x, ["a", "a", "b", "b"])
    broken = rows(1, 4)
    broken[0, 2] = bad
    for call in (
        lambda: closed(head, 4).adapt(torch.cat([x, broken]), ["a", "a", "b", "b", "c"]),
        lambda: task.add(broken, ["a"]),
        lambda: task.predict(broken),
        lambda: task.explain(broken),
    ):
        with pytest.raises(DataError, match=r"rows \[\d\] hold NaN or infinite"):
            call()


def test_thousands_of_classes_with_one_example_each() -> None:
    """3000 classes: adapted, asked, grown and shrunk; without an example its class is gone."""
    count, d = 3000, 32
    x = rows(count, d).float()
    labels = [f"class {k}" for k in range(count)]
    for head in ("prototype", "kernel_ridge"):
        task = ClosedForm(kshot.encoders.identity(d), head).adapt(x, labels)
        assert task.predict(x[:50]).labels == labels[:50]
        assert len(task.add(x[:1] + 1, ["new"]).remove("e7")) == count
    task = ClosedForm(kshot.encoders.identity(d), "prototype").adapt(x, labels)
    told = task.explain(x[5])
    assert told.evidence[0].id == "e5"
    assert told.evidence[0].label_without != "class 5"
    assert told.evidence[0].contribution == pytest.approx(told.probability)
    assert not task.retune().changed


def test_more_examples_than_a_head_can_solve_for_are_refused(head: str) -> None:
    x, labels = rows(16_001, 4), ["a", "b"] * 8000 + ["a"]
    small = closed(head, 4).adapt(x[:4], labels[:4])
    if head == "prototype":  # what the message offers
        assert len(closed(head, 4).adapt(x, labels)) == 16_001
        return
    with pytest.raises(DataError, match=rf"16001 examples .* a {head} head solves for at most 16000"):
        closed(head, 4).adapt(x, labels)
    with pytest.raises(DataError, match=r"16005 examples"):
        small.add(x, labels)


class Column:
    """What a data frame's column is to us: things are found by its own index, and iterated by place."""

    def __init__(self, values: list[object]) -> None:
        self.values = values
        self.index = list(reversed(range(len(values))))  # as after a shuffle

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[object]:
        return iter(self.values)

    def __getitem__(self, name: int) -> object:
        return self.values[self.index.index(name)]


def test_a_column_of_labels_is_taken_by_place_not_by_its_index(head: str) -> None:
    x, labels = rows(6, 4), ["a", "a", "b", "b", "c", "c"]
    task, shuffled = closed(head, 4).adapt(x, labels), closed(head, 4).adapt(x, Column([*labels]))
    more = ["a", "b", "c"]
    for one, other in (
        (task, shuffled),
        (task.remove("e1"), shuffled.remove("e1")),
        (task.add(x[:3] + 1, more), shuffled.add(x[:3] + 1, Column([*more]))),
    ):
        assert list(one.targets) == list(other.targets)
        assert one.leave_one_out().labels == other.leave_one_out().labels
        assert one.self_estimate() == other.self_estimate()


def test_labels_that_lack_or_are_lists_are_told_as_such() -> None:
    for bad, says in (
        (float("nan"), "a label is NaN"),
        (None, "label None is a NoneType"),
        (["a"], "is a list"),
    ):
        with pytest.raises(DataError, match=says):
            closed("kernel_ridge", 4).adapt(rows(3, 4), ["a", "b", bad])
    with pytest.raises(DataError, match="is a list"):
        closed("kernel_ridge", 4).adapt(rows(2, 4), [["a"], ["a", "b"]])
