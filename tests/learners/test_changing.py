"""add, remove, restore and forget: equal to adapting afresh, undone or gone for good, also in the file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import kshot
from kshot.errors import BundleError, DataError
from kshot.learners import Adapted, ClosedForm, Learner
from kshot.seeds import generator
from kshot.storage import read, write

HEADS = ("prototype", "ridge", "kernel_ridge", "lda")
D = 8


def closed(head: str = "kernel_ridge", d: int = D) -> Learner:
    return ClosedForm(kshot.encoders.identity(d), head).double().eval()


def rows(count: int, d: int = D, seed: int = 0) -> Tensor:
    return torch.randn(count, d, generator=generator(seed, "rows"), dtype=torch.float64)


def gap(first: Adapted, second: Adapted, queries: Tensor) -> float:
    """The largest difference of two tasks' scores, classes by name."""
    ours, theirs = first.predict(queries), second.predict(queries)
    assert ours.classes == theirs.classes
    return float((first.outputs(queries) - second.outputs(queries)).abs().max())


def wander(steps: int, head: str, check_every: int) -> None:
    """Random adds, removes, restores and forgets; compared with adapting afresh to what is left."""
    rng = generator(0, "wander")
    pool, queries = rows(400), rows(5, seed=1)
    labels = [f"c{k}" for k in torch.randint(0, 7, (400,), generator=rng).tolist()]
    learner = closed(head)
    task = learner.adapt(pool[:4], ["c0", "c1", "c0", "c1"], ids=["p0", "p1", "p2", "p3"])
    truth = {f"p{k}": (k, f"c{k % 2}") for k in range(4)}
    used = 4

    def draw(high: int) -> int:
        return int(torch.randint(0, high, (1,), generator=rng))

    for step in range(steps):
        move = draw(4)
        if move == 0 or len(truth) < 4:
            place = draw(400)
            task = task.add(pool[place : place + 1], [labels[place]], ids=[f"p{used}"])
            truth[f"p{used}"], used = (place, labels[place]), used + 1
        elif move == 3 and task.removed is not None:
            back = task.removed.ids[draw(len(task.removed))]
            place = task.removed.ids.index(back)
            item = task.removed.inputs[place]
            truth[back] = (int((pool == item).all(1).nonzero()[0]), task.removed.targets[place])
            task = task.restore(back)
        else:
            gone = list(truth)[draw(len(truth))]
            if len({label for name, (_, label) in truth.items() if name != gone}) < 2:
                continue
            task = task.remove(gone) if move == 1 or len(truth) < 12 else task.forget(gone)
            del truth[gone]
        if len(truth) > 40:
            for name in list(truth)[:5]:
                if len({label for other, (_, label) in truth.items() if other != name}) > 1:
                    task = task.forget(name)
                    del truth[name]
        assert set(task.ids) == set(truth)
        if step % check_every == 0 or step == steps - 1:
            places = [place for place, _ in truth.values()]
            fresh = learner.adapt(pool[places], [label for _, label in truth.values()])
            assert gap(task, fresh, queries) <= 1e-8


@pytest.mark.parametrize("head", HEADS)
def test_any_walk_equals_adapting_afresh(head: str) -> None:
    wander(300, head, 10)


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_ten_thousand_steps_equal_adapting_afresh(head: str) -> None:
    wander(10_000, head, 1)


def taught() -> Adapted:
    return closed().adapt(rows(6), ["a", "a", "b", "b", "c", "c"])


def test_remove_can_be_undone() -> None:
    task = taught()
    less = task.remove(["e1", "e4"])
    assert less.removed is not None
    assert (less.ids, less.removed.ids) == (("e0", "e2", "e3", "e5"), ("e1", "e4"))
    one = less.restore("e4")
    assert one.removed is not None
    assert (one.ids, one.removed.ids) == (("e0", "e2", "e3", "e5", "e4"), ("e1",))
    back = less.restore()
    assert back.removed is None
    assert gap(back, task, rows(5, seed=1)) < 1e-12
    assert task.removed is None
    assert task.restore() is task
    golden = task.with_golden(rows(1), ["a"])
    assert golden.restore() is golden


def test_a_class_comes_back_with_its_examples() -> None:
    task = taught()
    less = task.remove(["e4", "e5"])
    assert less.predict(rows(1)).classes == ("a", "b")
    assert gap(less.restore(["e4", "e5"]), task, rows(5, seed=1)) < 1e-12


