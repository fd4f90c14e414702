"""A saved bank of answers asked from the command line: its reply to each message, and the texts that speak for it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kshot.commandline.answers import CHUNK, Skipped, say_summary, short, write_table
from kshot.commandline.output import finish, say, show_table
from kshot.commandline.questions import Question
from kshot.errors import DataError
from kshot.text import AnswerBank, Reply

_SHOWN = 40
_SUPPORTS = 3
HEAD = ("row", "text", "id", "answer", "probability", "unknown", "score",
        *(f"{what} {place}" for place in range(1, _SUPPORTS + 1) for what in ("nearest", "of", "fits")))  # fmt: skip
"""Columns of the CSV file: the reply, then the nearest texts, whose entries they are, and how well each fits."""


def reply_all(
    bank: AnswerBank,
    asked: Iterator[Question],
    csv: Path | None,
    skipped: Skipped | None,
    refused: float | None,
    as_json: bool,
) -> None:
    """Ask the bank every message, show the first replies, write them all to `csv`, say how many are unknown.

    Args:
        skipped: what cannot be read is noted here and left out; None: it is an error.
    """
    shown: list[tuple[str, Reply]] = []
    count = unknown = 0

    def watched() -> Iterator[list[Any]]:
        nonlocal count, unknown
        for name, reply in replies(bank, asked, skipped, refused):
            count, unknown = count + 1, unknown + reply.unknown
            if len(shown) < _SHOWN:
                shown.append((name, reply))
            yield _line(name, reply)

    if csv is None:
        for _ in watched():
            pass
    else:
        write_table(HEAD, watched(), csv)
    _show(shown)
    held = skipped or Skipped()
    say_summary(count, len(shown), unknown, held, csv)
    single = _facts(shown[0][1]) if count == 1 else {}
    finish({"kshot": count, "unknown": unknown, **single, "skipped": len(held.reasons), "csv": csv}, as_json)


def replies(
    bank: AnswerBank, asked: Iterator[Question], skipped: Skipped | None, refused: float | None
) -> Iterator[tuple[str, Reply]]:
    """A name and a reply for each message, in order; a few at a time, so memory stays flat.

    Raises:
        DataError: an unreadable message, unless `skipped` is given.
    """
    while chunk := list(itertools.islice(asked, CHUNK)):
        kept = [question for question in chunk if _readable(bank, question, skipped)]
        if kept:
            found = bank.ask_many([item for _, item in kept], refused=refused, supports=_SUPPORTS)
            yield from zip((name for name, _ in kept), found, strict=True)


def _readable(bank: AnswerBank, question: Question, skipped: Skipped | None) -> bool:
    try:
        bank.encoder.read([question.input])
    except DataError as cause:
        if skipped is None:
            raise DataError(
                f"{question.name} cannot be read ({cause}); nothing was written: remove it, or leave out what cannot be "
                "read with --skip-unreadable"
            ) from None
        skipped.reasons[question.name] = str(cause)
        return False
    return True


def _show(shown: Sequence[tuple[str, Reply]]) -> None:
    """A line a message; of a single one the whole answer, and the texts nearest to it."""
    if len(shown) == 1:
        reply = shown[0][1]
        say(f"{reply.id}, {_sure(reply)}{', unknown: the nearest is' if reply.unknown else ''}:")
        say(reply.answer)
        say("Nearest:")
        rows = [[f"{one.score:.1f}", one.id, one.field, short(one.text, 60)] for one in reply.supports]
        show_table(["fits", "entry", "its", ""], rows, right=[0])
        return
    lines = [
        [name, reply.id, _sure(reply), "unknown" if reply.unknown else "", short(reply.answer, 40),
         short(reply.supports[0].text, 40), short(reply.message, 40)] for name, reply in shown
    ]  # fmt: skip
    show_table(["row", "reply", "sure", "", "answer", "nearest", ""], lines, right=[2])


def _sure(reply: Reply) -> str:
    return f"{100 * reply.probability:.0f} %"


def _line(name: str, reply: Reply) -> list[Any]:
    supports = [value for one in reply.supports for value in (one.text, one.id, repr(one.score))]
    figures = [repr(reply.probability), "yes" if reply.unknown else "no", repr(reply.score)]
    first = [name, reply.message, reply.id, reply.answer, *figures]
    return [*first, *supports, *[""] * (len(HEAD) - len(first) - len(supports))]


def _facts(reply: Reply) -> dict[str, Any]:
    """Of a single message: the reply in the JSON line too."""
    return {
        "id": reply.id, "answer": reply.answer, "probability": reply.probability, "score": reply.score,
        "supports": [one.text for one in reply.supports], "support_ids": [one.id for one in reply.supports],
    }  # fmt: skip
