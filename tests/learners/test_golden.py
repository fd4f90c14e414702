"""Golden checks: they travel, they are asked, and a change that breaks one says so or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import kshot
from kshot import storage
from kshot.errors import (
    BundleError,
    DataError,
    RegressionError,
    RegressionWarning,
    SettingError,
    UnsupportedError,
    UserError,
)
from kshot.learners import Adapted, ClosedForm, GradientLearner, Learner, ProtoNet, Regression, save_learner

MAKERS: dict[str, Callable[[], Learner]] = {
    "protonet": lambda: ProtoNet(kshot.encoders.identity(2)),
    "kernel_ridge": lambda: ClosedForm(kshot.encoders.identity(2)),
    "fine-tuned": lambda: GradientLearner(kshot.encoders.mlp(2, (8,)), outputs=2, steps=30, rate=0.3),
}
X = torch.tensor([[0.0, 0.0], [0.2, 0.0], [3.0, 3.0], [3.0, 3.2]])
Y = ["a", "a", "b", "b"]
G = torch.tensor([[0.1, 0.1], [2.9, 2.8], [1.2, 1.2]])
MISLABELLED = torch.tensor([[1.2, 1.2], [1.1, 1.2], [1.2, 1.1], [1.2, 1.3]])


@pytest.fixture(params=MAKERS, name="task")
def _task(request: pytest.FixtureRequest) -> Adapted:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = MAKERS[request.param]().eval()
    task = learner.adapt(X, Y)
    return task.with_golden(G, task.predict(G).labels, ids=["near a", "near b", "between"])


def worsened(task: Adapted) -> tuple[Any, Tensor]:
    """A label that turns the example "between" around, and inputs for it."""
    assert task.golden is not None
    return ("b" if task.golden.targets[2] == "a" else "a"), MISLABELLED


def test_check_without_arguments_asks_the_golden_examples(task: Adapted) -> None:
    found = task.check()
    assert (found.passed, found.right, found.total, found.ids) == (
        True,
        3,
        3,
        ("near a", "near b", "between"),
    )
    assert task.check(X, Y) == task.without_golden().check(X, Y)


def test_they_are_not_learned_from(task: Adapted) -> None:
    plain = task.without_golden()
    assert plain.golden is None
    assert (plain.predict(G).probabilities == task.predict(G).probabilities).all()
    assert len(task) == len(X)


def test_add_warns_of_a_regression_and_names_it(task: Adapted) -> None:
    label, inputs = worsened(task)
    with pytest.warns(RegressionWarning, match=r"1 of 3 golden checks .* 'between'") as told:
        after = task.add(inputs, [label] * 4)
    right = "a" if label == "b" else "b"
    assert told[0].message.examples == (Regression("between", right, label),)  # type: ignore[union-attr]
    assert after.check().wrong == [(2, right, label)]
    assert task.check().passed


def test_add_refuses_on_request_and_nothing_changes(task: Adapted) -> None:
    label, inputs = worsened(task)
    before = task.predict(G).probabilities
    with pytest.raises(RegressionError, match=r"'between'.*nothing was changed") as refused:
        task.add(inputs, [label] * 4, on_regression="refuse")
    assert [r.id for r in refused.value.examples] == ["between"]
    assert isinstance(refused.value, UserError)
    assert (task.predict(G).probabilities == before).all()
    assert task.check().passed


def test_ignore_says_nothing_and_harmless_changes_say_nothing(task: Adapted) -> None:
    label, inputs = worsened(task)
    assert not task.add(inputs, [label] * 4, on_regression="ignore").check().passed
    assert task.add(G[:1], ["a"], on_regression="refuse").check().passed


def test_what_was_wrong_before_is_no_regression(task: Adapted) -> None:
    label, inputs = worsened(task)
    worse = task.add(inputs, [label] * 4, on_regression="ignore")
    assert not worse.add(G[:1], ["a"], on_regression="refuse").check().passed


def test_remove_warns_and_refuses(task: Adapted) -> None:
    label, inputs = worsened(task)
    swollen = task.without_golden().add(inputs, [label] * 4, ids=list("pqrs")).with_golden(G[2:], [label])
    with pytest.raises(RegressionError, match="'g0'"):
        swollen.remove(list("pqrs"), on_regression="refuse")
    with pytest.warns(RegressionWarning, match="'g0'"):
        swollen.remove(list("pqrs"))


def test_removing_a_class_breaks_its_golden_examples() -> None:
    task = ProtoNet(kshot.encoders.identity(2)).adapt(torch.eye(3)[:, :2], ["a", "b", "c"])
    guarded = task.with_golden(torch.eye(2), ["a", "b"])
    with pytest.warns(RegressionWarning, match="'g0'"):
        less = guarded.remove("e0")
    assert less.check().wrong[0][:2] == (0, "a")


def test_rebase_tells_and_refuses() -> None:
    """The new base sees the first number only, and so takes one class for the other."""
    base, other = ProtoNet(kshot.encoders.mlp(2, (2,))), ProtoNet(kshot.encoders.mlp(2, (2,)))
    with torch.no_grad():
        for learner, weight in ((base, torch.eye(2)), (other, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))):
            learner.encoder.layers[0].weight.copy_(weight)
            learner.encoder.layers[0].bias.fill_(5.0)
    task = base.adapt(torch.tensor([[0.0, 2.0], [1.0, -2.0]]), ["up", "down"])
    task = task.with_golden(torch.tensor([[0.9, 2.0], [0.9, -2.0]]), ["up", "down"])
    with pytest.warns(RegressionWarning, match="'g0'"):
        moved = task.rebase(other)
    assert moved.regressions == (Regression("g0", "up", "down"),)
    assert not moved.task.check().passed
    with pytest.raises(RegressionError):
        task.rebase(other, on_regression="refuse")
    assert task.rebase(base, on_regression="refuse").regressions == ()


def test_saved_and_loaded_with_the_task(tmp_path: Path, task: Adapted) -> None:
    learner = task.learner
    path = task.save(tmp_path / "t.kshot")
    loaded = kshot.load(path, base=learner)
    assert isinstance(loaded, Adapted)
    assert loaded.check() == task.check()
    assert loaded.golden is not None
    assert torch.equal(loaded.golden.inputs, G)
    assert loaded.golden.targets == task.golden.targets  # type: ignore[union-attr]
    inside = kshot.load(task.save(tmp_path / "whole.kshot", include_base=True))
    assert isinstance(inside, Adapted)
    assert inside.check().passed
    assert inside.without_golden().save(tmp_path / "bare.kshot").stat().st_size < path.stat().st_size + 1


def test_lists_of_pictures_of_several_sizes_travel(tmp_path: Path) -> None:
    base = ProtoNet(kshot.encoders.pixels(4))
    save_learner(base, tmp_path / "base.kshot")
    dark, bright = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    task = base.adapt(torch.cat([dark, bright]), ["dark", "bright"])
    task = task.with_golden([torch.zeros(1, 6, 5), torch.ones(1, 4, 4)], ["dark", "bright"])
    task = task.with_golden(bright, ["bright"], ids=["third"])
    loaded = kshot.load(task.save(tmp_path / "t.kshot"))
    assert isinstance(loaded, Adapted)
    assert loaded.check() == task.check()
    assert loaded.check().ids == ("g0", "g1", "third")


def test_a_changed_golden_example_is_noticed(tmp_path: Path) -> None:
    task = ProtoNet(kshot.encoders.identity(2)).adapt(X, Y).with_golden(G[:2], ["a", "b"])
    path = task.save(tmp_path / "t.kshot", include_base=True)
    manifest, tensors = storage.read(path)
    right = tensors["golden/inputs"]
    storage.write(path, manifest, {**tensors, "golden/inputs": right + 1})
    with pytest.raises(BundleError, match="content hash"):
        kshot.load(path)
    manifest["golden"]["targets"] = ["a"]
    storage.write(path, manifest, tensors)
    with pytest.raises(BundleError, match="2 golden inputs with 1 answers"):
        kshot.load(path)


def test_more_are_added_and_some_taken_away(task: Adapted) -> None:
    more = task.with_golden(X[:1], ["a"])
    assert more.check().ids == ("near a", "near b", "between", "g0")
    assert more.without_golden(["between", "g0"]).check().ids == ("near a", "near b")
    assert more.without_golden("near b").check().total == 3
    with pytest.raises(DataError, match="'zz' is not a golden example"):
        more.without_golden("zz")


def test_numbers_have_a_tolerance(tmp_path: Path) -> None:
    base = ClosedForm(kshot.encoders.identity(1), "ridge")
    task = base.adapt([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
    near = float(task.predict([[1.5]]).values[0, 0])
    guarded = task.with_golden([[1.5]], [near + 0.1], tolerance=0.2)
    assert guarded.check().passed
    assert not task.with_golden([[1.5]], [near + 0.3], tolerance=0.2).check().passed
    with pytest.raises(RegressionError):
        guarded.add([[1.5], [1.6]], [9.0, 9.0], on_regression="refuse")
    loaded = kshot.load(guarded.save(tmp_path / "n.kshot"), base=base)
    assert isinstance(loaded, Adapted)
    assert loaded.check() == guarded.check()
    with pytest.raises(SettingError, match="tolerance is None"):
        task.with_golden([[1.5]], [1.5])


BAD: dict[str, tuple[Callable[[Adapted], Any], type[Exception], str]] = {
    "no checks": (lambda t: t.without_golden().check(), DataError, "this task has 0 golden checks"),
    "none given": (lambda t: t.with_golden(G[:0], []), DataError, "0 golden examples"),
    "uneven": (lambda t: t.with_golden(G, ["a"]), DataError, "3 inputs came with 1 targets"),
    "unknown class": (
        lambda t: t.with_golden(G[:1], ["zz"]),
        DataError,
        "'zz' is not one of the task's classes",
    ),
    "two answers": (
        lambda t: t.with_golden(G[[0, 0]], ["a", "b"]),
        DataError,
        "'g0' are the same input|are the same input",
    ),
    "two answers, one held": (lambda t: t.with_golden(G[:1], ["b"]), DataError, "'near a' and 'g0'"),
    "id twice": (lambda t: t.with_golden(X[:1], ["a"], ids=["near a"]), DataError, "'near a' is used twice"),
    "too few ids": (lambda t: t.with_golden(X[:2], ["a", "a"], ids=["p"]), DataError, "1 ids came with 2"),
    "tolerance for labels": (
        lambda t: t.with_golden(X[:1], ["a"], tolerance=0.1),
        SettingError,
        "tolerance is 0.1",
    ),
    "unknown reaction": (
        lambda t: t.add(X[:1], ["a"], on_regression="stop"),
        SettingError,
        "'stop'; choose one",
    ),
    "NaN": (lambda t: t.with_golden(torch.full((1, 2), torch.nan), ["a"]), DataError, "NaN"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(task: Adapted, name: str) -> None:
    act, error, message = BAD[name]
    with pytest.raises(error, match=message):
        act(task)


def test_spaces_without_right_and_wrong_have_none() -> None:
    from kshot.learners.golden import _tolerance
    from kshot.tasks.spaces import Density

    with pytest.raises(UnsupportedError, match="density"):
        _tolerance(Density(2), None, None)


def test_the_manifest_says_what_is_golden(tmp_path: Path, task: Adapted) -> None:
    manifest, _ = storage.read(task.save(tmp_path / "t.kshot"))
    assert manifest["golden"]["ids"] == ["near a", "near b", "between"]
    assert "golden" not in storage.read(task.without_golden().save(tmp_path / "u.kshot"))[0]
    json.dumps(manifest)
