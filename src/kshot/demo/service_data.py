"""What the service desk of the demo learns: BANKING77 where it is, else sentences that kshot ships."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from kshot.errors import DataError

SHOTS = 5
_ASKED = 1000
"""Test messages asked at most, evenly spaced, so that the demo ends in time."""


@dataclass(frozen=True)
class DeskData:
    """Sentences of intents.

    Attributes:
        name: of the data. taught, asked: pairs (sentence, intent) to learn from and to be asked, apart.
        answers: by intent, where there are any. strangers: sentences that belong to no intent.
    """

    name: str
    taught: list[tuple[str, str]]
    asked: list[tuple[str, str]]
    answers: dict[str, str] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)

    @property
    def intents(self) -> list[str]:
        """Names, sorted."""
        return sorted({intent for _, intent in self.taught})


def desk_data(data: Path | None = None) -> DeskData:
    """BANKING77, 5 sentences an intent, out of `data` or the folder that KSHOT_DATA names; else the shipped desk.

    Raises:
        DataError: `data` is given and holds no banking77, or it cannot be read.
    """
    named = os.environ.get("KSHOT_DATA")
    folder = data if data is not None else Path(named) if named else None
    for place in (folder, folder / "banking77") if folder is not None else ():
        if (place / "banking77_fewshot_splits.jsonl.gz").is_file():
            return _banking77(place)
    if data is not None:
        raise DataError(f"{data} holds no banking77 with banking77_fewshot_splits.jsonl.gz; leave --data out for the "
                        "sentences that kshot ships")  # fmt: skip
    return shipped_desk()


def shipped_desk() -> DeskData:
    """The desk of an invented shop: 16 intents, 8 sentences each, of which 5 are taught; written for kshot.

    >>> desk = shipped_desk()
    >>> len(desk.intents), len(desk.taught), len(desk.asked)
    (16, 80, 48)
    """
    taught: list[tuple[str, str]] = []
    asked: list[tuple[str, str]] = []
    answers, strangers = {}, []
    text = (resources.files("kshot") / "demo" / "service_desk.jsonl").read_text(encoding="utf-8")
    for row in map(json.loads, text.splitlines()):
        if "unknown" in row:
            strangers += row["sentences"]
            continue
        pairs = [(sentence, row["intent"]) for sentence in row["sentences"]]
        taught, asked = taught + pairs[:SHOTS], asked + pairs[SHOTS:]
        answers[row["intent"]] = row["answer"]
    return DeskData("the desk that kshot ships", taught, asked, answers, strangers)


def _banking77(folder: Path) -> DeskData:
    few = _rows(folder / "banking77_fewshot_splits.jsonl.gz")
    every = _rows(folder / "banking77.jsonl.gz")
    try:
        taught = [(row["text"], row["intent"]) for row in few if row["split"] == f"train_{SHOTS}"]
        asked = [(row["text"], row["intent"]) for row in every if row["split"] == "test"]
    except KeyError as cause:
        raise DataError(f"{folder}: a row has no {cause}; each row holds split, text and intent") from None
    step = -(-len(asked) // _ASKED)
    return DeskData("BANKING77", taught, asked[::step], strangers=shipped_desk().strangers)


def _rows(file: Path) -> list[dict[str, Any]]:
    def lines() -> Iterator[dict[str, Any]]:
        with gzip.open(file, "rt", encoding="utf-8") as opened:
            yield from map(json.loads, opened)

    try:
        return list(lines())
    except (OSError, EOFError, ValueError) as cause:
        raise DataError(f"{file} cannot be read ({cause}); fetch it again") from None
