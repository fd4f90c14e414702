"""Spans as tags and back; entity F1 equals seqeval's."""

from __future__ import annotations

import random
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from kshot.errors import DataError
from kshot.text.tags import chunks, entity_f1, spans_of_tags, tags_of_spans

LABELS = ("person", "place", "work-of-art")
TAGS = ["O", *(f"{prefix}-{label}" for prefix in "BI" for label in LABELS)]


def random_iob2(rng: random.Random, length: int) -> list[str]:
    """Valid IOB2 tags."""
    tags: list[str] = []
    for _ in range(length):
        choice = rng.choice(["O", "B", "I"])
        if choice == "I" and tags and tags[-1] != "O":
            tags.append(f"I-{tags[-1][2:]}")
        else:
            tags.append("O" if choice == "O" else f"B-{rng.choice(LABELS)}")
    return tags


def test_f1_equals_seqeval_on_random_iob2_cases() -> None:
    rng = random.Random(0)
    for _ in range(300):
        lengths = [rng.randint(1, 12) for _ in range(rng.randint(1, 6))]
        gold, found = ([random_iob2(rng, n) for n in lengths] for _ in range(2))
        if rng.random() < 0.5:  # mostly right answers
            found = [g if rng.random() < 0.7 else f for g, f in zip(gold, found, strict=True)]
        ours = entity_f1([chunks(tags) for tags in gold], [chunks(tags) for tags in found])
        theirs = seqeval_figures(gold, found)
        assert (ours.precision, ours.recall, ours.f1) == pytest.approx(theirs[:3])
        for label, f1 in ours.by_label.items():
            assert f1 == pytest.approx(theirs[3].get(label, 0.0))


def seqeval_figures(
    gold: list[list[str]], found: list[list[str]]
) -> tuple[float, float, float, dict[str, float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = classification_report(gold, found, output_dict=True, zero_division=0)
        each = {label: row["f1-score"] for label, row in report.items() if label in LABELS}
        return (
            precision_score(gold, found, zero_division=0),
            recall_score(gold, found, zero_division=0),
            f1_score(gold, found, zero_division=0),
            each,
        )


@given(st.lists(st.sampled_from(TAGS), min_size=1, max_size=12))
def test_broken_tags_are_read_as_seqeval_reads_them(tags: list[str]) -> None:
    theirs = [(start, end + 1, label) for label, start, end in get_entities(tags)]
    assert chunks(tags) == theirs


@given(
    st.lists(st.sampled_from(["E-a", "S-a", "B-a", "I-a", "O", "S-b", "I-b", "E-b"]), min_size=1, max_size=9)
)
def test_iobes_tags_are_read_as_seqeval_reads_them(tags: list[str]) -> None:
    assert chunks(tags) == [(start, end + 1, label) for label, start, end in get_entities(tags)]


def test_tags_of_spans_and_back() -> None:
    rng = random.Random(1)
    for _ in range(200):
        tags = random_iob2(rng, rng.randint(1, 10))
        tokens = [rng.choice(["Ada", "x1", "了", "don't", "(", "\U0001f44d"]) for _ in tags]
        text, spans = spans_of_tags(tokens, tags)
        again, spans_again = spans_of_tags(*tags_of_spans(text, spans))
        assert (again, spans_again) == (text, spans)


def test_text_without_spaces_becomes_characters() -> None:
    tokens, tags = tags_of_spans("我住在北京。", [(3, 5, "place")])
    assert tokens == ["我", "住", "在", "北", "京", "。"]
    assert tags == ["O", "O", "O", "B-place", "I-place", "O"]


def test_nothing_wanted_and_nothing_found() -> None:
    assert entity_f1([[]], [[]]).f1 == 0.0


@pytest.mark.parametrize(
    ("tokens", "tags", "told"),
    [
        (["a"], [], "1 tokens came with 0 tags"),
        (["a", " "], ["O", "O"], "token 1 is ' '"),
        (["a"], ["X-person"], "tag 0 is 'X-person'"),
        (["a"], ["B-"], "tag 0 is 'B-'"),
    ],
)
def test_broken_columns_are_told(tokens: list[str], tags: list[str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        spans_of_tags(tokens, tags)


def test_spans_that_no_tags_can_say() -> None:
    with pytest.raises(DataError, match="overlap"):
        tags_of_spans("Ada Lovelace", [(0, 12, "person"), (4, 12, "name")])
    with pytest.raises(DataError, match="do not lie in a text of 3 characters"):
        tags_of_spans("Ada", [(0, 5, "person")])
    with pytest.raises(DataError, match="1 texts"):
        entity_f1([[]], [])
