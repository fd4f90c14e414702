"""Located classification on the smallest domain: runs in sequences of unequal length."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import kshot
from kshot.errors import DataError, RegressionError, UnsupportedError
from kshot.learners import Located, PiecesEstimate
from kshot.seeds import generator
from kshot.serving.batcher import Batcher
from kshot.tasks import Examples
from kshot.tasks.spaces import Spans
from kshot.testing.values import check_add, check_evidence, check_remove, check_threads
from kshot.trust import next_to_label
from kshot.trust.doubt import doubts

sys.path.insert(0, str(Path(__file__).parent.parent / "contracts"))

from signals import Runs, Signals, Steps

SOURCE = Signals(support=5, query=3)


@pytest.fixture(scope="module")
def learner() -> Located:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = Located(Steps(4), Runs())
    run = kshot.fit(
        start, SOURCE, validate=SOURCE, steps=100, rate=0.04, validation_tasks=2, validate_every=100,
        progress=False,
    )  # fmt: skip
    found = run.learner
    assert isinstance(found, Located)
    return found


@pytest.fixture(scope="module")
def drawn() -> tuple[Examples, Examples]:
    task = SOURCE.sample(generator(5, "located"))
    assert task.support is not None
    assert task.query is not None
    return task.support, task.query


def test_it_learns_to_find_and_to_name(learner: Located) -> None:
    report = kshot.evaluate(learner, SOURCE, tasks=10, seed=1)
    assert report.metric == "f1"
    assert report.mean > 0.7


@pytest.mark.parametrize("check", [check_add, check_remove, check_evidence, check_threads])
def test_contract_of_a_trained_one(learner: Located, check: Any) -> None:
    """The suite runs on an untrained learner too, which finds hardly anything; this one finds most."""
    check(learner, SOURCE)


def test_one_class_is_enough(learner: Located, drawn: tuple[Examples, Examples]) -> None:
    support, query = drawn
    only = [[piece for piece in pieces if piece[2] == 0] for pieces in support.targets]
    task = learner.adapt(support.inputs, only)
    assert task.space == Spans((0,))
    found = task.predict(query.inputs)
    assert {span.label for spans in found.spans for span in spans} <= {0}


def test_other_things_are_refused(learner: Located, drawn: tuple[Examples, Examples]) -> None:
    """What looks like a piece but like no taught class is listed as unknown, under any support."""
    support, query = drawn
    task = learner.adapt(support.inputs, [[p for p in pieces if p[2] == 0] for pieces in support.targets])
    found = task.predict(query.inputs)
    assert sum(map(len, found.unknown)) > 0
    told = task.explain(query.inputs[:1])
    assert [tuple(piece) for piece in told.unknown] == [tuple(piece) for piece in found.unknown[0]]


def test_a_piece_without_a_label_teaches_what_to_refuse(
    learner: Located, drawn: tuple[Examples, Examples]
) -> None:
    support, query = drawn
    marked = [[(s, e, label or None) for s, e, label in pieces] for pieces in support.targets]
    task = learner.adapt(support.inputs, marked)
    assert task.space == Spans((1, 2))
    wanted = [[(s, e, label or None) for s, e, label in pieces] for pieces in query.targets]
    assert {s.label for spans in task.predict(query.inputs).spans for s in spans} <= {1, 2}
    assert 0 <= task.check(query.inputs, wanted).figures["f1"] <= 1


def test_spaces_grow_and_shrink_with_labels(learner: Located, drawn: tuple[Examples, Examples]) -> None:
    support, _ = drawn
    names = ["a", "b", "c"]
    marked = [[(s, e, names[label]) for s, e, label in pieces] for pieces in support.targets]
    only_a = [[piece for piece in pieces if piece[2] == "a"] for pieces in marked]
    task = learner.adapt(support.inputs[:2], only_a[:2], ids=["x", "y"])
    grown = task.add(support.inputs[2:], marked[2:], ids=["u", "v", "w"])
    assert set(grown.space.labels) == {"a", "b", "c"}  # type: ignore[attr-defined]
    assert grown.remove(["u", "v", "w"]).space == Spans(("a",))


def test_golden_checks_and_saving(learner: Located, drawn: tuple[Examples, Examples], tmp_path: Path) -> None:
    support, _ = drawn
    task = learner.adapt(support).with_golden(support.inputs[:2], support.targets[:2])
    assert task.check().passed
    again = kshot.load(task.save(tmp_path / "t.kshot", include_base=True))
    assert isinstance(again, kshot.Adapted)
    assert again.check().passed
    other = [[(s, e, (label + 1) % 3) for s, e, label in pieces] for pieces in support.targets]
    with pytest.raises(RegressionError, match="golden checks were right"):
        task.add(support.inputs * 3, other * 3, on_regression="refuse")


def test_leave_one_out_is_adapting_without_each(learner: Located, drawn: tuple[Examples, Examples]) -> None:
    support, _ = drawn
    task = learner.adapt(support)
    found = task.leave_one_out()
    for place in range(len(task)):
        rest = [n for n in range(len(task)) if n != place]
        alone = learner.adapt(support.take(rest), space=task.space).predict(support.take([place]).inputs)
        assert [tuple(s)[:3] for s in found.spans[place]] == [tuple(s)[:3] for s in alone.spans[0]]


def test_batched_equals_looped(learner: Located, drawn: tuple[Examples, Examples]) -> None:
    support, query = drawn
    task = learner.adapt(support)
    together = task.predict(query.inputs).to_json()
    assert together == [task.predict([item]).to_json()[0] for item in query.inputs]
    batcher = Batcher()
    try:
        embedded = batcher.embed(task.learner, task.learner.encoder.read(query.inputs))
        assert task.answer_embedded(embedded).to_json() == together
    finally:
        batcher.close()


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([[]] * 5, "0 labelled pieces"),
        ([[(1, 2, None)]] * 5, "0 labelled pieces"),
        ([["a"]] * 5, "has 1 values"),
        ([3] * 5, "give a list of its pieces"),
        ([[(2, 1, "a")]] * 5, r"span \(2, 1, 'a'\)"),
    ],
)
def test_bad_targets(
    learner: Located, drawn: tuple[Examples, Examples], targets: list[Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        learner.adapt(drawn[0].inputs, targets)


def test_other_spaces_are_refused(learner: Located, drawn: tuple[Examples, Examples]) -> None:
    with pytest.raises(UnsupportedError, match="answers with Spans"):
        learner.adapt(drawn[0].inputs, [0] * 5, space=kshot.tasks.spaces.Numbers(1))


def test_a_task_says_how_good_it_is(learner: Located, drawn: tuple[Examples, Examples]) -> None:
    """By its own examples, each asked of the task without it; counted by hand from `leave_one_out`."""
    support, _ = drawn
    task = learner.adapt(support)
    told = task.self_estimate()
    assert isinstance(told, PiecesEstimate)
    found = task.leave_one_out().spans
    wanted, met, whole = 0, 0, 0
    for place, pieces in enumerate(support.targets):
        others = {label for n, own in enumerate(support.targets) if n != place for _, _, label in own}
        own = {piece for piece in pieces if piece[2] in others}
        hits = own & {tuple(span[:3]) for span in found[place]}
        wanted, met, whole = (
            wanted + len(own),
            met + len(hits),
            whole + (len(hits) == len(own) == len(found[place])),
        )
    assert (told.judged, told.wanted, told.met) == (len(support), wanted, met)
    assert told.found == sum(map(len, found))
    assert told.f1 == pytest.approx(2 * met / (wanted + told.found))
    assert told.accuracy == told.leave_one_out == whole / len(support)
    assert told.f1_low is not None
    assert told.f1_high is not None
    assert told.f1_low <= told.f1 <= told.f1_high
    assert f"of {wanted} marked pieces {met} were found" in str(told)
    assert told == task.self_estimate()
    alone = learner.adapt(support.inputs[:1], support.targets[:1])
    assert (alone.self_estimate().judged, alone.suspect_labels()) == (0, [])
    assert "No self-estimate" in str(alone.self_estimate())


def test_a_wrong_label_is_suspected(learner: Located) -> None:
    """One piece of ten tasks' supports gets another label: it is listed first more often than not, with its own."""
    hits = 0
    for seed in range(10):
        task = Signals(support=8, query=1).sample(generator(seed, "suspects"))
        assert task.support is not None
        targets = [[tuple(piece) for piece in pieces] for pieces in task.support.targets]
        start, end, label = targets[0][0]
        targets[0][0] = (start, end, (label + 1) % 3)
        suspects = learner.adapt(task.support.inputs, targets, ids=list("abcdefgh")).suspect_labels()
        first = suspects[:1]
        hits += [(s.id, s.piece, s.suggested) for s in first] == [("a", targets[0][0], label)]
    assert hits >= 5


def test_what_to_mark_next(learner: Located, drawn: tuple[Examples, Examples]) -> None:
    """Inputs with the least sure pieces; an input that equals an example is left out."""
    support, query = drawn
    task = learner.adapt(support)
    pool = [*query.inputs, support.inputs[0], query.inputs[0]]
    found = next_to_label(task, pool, count=2, spread=1)
    assert found.skipped == (len(query), len(query) + 1)
    sure = doubts(task, task.embed(task.learner.encoder.read(query.inputs)))
    two = [sorted(row)[-2:] for row in sure.probabilities.tolist()]
    unsure = sorted(range(len(query)), key=lambda n: two[n][1] - two[n][0])
    assert sorted(found.places) == sorted(unsure[:2])
    assert 0 <= found.expected_error <= 1
    assert all("between" in one.reason or "unlike" in one.reason for one in found)
    assert doubts(task, task.embed(task.learner.encoder.read([torch.zeros(1, 4)]))).rows.shape[0] == 1
