"""kshot demo entities: teaches, finds and writes a page of marked texts."""

from __future__ import annotations

from pathlib import Path

from commands import call, figures


def test_demo_of_entities(tmp_path: Path) -> None:
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
