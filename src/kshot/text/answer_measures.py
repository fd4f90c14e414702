"""What a bank of answers learns from messages whose answer is known: its threshold and its weights.

Where none are given they are its own questions, each left out in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot.errors import DataError, UnsupportedError
from kshot.tasks.spaces.sureness import checked_share
from kshot.text.mixing import Case, Mix, learn_mix
from kshot.text.texts import read_texts

if TYPE_CHECKING:
    from kshot.text.answer_bank import AnswerBank

_LEAST = 20
"""Messages that a threshold is measured on at least."""
_MEASURED = 100
"""Own questions that it is measured on at most. With hashed n-grams that took 0.1 s of processor time in a bank of 500
questions and 1.3 s in one of 5,000, once for each bank."""

_USUAL_SHARE = 0.05


def left_out(bank: AnswerBank, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Signs [m, entries, 4] of the bank's own questions without themselves, and their owners [m].

    Only of entries with several questions; of more than `most`, evenly spaced ones.
    """
    part = bank.questions
    several = np.bincount(part.owner, minlength=len(bank))[part.owner] > 1
    rows = np.flatnonzero(several)
    if most is not None and len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
    texts = bank.text_signs([part.texts[row] for row in rows], part.meaning.features[rows])
    texts[0][np.arange(len(rows)), rows] = -np.inf
    return bank.entry_signs(texts), part.owner[rows]


def known_scores(bank: AnswerBank) -> np.ndarray:
    """Ascending best scores of messages that have an answer: those that the bank was given, else its own questions left out."""
    if bank.known:
        return np.sort(bank.scores(list(bank.known)).max(1))
    signs, _ = left_out(bank, _MEASURED)
    return np.sort(bank.mix.scores(signs).max(1)) if len(signs) else np.zeros(0)


def least_score(bank: AnswerBank, found: np.ndarray, refused: float | None) -> float:
    """The score under which a message is unknown, by `known_scores`; `bank.threshold` is the public door."""
    share = _USUAL_SHARE if refused is None else checked_share("refused", refused)
    if len(found) < _LEAST:
        if refused is not None:
            raise UnsupportedError(
                f"refused is {refused}, and this bank has {len(found)} messages to measure that on; it takes {_LEAST}: "
                "give entries several questions, or messages that have an answer by with_known"
            )
        return -np.inf
    place = int(share * (len(found) + 1))
    return float(found[place - 1]) if place else -np.inf


def fitted_mix(bank: AnswerBank, messages: Any, right: Sequence[str] | None) -> Mix:
    """The bank's weights after messages with known answers; `bank.tuned` is the public door."""
    if messages is None:
        signs, owner = left_out(bank)
        if not len(owner):
            raise UnsupportedError(
                f"none of {len(bank)} entries has two questions, so none can be left out; give messages and right="
            )
    else:
        place = {name: n for n, name in enumerate(bank.ids)}
        missing = [name for name in right or () if name not in place]
        if right is None or missing or len(right) != len(read_texts(messages)):
            raise DataError(f"right is {missing or right}; give the id of the right entry for each message")
        signs, owner = bank.signs(messages), np.array([place[name] for name in right])
    cases = [Case(one, np.arange(len(bank)) == own) for one, own in zip(signs, owner, strict=True)]
    return learn_mix(cases, bank.mix, f"{len(cases)} messages, from {bank.mix.source}")
