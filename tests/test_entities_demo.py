"""kshot demo entities: teaches, finds and writes a page of marked texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import call, figures
from kshot.demo.entities import tidied


@pytest.mark.parametrize(
    ("text", "span", "wanted"),
    [
        ("See Mr. O'Neil 's car , now !", (4, 14), "See Mr. O'Neil's car, now!"),
        ('" Up " , she said : " no " .', (2, 4), '"Up", she said: "no".'),
        ("costs $ 5 ( about 4 % ) :) ok ...", (6, 9), "costs $5 (about 4%) :) ok..."),
        ('an odd " quote', (3, 6), 'an odd "quote'),
        ("I ' ve seen Ada 's", (11, 14), "I've seen Ada's"),
        (", leads", (2, 7), ", leads"),
    ],
)
def test_blanks_of_tokens_are_taken_out(text: str, span: tuple[int, int], wanted: str) -> None:
    found, spans = tidied(text, [(*span, "a")])
    assert found == wanted
    assert found[slice(*spans[0][:2])].replace(" ", "") == text[slice(*span)].replace(" ", "")


def test_demo_of_entities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KSHOT_DATA", raising=False)
    said = call("demo", "entities", "--encoder", "hash:ngram?dim=512", "--out", tmp_path, "--json")
    found = figures(said)
    assert found["sentences_kshot_wrote_20"] > 30
    assert found["sentences_kshot_wrote_20"] >= found["sentences_kshot_wrote_1"]
    page = (tmp_path / "entities.html").read_text(encoding="utf-8")
    assert page.count("<mark") > 10
    assert "<script" not in page
    again = figures(call("predict", tmp_path / "entities.kshot", "--text", "Dr Weber paid $50.", "--json"))
    assert again["kshot"] == 1


def test_data_that_are_not_there_are_told(tmp_path: Path) -> None:
    said = call(
        "demo", "entities", "--encoder", "hash:ngram?dim=64", "--data", tmp_path, "--out", tmp_path, code=2
    )
    assert "holds wnut17/" in said.output.replace("\n", " ")
