"""Every row of results/ says what, how, by which command, from which commit and at what cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).resolve().parent.parent / "results").glob("*.jsonl"))
WANTED = {"what", "regime", "protocol", "command", "commit", "machine", "date"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_rows_are_whole(file: Path) -> None:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert rows
    for row in rows:
        assert row.keys() >= WANTED, row
        module, *words = row["command"].removeprefix("python -m ").split()
        assert module.startswith("benchmarks."), row["command"]
        assert not [word for word in words if word.startswith("/")], row["command"]
        assert isinstance(row["seeds"], list), row
        if isinstance(row.get("value"), float):  # a figure, not a curve
            assert row.keys() >= {"data", "low", "high", "n_tasks", "cpu_seconds"}, row
