"""A saved bank of answers on the command line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import kshot
from commands import call, figures
from kshot.demo.service_data import shipped_desk

DESK = shipped_desk()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    entries = [
        kshot.text.Entry(name, DESK.answers[name], tuple(t for t, own in DESK.taught if own == name))
        for name in DESK.intents
    ]
    return kshot.text.answers(entries).save(tmp_path_factory.mktemp("bank") / "desk.kshot")


def test_one_message_gets_the_reply_and_what_speaks_for_it(file: Path) -> None:
    message = DESK.asked[0][0]
    reply = kshot.load(file).ask(message)
    said = call("predict", file, "--text", message, "--json")
    found = figures(said)
    assert (found["kshot"], found["unknown"], found["id"], found["answer"]) == (
        1,
        int(reply.unknown),
        reply.id,
        reply.answer,
    )
    assert found["probability"] == pytest.approx(reply.probability)
    assert found["supports"] == [one.text for one in reply.supports]
    assert reply.answer in said.stdout
    assert reply.supports[0].text[:40] in said.stdout


def test_a_table_of_messages_is_answered_to_a_file(file: Path, tmp_path: Path) -> None:
    asked = [text for text, _ in DESK.asked] + DESK.strangers
    inbox, out = tmp_path / "inbox.csv", tmp_path / "replies.csv"
    with inbox.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([["message"], *[[text] for text in asked]])
    said = call("predict", file, inbox, "--csv", out, "--refused", 0.1, "--json")
    replies = kshot.load(file).ask_many(asked, refused=0.1)
    assert figures(said) == {
        "kshot": len(asked),
        "unknown": sum(r.unknown for r in replies),
        "skipped": 0,
        "csv": str(out),
    }
    assert 0 < figures(said)["unknown"] < len(asked)
    with out.open(encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    for row, reply, text in zip(rows, replies, asked, strict=True):
        assert (row["text"], row["id"], row["answer"]) == (text, reply.id, reply.answer)
        assert row["unknown"] == ("yes" if reply.unknown else "no")
        assert float(row["probability"]) == reply.probability
        assert [row[f"nearest {n}"] for n in (1, 2, 3)] == [one.text for one in reply.supports]
        assert float(row["fits 1"]) == reply.supports[0].score
    assert "... and" in said.stdout


def test_what_cannot_be_read_is_named_or_left_out(file: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox.csv"
    inbox.write_text('message\nwhere is it\n" "\n', encoding="utf-8")
    assert "inbox.csv:2 cannot be read" in " ".join(call("predict", file, inbox, code=2).output.split())
    assert figures(call("predict", file, inbox, "--skip-unreadable", "--json"))["skipped"] == 1
    assert "refused is 5" in call("predict", file, "--text", "hello", "--refused", 5, code=2).output
    assert "bank of answers" in call("predict", file, "--text", "hello", "--base", "glyphs", code=2).output


def test_other_commands_say_what_a_bank_is_for(file: Path) -> None:
    assert "kshot predict" in " ".join(call("explain", file, "--text", "hello", code=2).output.split())
    shown = figures(call("show", file, "--json"))
    assert (shown["kshot"], shown["entries"], shown["questions"]) == ("answers", 16, 80)
