"""Answers for many files at once: read in chunks, so memory stays flat however many there are."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kshot.errors import DataError
from kshot.learners import Adapted
from kshot.tasks.spaces import Classes

CHUNK = 64


@dataclass(frozen=True)
class Answer:
    """The answer to one file: label, its probability, whether it is unknown, and every class's probability."""

    file: Path
    label: Any
    probability: float
    unknown: bool
    probabilities: tuple[float, ...]


@dataclass
class Skipped:
    """Files that could not be read, with the reason."""

    reasons: dict[str, str] = field(default_factory=dict)


def answer_files(task: Adapted, files: Iterable[Path], skipped: Skipped | None = None) -> Iterator[Answer]:
    """An answer per file, in order.

    Args:
        skipped: unreadable files are noted here and left out; None: they are an error.

    Raises:
        DataError: the task does not answer with classes, or an unreadable file.
    """
    if not isinstance(task.space, Classes):
        raise DataError(f"this task answers with {task.space.kind}; predict answers pictures with classes")
    chunk: list[Path] = []
    for file in files:
        chunk.append(file)
        if len(chunk) == CHUNK:
            yield from _answer_chunk(task, chunk, skipped)
            chunk = []
    if chunk:
        yield from _answer_chunk(task, chunk, skipped)


def _answer_chunk(task: Adapted, files: list[Path], skipped: Skipped | None) -> Iterator[Answer]:
    read, kept = [], []
    for file in files:
        try:
            read.append(task.learner.encoder.read([file])[0])
            kept.append(file)
        except DataError as cause:
            if skipped is None:
                raise DataError(
                    f"{file} cannot be read ({cause}); nothing was written: remove the file, or leave out unreadable ones "
                    "with --skip-unreadable"
                ) from None
            skipped.reasons[str(file)] = str(cause)
    if not kept:
        return
    found = task.predict(read)
    for place, file in enumerate(kept):
        row = tuple(found.probabilities[place].tolist())
        yield Answer(file, found.labels[place], max(row), bool(found.unknown[place]), row)


def write_csv(task: Adapted, answers: Iterable[Answer], path: Path) -> int:
    """Write answers as they come to `path`, which appears only when all are written; returns how many.

    Columns: file, label, probability, unknown, then the probability of each class.
    """
    beside = path.with_name(f".{path.name}.part")
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", newline="", encoding="utf-8") as out:
            table = csv.writer(out)
            table.writerow(
                [
                    "file",
                    "label",
                    "probability",
                    "unknown",
                    *(f"p({c})" for c in task.space.to_json()["labels"]),
                ]
            )
            for a in answers:
                count += 1
                unknown = "yes" if a.unknown else "no"
                table.writerow([a.file, a.label, repr(a.probability), unknown, *map(repr, a.probabilities)])
        os.replace(beside, path)
    except OSError as cause:
        raise DataError(
            f"{path} cannot be written ({cause.strerror or cause}); choose another place for --csv"
        ) from cause
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    return count
