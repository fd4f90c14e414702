"""Answers to many inputs at once: read in chunks, so memory stays flat however many there are."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import typer

from kshot.commandline import pieces
from kshot.commandline.output import say
from kshot.commandline.questions import Question
from kshot.errors import DataError
from kshot.learners import Adapted
from kshot.tasks.spaces import Classes, Numbers, Pieces

CHUNK = 64


@dataclass(frozen=True)
class Answer:
    """The answer to one input.

    Attributes:
        name: the file, or FILE:ROW.
        label: the class; for numbers the number, or the list of them.
        sure: probability of the label; for numbers the standard deviation of the first (NaN where it is not known).
        unknown: it looks like none of the classes.
        figures: every class's probability; for numbers the values and then their deviations.
        among: classes that hold the right one nine times out of ten, where the base was calibrated.
        found, strangers: where answers are spans or boxes: those of the classes, and those that are unknown; `label`
            then says how many of each.
        asked: the input itself, where it is a text.
    """

    name: str
    label: Any
    sure: float
    unknown: bool
    figures: tuple[float, ...]
    among: tuple[Any, ...] = ()
    found: tuple[Any, ...] = ()
    strangers: tuple[Any, ...] = ()
    asked: str = ""


def short(text: str, most: int = 2000) -> str:
    """A text on one line, its end left out where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def doubt(answer: Answer) -> str:
    """What to say beside an answer: "unknown", the other classes it may be, or nothing."""
    others = [str(label) for label in answer.among if label != answer.label]
    many = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return "unknown" if answer.unknown else f"or {', '.join(others[:3])}{many}" if others else ""


@dataclass
class Skipped:
    """Inputs that could not be read, with the reason."""

    reasons: dict[str, str] = field(default_factory=dict)


def answer_all(
    task: Adapted, asked: Iterable[Question], skipped: Skipped | None = None, refused: float | None = None
) -> Iterator[Answer]:
    """An answer per question, in order.

    Args:
        skipped: unreadable inputs are noted here and left out; None: they are an error.
        refused: share of known inputs that may wrongly be called unknown; None: the base's own.

    Raises:
        DataError: the task answers with nothing that predict can write, or an unreadable input.
    """
    if not isinstance(task.space, Classes | Numbers | Pieces):
        raise DataError(
            f"this task answers with {task.space.kind}; predict answers with classes, numbers, spans or boxes"
        )
    questions = iter(asked)
    while chunk := list(itertools.islice(questions, CHUNK)):
        yield from _answer_chunk(task, chunk, skipped, refused)


def _answer_chunk(
    task: Adapted, chunk: list[Question], skipped: Skipped | None, refused: float | None
) -> Iterator[Answer]:
    read, kept = [], []
    for name, item in chunk:
        try:
            read.append(task.learner.encoder.read([item])[0])
            kept.append(name)
        except DataError as cause:
            if skipped is None:
                raise DataError(
                    f"{name} cannot be read ({cause}); nothing was written: remove it, or leave out what cannot be read "
                    "with --skip-unreadable"
                ) from None
            skipped.reasons[name] = str(cause)
    if kept:
        found = task.predict(read, refused=refused)
        if isinstance(task.space, Pieces):
            yield from map(_pieces, kept, found.pieces, found.unknown)
            return
        told = map(_classes if isinstance(task.space, Classes) else _numbers, kept, *_columns(task, found))
        for answer, item in zip(told, read, strict=True):
            yield replace(answer, asked=item) if isinstance(item, str) else answer


def _columns(task: Adapted, found: Any) -> tuple[Sequence[Any], ...]:
    if isinstance(task.space, Classes):
        sets = found.sets() if found.sureness is not None else [()] * len(found)
        return found.labels, found.probabilities.tolist(), found.unknown.tolist(), sets
    deviations = [[]] * len(found) if found.deviations is None else found.deviations.tolist()
    return found.values.tolist(), deviations


def _classes(
    name: str, label: Any, probabilities: list[float], unknown: bool, among: tuple[Any, ...]
) -> Answer:
    return Answer(name, label, max(probabilities), unknown, tuple(probabilities), among)


def _pieces(name: str, found: list[Any], unknown: list[Any]) -> Answer:
    sure = max((piece.probability for piece in found), default=0.0)
    told = pieces.summary(found, unknown)
    return Answer(name, told, sure, bool(unknown), (), (), tuple(found), tuple(unknown))


def _numbers(name: str, values: list[float], deviations: list[float]) -> Answer:
    sure = deviations[0] if deviations else float("nan")
    return Answer(name, values[0] if len(values) == 1 else values, sure, False, (*values, *deviations))


def head(task: Adapted) -> list[str]:
    """The columns of the CSV file."""
    if isinstance(task.space, Pieces):
        return pieces.head(task)
    first = {"image": ["file"], "text": ["row", "text"]}.get(task.learner.encoder.modality, ["row"])
    if isinstance(task.space, Classes):
        return [*first, "label", "probability", "unknown", *(f"p({c})" for c in task.space.labels)]
    return [*first, *_numbered("value", task.space.size), *_numbered("deviation", task.space.size)]


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name} {k}" for k in range(1, count + 1)]


def _lines(task: Adapted, answer: Answer) -> list[list[Any]]:
    """The answer as a line; spans and boxes as a line each."""
    figures = [repr(figure) for figure in answer.figures]
    if isinstance(task.space, Pieces):
        return pieces.lines(answer.name, answer.found, answer.strangers)
    first = [answer.name, answer.asked] if task.learner.encoder.modality == "text" else [answer.name]
    if isinstance(task.space, Classes):
        return [[*first, answer.label, repr(answer.sure), "yes" if answer.unknown else "no", *figures]]
    return [[*first, *figures, *[""] * (2 * task.space.size - len(figures))]]


def write_csv(task: Adapted, answers: Iterable[Answer], path: Path) -> int:
    """Write answers as they come to `path`, which appears only when all are written; returns how many.

    Columns for classes: file (or row, and text), label, probability, unknown, then the probability of each class; for
    numbers: file (or row), values, and their standard deviations where the learner knows them; for spans and boxes a
    line each: file (or row), where, label, probability, unknown.
    """
    count = 0

    def rows() -> Iterator[list[Any]]:
        nonlocal count
        for answer in answers:
            count += 1
            yield from _lines(task, answer)

    write_table(head(task), rows(), path)
    return count


def write_table(names: Sequence[str], rows: Iterable[Sequence[Any]], path: Path) -> None:
    """Write rows as they come to a .csv file, which appears only when all are written.

    Raises:
        DataError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", newline="", encoding="utf-8") as out:
            table = csv.writer(out)
            table.writerow(names)
            table.writerows(rows)
        os.replace(beside, path)
    except OSError as cause:
        raise DataError(
            f"{path} cannot be written ({cause.strerror or cause}); choose another place for --csv"
        ) from cause
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def say_summary(count: int, shown: int, unknown: int, skipped: Skipped, csv: Path | None) -> None:
    """How many were asked, how many are unknown, and what could not be read."""
    if count > shown:
        say(
            f"... and {count - shown} more"
            + ("." if csv else "; write them all to a file with --csv answers.csv")
        )
    say(
        f"{count} inputs answered, {unknown} of them unknown."
        + (f" All answers are in {csv}." if csv else "")
    )
    for reason in list(skipped.reasons.values())[:10]:
        typer.echo(f"Skipped: {reason}", err=True)
    if skipped.reasons:
        typer.echo(f"{len(skipped.reasons)} inputs could not be read and were left out.", err=True)
