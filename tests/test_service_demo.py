"""The service desk of the demo, on the sentences that kshot ships and on a small BANKING77-shaped folder."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from kshot.cli import app
from kshot.demo.service import run_service
from kshot.demo.service_data import desk_data, shipped_desk
from kshot.errors import DataError

SCRIPT = """Where do I find a return label?
/teach pets: my cat scratched the sofa | the dog ate my glove | a puppy bit the wire
the dog bit my glove
/why
/forget pets
the dog bit my glove
/forget pets
/teach nothing
/nonsense
/table
/quit
never reached
"""


def test_a_script_teaches_asks_explains_and_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KSHOT_DATA", raising=False)
    script, told = tmp_path / "script.txt", io.StringIO()
    script.write_text(SCRIPT)
    found = run_service(Console(file=told, width=200), spec="hash:ngram", script=script)
    text = told.getvalue()
    assert "return_item" in text
    assert "Print the return label" in text
    assert "Learned pets from 3 sentences" in text
    assert "pets: the dog ate my glove" in text
    after = text.split("Forgot pets")[1]
    assert "'pets' is not there" in after
    assert "pets " not in after.split("> /forget")[0]
    assert "write /teach NAME" in after
    assert "never reached" not in text
    assert text.count("logistic regression") == 2
    assert found["answered"] + found["passed_on"] == 3
    assert found["intents"] == 16
    assert 0 < found["kshot_accuracy"] <= 100
    assert 0 <= found["refused_far"] <= 100


def test_piped_lines_are_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KSHOT_DATA", raising=False)
    words = ["demo", "service", "--encoder", "hash:ngram", "--json"]
    result = CliRunner().invoke(app, words, input="When are you open?\n/tech x: y\n/teach : y\n/quit\n")
    assert result.exit_code == 0, result.output
    assert "opening_hours" in result.stdout
    assert "/tech is no command" in result.stdout
    assert "/teach ': y' has no name" in result.stdout
    figures = json.loads(result.stdout.strip().splitlines()[-1])
    assert figures["answered"] + figures["passed_on"] == 1
    wrong = CliRunner().invoke(app, ["demo", "weather"])
    assert wrong.exit_code == 2
    assert "'weather'" in wrong.output


def test_banking77_is_found_and_what_is_asked_is_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KSHOT_DATA", raising=False)
    folder = tmp_path / "banking77"
    folder.mkdir()
    few = [
        {"split": "train_5", "intent": "a", "text": "one"},
        {"split": "valid", "intent": "a", "text": "no"},
    ]
    every = [
        {"split": "test", "intent": "a", "text": "two"},
        {"split": "train", "intent": "a", "text": "one"},
    ]
    for name, rows in (("banking77_fewshot_splits", few), ("banking77", every)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    found = desk_data(tmp_path)
    assert (found.name, found.taught, found.asked) == ("BANKING77", [("one", "a")], [("two", "a")])
    assert desk_data().name == shipped_desk().name
    with pytest.raises(DataError, match="holds no banking77"):
        desk_data(tmp_path / "nowhere")
    (folder / "banking77.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="fetch it again"):
        desk_data(tmp_path)


def test_the_shipped_desk_asks_nothing_it_taught() -> None:
    desk = shipped_desk()
    assert not {text for text, _ in desk.taught} & {text for text, _ in desk.asked}
    assert set(desk.answers) == set(desk.intents)
    assert len(desk.strangers) == len(set(desk.strangers)) == 24