def test_changes_keep_what_is_aside() -> None:
    less = taught().remove("e1")
    more = less.add(rows(1, seed=2), ["a"])
    assert more.ids[-1] == "e6"
    assert more.removed is not None
    assert more.removed.ids == ("e1",)
    gone = more.remove("e0").removed
    assert gone is not None
    assert gone.ids == ("e1", "e0")
    for call in (lambda: more.add(rows(1), ["a"], ids=["e1"]), lambda: more.restore("e2")):
        with pytest.raises(DataError, match=r"kept aside"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.remove("zz"), "'zz' is not in this task"),
        (lambda t: t.remove(["e0", "e1", "e2", "e3"]), r"classes are \['c'\]"),
        (lambda t: t.forget("zz"), "'zz' is not in this task, nor kept aside"),
        (lambda t: t.forget(["e0", "e1", "e2", "e3"]), r"classes are \['c'\]"),
        (lambda t: t.forget(list(t.ids)), "removing 6 examples would leave none"),
        (lambda t: t.restore("e0"), "'e0' is not kept aside"),
        (lambda t: t.remove("e0").remove("e0"), "'e0' is not in this task"),
    ],
)
def test_wrong_ids(call: Callable[[Adapted], Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        call(taught())


def test_the_last_example_of_a_class_takes_the_class_along() -> None:
    task = closed().adapt(rows(3), ["a", "b", "c"])
    left = task.remove("e2")
    assert left.predict(rows(2)).classes == ("a", "b")
    assert gap(left, closed().adapt(rows(3)[:2], ["a", "b"]), rows(4, seed=3)) < 1e-12


@pytest.mark.parametrize("include_base", [False, True])
def test_a_file_keeps_what_is_aside(tmp_path: Path, include_base: bool) -> None:
    task = taught().remove(["e1", "e5"])
    path = task.save(tmp_path / "t.kshot", include_base=include_base)
    found = kshot.load(path, base=None if include_base else task.learner)
    assert isinstance(found, Adapted)
    assert found.removed is not None
    assert (found.ids, found.removed.ids) == (task.ids, ("e1", "e5"))
    assert gap(found.restore(), taught(), rows(4, seed=3)) < 1e-12


def secret() -> tuple[Adapted, list[bytes]]:
    """A task with one example to forget, and everything of it that bytes could show."""
    x = rows(5)
    task = closed().adapt(x, ["a", "a", "b", "b", "secret label"], ids=["p", "q", "r", "s", "secret id"])
    digest = task.learner.encoder.digest(x[4])
    return task, [b"secret", x[4].numpy().tobytes(), *(v.tobytes() for v in x[4].numpy()), digest.encode()]


def test_forgotten_means_gone_from_the_bytes(tmp_path: Path) -> None:
    task, traces = secret()
    task = task.with_golden(task.inputs[4:], ["secret label"], ids=["g"])
    kept = task.remove("secret id", on_regression="ignore").save(tmp_path / "kept.kshot").read_bytes()
    assert all(trace in kept for trace in traces)
    for before in (task, task.remove("secret id", on_regression="ignore")):
        gone = before.forget("secret id")
        assert gone.golden is None
        blob = gone.save(tmp_path / "gone.kshot", include_base=True).read_bytes()
        assert not [trace for trace in traces if trace in blob]
        assert gap(gone, closed().adapt(rows(5)[:4], ["a", "a", "b", "b"]), rows(3, seed=4)) < 1e-12
        with pytest.raises(DataError, match="'secret id' is not kept aside"):
            gone.restore("secret id")


def test_forgetting_chooses_retuned_scalars_anew() -> None:
    """Scalars chosen with an example tell something of it."""
    x = rows(12)
    y = [f"c{k % 3}" for k in range(12)]
    tuned = closed().adapt(x, y).retune().task
    gone = tuned.forget("e11")
    wanted = closed().adapt(x[:11], y[:11]).retune().task
    assert tuned.scalars is not None
    assert gone.scalars == pytest.approx(wanted.scalars)
    assert gone.scalars != tuned.scalars
    assert tuned.remove("e11").scalars == tuned.scalars


def test_saved_bytes_are_examples_and_scalars(tmp_path: Path) -> None:
    """No factor: the file grows by one input per example, and holds no n x n nor d x d."""
    sizes = []
    for count in (40, 80):
        x = rows(count, 64)
        task = closed(d=64).adapt(x, [f"c{k % 4}" for k in range(count)])
        _ = task.left_out, task.explain(x[0]), task.leave_one_out()
        path = task.save(tmp_path / "t.kshot", include_base=False)
        manifest, tensors = read(path)
        assert list(tensors) == ["inputs"]
        assert tensors["inputs"].shape == (count, 64)
        assert manifest["what"] == "task"
        sizes.append(path.stat().st_size)
    assert sizes[1] - sizes[0] < 40 * (64 * 8 + 80)


def test_a_file_changed_by_hand_is_refused(tmp_path: Path) -> None:
    path = taught().remove("e1").save(tmp_path / "t.kshot", include_base=True)
    manifest, tensors = read(path)
    held = manifest["removed"]
    for changed in ({**held, "ids": ["e0"]}, {**held, "targets": []}, {**held, "digests": ["0"]}):
        write(path, {**manifest, "removed": changed}, tensors)
        with pytest.raises(BundleError, match=re.escape(str(path))):
            kshot.load(path)
    write(path, {**manifest, "scalars": {"log_nonsense": 1.0}}, tensors)
    with pytest.raises(Exception, match="log_nonsense"):
        kshot.load(path)


@pytest.mark.parametrize("head", HEADS)
def test_a_change_embeds_only_what_is_new(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others keep what the base computed for them, and what is removed is not looked at again."""
    learner, seen = closed(head), []
    task = learner.adapt(rows(20), [f"c{k % 4}" for k in range(20)])

    def counting(prepared: Tensor) -> Any:
        seen.append(len(prepared))
        return Learner.embed(learner, prepared)

    monkeypatch.setattr(learner, "embed", counting)
    more = task.add(rows(2, seed=1), ["c1", "new"])
    assert seen == [2]
    more.remove(["e3", "e21"]).restore("e21").forget("e3")
    assert seen == [2]


class Bound(kshot.learners.ProtoNet):
    """Cannot take an example back, and says so."""

    removes = False


class Leaky(kshot.learners.ProtoNet):
    """Says that it removes, and remembers what it once saw."""

    last: Tensor | None = None

    def solve(self, support: Any, space: Any) -> Any:
        state = super().solve(support, space)
        if self.last is not None and self.last.shape == state["prototypes"].shape:
            state = {"prototypes": (state["prototypes"] + self.last) / 2}
        self.last = state["prototypes"]
        return state


def test_the_suite_checks_what_a_learner_declares() -> None:
    from kshot.testing import Blobs
    from kshot.testing.values import check_evidence, check_remove

    encoder = kshot.encoders.identity(4)
    for check in (check_remove, check_evidence):
        check(Bound(encoder), Blobs())
    with pytest.raises(AssertionError, match="never having seen"):
        check_remove(Leaky(encoder), Blobs())
