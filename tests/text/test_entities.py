"""Entities from marked texts: found, named, refused, explained, taken back, saved; odd inputs."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
import torch

import kshot
from kshot.errors import DataError, RegressionError, SettingError, TaskError
from kshot.learners import Localiser
from kshot.seeds import generator
from kshot.tasks import Examples
from kshot.text import Entities, SpanTasks, UnitFeatures, entity_f1
from kshot.text.written import written

Marked = tuple[str, list[tuple[int, int, str]]]

LETTERS: list[Marked] = [
    ("Please call Mrs Ito in Kyoto.", [(12, 19, "person"), (23, 28, "place")]),
    ("Dr Okafor moved to Lagos last year.", [(0, 9, "person"), (19, 24, "place")]),
    ("We met Ada Lovelace near London.", [(7, 19, "person"), (25, 31, "place")]),
    ("Nothing to report, see you next week.", []),
]


@pytest.fixture(scope="module")
def learner() -> Entities:
    return kshot.text.entities("hash:ngram?dim=512")


@pytest.fixture(scope="module")
def task(learner: Entities) -> Any:
    return learner.adapt(LETTERS)


def found(task: Any, text: str) -> list[tuple[str, str]]:
    return [(text[s.start : s.end], s.label) for s in task.predict([text]).spans[0]]


def test_it_finds_and_names_what_it_never_saw(task: Any) -> None:
    assert found(task, "Then Mrs Diallo flew to Bamako.") == [("Mrs Diallo", "person"), ("Bamako", "place")]
    assert found(task, "Nothing to see here, until next month.") == []


def test_pairs_lists_and_examples_are_the_same(learner: Entities, task: Any) -> None:
    texts, spans = [text for text, _ in LETTERS], [own for _, own in LETTERS]
    asked = ["Ask Mrs Diallo in Bamako."]
    for other in (learner.adapt(texts, spans), learner.adapt(Examples(texts, spans))):
        assert other.predict(asked) == task.predict(asked)


def test_meta_training_helps_on_sentences_of_its_own() -> None:
    """A finder without weights learns where entities are; tasks are of words it has not seen."""
    encoder = UnitFeatures(kshot.text.encoder("hash:ngram?dim=32"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = Entities(encoder)
    tasks = SpanTasks(written(150, generator(1, "train")), encoder=encoder, queries=6)
    made = kshot.fit(start, tasks, steps=40, rate=5e-3, validate_every=40, progress=False).learner
    new = written(40, generator(2, "judge"))
    known = Examples(new.inputs[:20], new.targets[:20])
    before, after = (
        entity_f1(new.targets[20:], own.adapt(known).predict(new.inputs[20:]).spans).f1
        for own in (start, made)
    )
    assert after > before + 0.02


def test_evidence_names_the_marked_text(task: Any) -> None:
    told = task.explain("Then Mrs Diallo flew to Bamako.")
    first = next(piece for piece in told.pieces if piece.label == "person")
    assert first.place[:2] == (5, 15)
    assert first.exact
    assert first.evidence[0].contribution > 0
    without = task.remove(first.evidence[0].id)
    again = [s for s in without.predict(["Then Mrs Diallo flew to Bamako."]).spans[0] if s[:2] == (5, 15)]
    left = first.probability - first.evidence[0].contribution
    assert not again or again[0].label != "person" or abs(again[0].probability - left) < 1e-5


def test_the_task_without_each_text_is_as_if_solved_again(task: Any) -> None:
    """What is worked out once for all texts says what adapting to the others says: places, names, refusals."""
    learner, items = task.solver, list(task.embedded)
    rows = task.space.encode(task.targets)
    with torch.no_grad():
        fast = learner.localiser.without_each(items, rows, 4)
        slow = Localiser.without_each(learner.localiser, items, rows, 4)
    assert len(fast) == len(slow) == len(task)
    for (where, aside), (other, others) in zip(fast, slow, strict=True):
        assert where.keys() == other.keys()
        for name, value in where.items():
            assert torch.allclose(value.double(), other[name].double(), atol=1e-4), name
        assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(aside, others, strict=True))


def test_unknown_entities_are_refused(learner: Entities) -> None:
    """An entity without a name teaches what is found and not named."""
    texts: list[Any] = [
        (f"Order {code} came today.", [(6, 6 + len(code), None)])
        for code in ("AB-1234", "CD-9876", "KL-4711")
    ]
    texts += [
        (f"Mrs {name} wrote to us.", [(0, 4 + len(name), "person")]) for name in ("Ito", "Weber", "Okafor")
    ]
    answer = learner.adapt(texts).predict(["Order EF-5555 came today."])
    assert answer.spans[0] == []
    assert [tuple(s[:2]) for s in answer.unknown[0]] == [(6, 13)]


def test_add_remove_forget_and_golden(learner: Entities, task: Any, tmp_path: Path) -> None:
    more = task.add(["The Trio plays in Oslo."], [[(4, 8, "band"), (18, 22, "place")]])
    assert more.space.labels == ("band", "person", "place")
    pairs = task.add([("The Trio plays in Oslo.", [(4, 8, "band"), (18, 22, "place")])])
    assert (pairs.targets, pairs.ids) == (more.targets, more.ids)
    assert more.remove(more.ids[-1]).space.labels == ("person", "place")
    gone = more.forget(more.ids[-1])
    gone.save(tmp_path / "t.kshot", include_base=True)
    assert b"Trio" not in (tmp_path / "t.kshot").read_bytes()
    asked = "We met Ada Lovelace near London."
    guarded = task.with_golden([asked], [[(7, 19, "person"), (25, 31, "place")]])
    assert guarded.check().passed
    with pytest.raises(RegressionError, match="g0"):
        guarded.add([asked], [[(7, 19, "poet")]] * 1, on_regression="refuse").remove(
            "e2", on_regression="refuse"
        )


def test_saved_and_loaded(task: Any, tmp_path: Path) -> None:
    task.save(tmp_path / "t.kshot", include_base=True)
    loaded = kshot.load(tmp_path / "t.kshot")
    asked = ["Then Mrs Diallo flew to Bamako."]
    assert loaded.predict(asked) == task.predict(asked)


@pytest.mark.parametrize(
    ("text", "spans", "told"),
    [
        ("Ada Lovelace", [(0, 3, "a"), (0, 12, "b")], r"text 0: spans \(0, 3\) and \(0, 12\) overlap"),
        ("Ada Lovelace", [(0, 3, "a"), (0, 3, "a")], "marked twice"),
        ("Ada Lovelace", [(1, 3, "a")], r"whole words would be \(0, 3\)"),
        ("Ada Lovelace", [(4, 13, "a")], "lies outside of a text"),
        ("Ada Lovelace", [(3, 4, "a")], "holds only spaces"),
        ("Ada Lovelace", [(40, 44, "a")], "lies outside of a text"),
        ("Ada Lovelace", [(3, 3, "a")], "is empty"),
        ("Ada Lovelace", [(-1, 3, "a")], "begins before the text"),
        ("Ada Lovelace", [(0.5, 3, "a")], "whole numbers"),
        ("Ada Lovelace", [(0, 3)], "2 values"),
        ("Ada Lovelace", [(0, 3, ["a"])], "label"),
        ("", [], "without a visible character"),
        ("e\u0301a", [(0, 1, "a")], r"whole words would be \(0, 3\)"),
    ],
)
def test_wrong_spans_are_told(learner: Entities, text: str, spans: list[Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        learner.adapt([(text, spans)])


def test_other_wrong_inputs(learner: Entities) -> None:
    with pytest.raises((DataError, TaskError), match="label"):
        learner.adapt([("Ada wrote", []), ("so did Bob", [])])
    with pytest.raises(DataError, match="pairs"):
        learner.adapt(["Ada wrote"])
    with pytest.raises(DataError):
        learner.adapt([])
    with pytest.raises(SettingError, match="texts"):
        kshot.text.entities(kshot.encoders.identity(3))
    with pytest.raises(SettingError, match="prototypes"):
        Entities(kshot.text.encoder("hash:ngram"), head="ridge")


def test_one_kind_and_one_example(learner: Entities) -> None:
    task = learner.adapt([("Ask Mrs Ito today", [(4, 11, "person")])])
    assert found(task, "Ask Mrs Weber again") == [("Mrs Weber", "person")]


@pytest.mark.parametrize(
    ("shown", "asked", "wanted"),
    [
        (
            [(f"{who}住在{city}。", [(3, 5, "city")]) for who in "我他" for city in ("北京", "上海")],
            "她住在北京。",
            (3, 5),
        ),
        (
            [(f"{who}อยู่ที่กรุงเทพ", [(n, n + 7, "city")]) for who, n in (("ผม", 9), ("เรา", 10), ("แม่", 10))],
            "เขาอยู่ที่กรุงเทพ",
            (10, 17),
        ),
        (
            [("אני גר בחיפה", [(7, 12, "city")]), ("היא גרה בחיפה", [(8, 13, "city")])],
            "הוא גר בחיפה",
            (7, 12),
        ),
        (
            [("Zoe\u0308 is here", [(0, 4, "who")]), ("Is Zoe\u0308 in?", [(3, 7, "who")])],
            "Tell Zoe\u0308 so",
            (5, 9),
        ),
        (
            [("\U0001f468\u200d\U0001f469\u200d\U0001f467 Ada came", [(6, 9, "who")])],
            "\U0001f44d\U0001f3fd Ada came",
            (3, 6),
        ),
    ],
)
def test_scripts(learner: Entities, shown: list[Marked], asked: str, wanted: tuple[int, int]) -> None:
    """Offsets are characters of the text as given, in any script."""
    assert [tuple(s[:2]) for s in learner.adapt(shown).predict([asked]).spans[0]] == [wanted]


def test_a_long_text_is_not_cut(task: Any) -> None:
    """Pieces of a long text are answered as the whole: neither the cuts between segments nor blocks are seen."""
    part = "Then Mrs Diallo flew to Bamako. "
    text = part * 500
    spans = task.predict([text]).spans[0]
    inner = [(s.start, s.end, s.label) for s in spans if len(part) <= s.start < len(text) - len(part)]
    once = [(s - len(part), e - len(part), label) for s, e, label in inner if s < 2 * len(part)]
    assert len(once) == 2
    assert inner == [
        (s + n * len(part), e + n * len(part), label) for n in range(1, 499) for s, e, label in once
    ]


@pytest.mark.slow
def test_a_million_characters(task: Any) -> None:
    sentence = "Then Mrs Diallo flew to Bamako. "
    text = sentence * (1_000_000 // len(sentence))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spans = task.predict([text]).spans[0]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert sum(text[s.start : s.end] == "Mrs Diallo" for s in spans) > 31_000
    assert grown < 4000, f"{grown:.0f} MiB"
