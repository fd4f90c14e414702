"""A service desk on the command line: what somebody does with a table of messages, and the slips on the way."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import kshot
from commands import call, figures
from kshot.cli import app

TAUGHT = """text,label
where is my card,card
my card has not come,card
the card is late,card
what is the rate,rate
the rate for euros,rate
rates for dollars,rate
"""
ASKED = """text,label
is my card here,card
rate for pounds please,card
the rate of today,rate
what is for lunch,
"""


def refused(*words: object) -> str:
    result: Result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "taught.csv"
    path.write_text(TAUGHT)
    return path


@pytest.fixture
def desk(table: Path, tmp_path: Path) -> Path:
    path = tmp_path / "desk.kshot"
    call("adapt", "hash:ngram", table, "-o", path)
    return path


def test_show_says_what_reads_the_texts(desk: Path) -> None:
    found = figures(call("show", desk, "--json"))
    assert (found["base"], found["encoder"], found["encoder_settings_dim"]) == (
        "inside this file",
        "hash_ngram",
        8192,
    )


def test_answers_stand_beside_what_was_asked(desk: Path, tmp_path: Path) -> None:
    asked = tmp_path / "inbox.csv"
    asked.write_text('Message\n"my card; where, ""is"" it"\n')
    result = call("predict", desk, asked, "--text", "which rate", "--csv", tmp_path / "out.csv")
    assert "which rate" in result.stdout
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["text"], row["label"]) for row in rows] == [
        ("which rate", "rate"),
        ('my card; where, "is" it', "card"),
    ]


def test_a_task_is_judged_on_examples_that_it_was_not_taught(desk: Path, tmp_path: Path) -> None:
    asked = tmp_path / "asked.csv"
    asked.write_text(ASKED.replace("lunch,", "lunch,food"))
    result = call("evaluate", desk, "--data", asked, "--json")
    found = figures(result)
    assert (found["right"], found["asked"], found["strangers"]) == (2, 3, 1)
    assert found["kshot"] == pytest.approx(200 / 3)
    assert found["low"] < found["kshot"] < found["high"]
    assert found["wrong"] == ["asked.csv:2"]
    task = kshot.load(desk)
    assert found["strangers_unknown"] == int(task.predict(["what is for lunch"]).unknown.sum())
    assert "rate for pounds please" in result.stdout
    assert "--shots: settings of random tasks" in refused("evaluate", desk, "--data", asked, "--shots", 5)
    assert "saved task is asked one" in refused("evaluate", desk, "--data", asked, "--data", asked)


def test_two_versions_are_compared_on_a_table_without_labels(desk: Path, table: Path, tmp_path: Path) -> None:
    more, asked = tmp_path / "more.csv", tmp_path / "asked.csv"
    more.write_text("text,label\nwhat is for lunch,food\nlunch please,food\n")
    asked.write_text(ASKED)
    new = tmp_path / "new.kshot"
    call("add", desk, more, "-o", new)
    found = figures(call("diff", desk, new, asked, "--json"))
    assert found["given_asked"] == 4
    assert found["given_different"] >= 1
    assert found["repairs"] == ["more.csv:1", "more.csv:2"]  # the taught examples, which have labels


def test_a_whole_class_is_removed_brought_back_and_forgotten(desk: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.csv"
    more.write_text("text,label\nwhat is for lunch,food\nlunch please,food\n")
    call("add", desk, more)
    assert "'food' is a class, not the name of an example: kshot ... --class" in refused(
        "remove", desk, "food"
    )
    assert "class 'fod' is not in this task" in refused("remove", desk, "--class", "fod")
    assert "0 examples were named" in refused("remove", desk)
    assert figures(call("remove", desk, "--class", "food", "--json"))["removed"] == 2
    assert kshot.load(desk).space.labels == ("card", "rate")
    call("restore", desk)
    assert figures(call("forget", desk, "--class", "food", "taught.csv:1", "--json"))["forgotten"] == 3
    assert kshot.load(desk).ids == tuple(f"taught.csv:{row}" for row in range(2, 7))


def test_slips_are_told_with_their_way_out(desk: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "no.kshot"
    assert "write --text 'my card is lost'" in refused("predict", desk, "my card is lost")
    assert "name the base first" in refused("adapt", table, "hash:ngram", "-o", out)
    assert "hf:OWNER/MODEL" in refused("adapt", "bert-base-uncased", table, "-o", out)
    assert "for example hash:ngram" in refused("adapt", "glyphs", table, "-o", out)
    assert "kshot add" in refused("adapt", desk, table, "-o", out)
    assert "--baselines are raw pixels" in refused("evaluate", "hash:ngram", "--data", table, "--baselines")
    assert not out.exists()


def test_choosing_knows_what_texts_are_compared_on(table: Path) -> None:
    result = call("choose", table, "--budget", 5, "--json")
    assert "holds texts: compared on hash:ngram" in result.stdout
    assert figures(result)["choice"]


def test_inputs_taken_for_labels_are_noticed(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("text,label\n" + "".join(f"message {n},{'ab'[n % 2]}\n" for n in range(41)))
    words = ("adapt", "hash:ngram", table, "-o", tmp_path / "t.kshot")
    assert "wrong way round" in call(*words, "--input", "label", "--label", "text").stdout
    assert "wrong way round" not in call(*words).stdout
