"""Texts from the command line: tables, single texts, training a small encoder."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from commands import call, figures

ROWS = [
    ("where is my card", "card"),
    ("my card has not arrived", "card"),
    ("what is the rate", "rate"),
    ("which exchange rate do I get", "rate"),
    ("12345", "number"),
    ("777", "number"),
]


def table(file: Path, rows: list[tuple[str, str]]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("text", "label"), *rows])
    return file


@pytest.fixture
def task(tmp_path: Path) -> Path:
    call("adapt", "hash:ngram?dim=512", table(tmp_path / "in.csv", ROWS), "-o", tmp_path / "t.kshot")
    return tmp_path / "t.kshot"


def test_a_table_is_learned_and_asked(task: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    assert figures(call("predict", task, tmp_path / "in.csv", "--csv", out, "--json"))["kshot"] == 6
    with out.open(encoding="utf-8") as opened:
        assert [row["label"] for row in csv.DictReader(opened)] == [label for _, label in ROWS]


def test_numbers_in_a_column_of_texts_stay_texts(tmp_path: Path) -> None:
    """A text base reads a column as texts, also where every text is a number or ends like a picture's name."""
    rows = [("007", "a"), ("008", "a"), ("see photo.jpg", "b"), ("my photo.png", "b")]
    for name, part in (("numbers", [*rows[:2], ("9", "b")]), ("pictures", [*rows[2:], ("photo", "a")])):
        file = table(tmp_path / f"{name}.csv", part)
        call("adapt", "hash:ngram?dim=64", file, "-o", tmp_path / "t.kshot")
        assert figures(call("predict", tmp_path / "t.kshot", file, "--json"))["kshot"] == 3


def test_texts_on_the_command_line(task: Path, tmp_path: Path) -> None:
    said = call("predict", task, "--text", "is my card here", "--text", "rates", "--json")
    assert figures(said)["kshot"] == 2
    assert "card" in said.stdout
    assert "name files, or give --text" in call("predict", task, code=2).output.replace("\n", " ")


def test_explain_shows_the_sentences(task: Path, tmp_path: Path) -> None:
    page = tmp_path / "why.html"
    said = call("explain", task, "--text", "is my card here", "--html", page, "--json")
    assert figures(said)["label"] == "card"
    assert "“where is my card”" in said.stdout
    assert "where is my card" in page.read_text(encoding="utf-8")
    few = call("explain", task, "--text", "is my card here", "--most", 2).stdout
    assert few.count(" points, ") == 2
    assert "... and 4 more (--most 6 names all)" in few
    assert "name at least 1" in call("explain", task, "--text", "x", "--most", 0, code=2).output


def test_new_intents_are_added_and_forgotten(task: Path, tmp_path: Path) -> None:
    more = table(tmp_path / "more.csv", [("gift vouchers please", "gift")])
    assert figures(call("add", task, more, "--json"))["classes"] == 4
    assert figures(call("remove", task, "more.csv:1", "--json"))["removed"] == 1
    call("check", tmp_path / "in.csv")


def test_an_empty_text_is_told_with_its_row(task: Path, tmp_path: Path) -> None:
    asked = table(tmp_path / "asked.csv", [("where is it", "x"), ("  ", "x")])
    said = call("predict", task, asked, code=2).output.replace("\n", " ")
    assert "asked.csv:2" in said
    assert "visible character" in said
    assert figures(call("predict", task, asked, "--skip-unreadable", "--json"))["skipped"] == 1


def test_an_encoder_that_is_not_there_says_what_is(tmp_path: Path) -> None:
    file = table(tmp_path / "in.csv", ROWS)
    assert "known are" in call("adapt", "pkg:nothing", file, code=2).output.replace("\n", " ")


def test_a_small_encoder_is_trained(tmp_path: Path) -> None:
    rooms = ["kitchen", "garden", "cellar", "attic", "hall", "porch", "study", "garage", "bath", "shed"]
    rows = [
        (f"please {verb} the {room}", room)
        for room in rooms
        for verb in ("clean", "paint", "light", "lock", "open")
    ]
    base = tmp_path / "base.kshot"
    file = table(tmp_path / "rooms.csv", rows)
    call(
        "train",
        "--data",
        file,
        "--encoder",
        "small?width=16&layers=1&buckets=200",
        "--steps",
        3,
        "-o",
        base,
        "--ways",
        2,
    )
    call("adapt", base, table(tmp_path / "in.csv", ROWS), "-o", tmp_path / "t.kshot")
    assert figures(call("predict", tmp_path / "t.kshot", "--text", "my card", "--json"))["kshot"] == 1
    found = figures(
        call(
            "evaluate",
            "hash:ngram?dim=256",
            "--data",
            file,
            "--ways",
            5,
            "--tasks",
            20,
            "--queries",
            2,
            "--json",
        )
    )
    assert found["kshot"] > 50  # by lot: 20


def test_a_small_table_is_measured_on_what_it_has(tmp_path: Path) -> None:
    """Where nobody sets them, classes and questions per task are those that the data can give, and it is said."""
    small = table(tmp_path / "small.csv", [*ROWS, ("88", "number")])
    report = tmp_path / "r.json"
    said = call("evaluate", "hash:ngram", "--data", small, "--tasks", 4, "-o", report, "--json")
    assert figures(said)["kshot_tasks"] == 4
    heard = " ".join(said.stdout.split())
    assert "small.csv has 3 classes: tasks have 3" in heard
    assert "Class 'card'" in heard
    assert "has 2 examples: 1 a class is asked beside the 1 taught" in heard
    assert "3-way 1-shot, 1 queries a class" in report.read_text(encoding="utf-8")


def test_a_class_that_is_too_small_is_named(tmp_path: Path) -> None:
    single = table(tmp_path / "single.csv", [*ROWS, ("a gift", "gift")])
    for more in ((), ("--queries", 2), ("--ways", 2, "--queries", 3)):
        said = call("evaluate", "hash:ngram", "--data", single, *more, code=2).output.replace("\n", " ")
        assert "class 'gift' has 1 examples" in said
    assert "5-way tasks need at least 5" in " ".join(
        call(
            "evaluate", "hash:ngram", "--data", table(tmp_path / "s.csv", ROWS), "--ways", 5, code=2
        ).output.split()
    )
