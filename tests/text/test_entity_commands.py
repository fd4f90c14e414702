"""Entities on the command line: taught from files, found, explained, kept in files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import call, figures
from kshot.errors import DataError
from kshot.text import from_spacy, read_spans, to_spacy, write_spans

ROWS = [
    {"text": "Please call Mrs Ito in Kyoto.", "spans": [[12, 19, "person"], [23, 28, "place"]]},
    {"text": "Dr Okafor moved to Lagos last year.", "entities": [[0, 9, "person"], [19, 24, "place"]]},
    {"text": "We met Ada Lovelace near London.", "label": [{"start": 7, "end": 19, "label": "person"}]},
]


@pytest.fixture
def task(tmp_path: Path) -> Path:
    file = tmp_path / "marked.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    said = figures(call("adapt", "hash:ngram?dim=512", file, "-o", tmp_path / "t.kshot", "--json"))
    assert (said["kshot"], said["kinds"], said["marked"]) == (3, 2, 5)
    return tmp_path / "t.kshot"


def test_found_and_written(task: Path, tmp_path: Path) -> None:
    for name in ("found.iob", "found.jsonl", "found.csv"):
        asked = ["--text", "Then Mrs Diallo flew to Bamako.", "--csv", tmp_path / name, "--json"]
        said = call("predict", task, *asked)
        assert figures(said)["found"] >= 1
        assert "[Mrs Diallo|person]" in said.stdout
    assert "Mrs\tB-person\nDiallo\tI-person" in (tmp_path / "found.iob").read_text()
    assert (5, 15, "person") in read_spans(tmp_path / "found.jsonl").targets[0]
    assert "person" in (tmp_path / "found.csv").read_text()


def test_explained_shown_and_grown(task: Path, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    said = call("explain", task, "--text", "Then Mrs Diallo flew to Bamako.", "--html", page, "--json")
    assert figures(said)["found"] >= 1
    assert '<mark class="k0"><bdi>Mrs Diallo</bdi> <small>person</small></mark>' in page.read_text()
    assert "person (3)" in figures(call("show", task, "--json"))["classes"]
    more = tmp_path / "more.conll"
    more.write_text("The\tO\nTrio\tB-band\nplays\tO\n\n")
    assert figures(call("add", task, more, "--golden", more, "--json"))["classes"] == 3


def test_files_come_back_as_they_were(tmp_path: Path) -> None:
    texts, spans = ["Ada Lovelace wrote", "no one"], [[(0, 12, "person")], []]
    for name in ("a.conll", "a.jsonl", "a.json", "a.iob"):
        found = read_spans(write_spans(tmp_path / name, texts, spans))
        assert (found.inputs, found.targets) == (texts, spans)
    assert from_spacy(to_spacy(texts, spans)).targets == spans


class Entity:
    start_char, end_char, label_ = 0, 3, "person"


class Doc:
    """What is used of spaCy's."""

    text, ents = "Ada wrote", (Entity(),)


def test_docs_are_taken_without_spacy() -> None:
    found = from_spacy([Doc()])
    assert (found.inputs, found.targets) == (["Ada wrote"], [[(0, 3, "person")]])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.conll", "Ada\n", "line 1: 'Ada' has one column"),
        ("a.conll", "Ada\tX\n", "text that ends in line 1: tag 0 is 'X'"),
        ("a.jsonl", "{\n", "line 1, is no JSON"),
        ("a.jsonl", '{"text": "Ada"}\n', "item 0 is"),
        ("a.jsonl", '{"text": "Ada", "spans": [[0]]}\n', "a span of item 0 is"),
        ("a.doc", "", "ends in '.doc'"),
    ],
)
def test_broken_files_are_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=told):
        read_spans(tmp_path / name)
