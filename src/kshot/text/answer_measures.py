"""What a bank of answers learns from messages whose answer is known: its threshold and its weights.

Where none are given they are its own questions, each left out in turn, and for the threshold other banks besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kshot.errors import DataError, UnsupportedError
from kshot.learners.self_knowledge import Gauge, among
from kshot.tasks.spaces.sureness import checked_share
from kshot.text.knowledge import of_answers, settled
from kshot.text.mixing import Case, Mix, learn_mix
from kshot.text.texts import read_texts

if TYPE_CHECKING:
    from kshot.text.answer_bank import AnswerBank

_ENOUGH = 20
"""Known messages that decide alone."""
_MEASURED = 100
"""Own questions that a threshold is measured on at most."""

_USUAL_SHARE = 0.05


class OwnQuestions(NamedTuple):
    """How a bank answers m of its own questions.

    Attributes:
        whole, without: scores of entries [m, entries], with the question in the bank and without it.
        owner: places of their entries, [m]. several: the entry has another question, [m] booleans.
    """

    whole: np.ndarray
    without: np.ndarray
    owner: np.ndarray
    several: np.ndarray

    @property
    def gauge(self) -> Gauge:
        """The bank's own measure of scores, as a task has one."""
        parts = (self.whole, self.owner, self.without)
        return Gauge.of(*map(torch.from_numpy, parts))

    @property
    def fair(self) -> np.ndarray:
        """Best scores of questions left out that their entry could still answer."""
        best: np.ndarray = self.without[self.several].max(1) if self.several.any() else np.zeros(0)
        return best


def own_questions(bank: AnswerBank) -> OwnQuestions | None:
    """At most 100 of them, evenly spaced; None where there are none."""
    part = bank.questions
    if not part.texts:
        return None
    several = np.bincount(part.owner, minlength=len(bank))[part.owner] > 1
    rows = _spaced(np.arange(len(part.texts)), _MEASURED)
    whole, without = map(bank.mix.scores, _asked_of_itself(bank, rows))
    return OwnQuestions(whole, without, part.owner[rows], several[rows])


def left_out(bank: AnswerBank) -> tuple[np.ndarray, np.ndarray]:
    """Signs [m, entries, 4] of the bank's own questions without themselves, and their owners [m].

    Only of entries with several questions.
    """
    part = bank.questions
    rows = np.flatnonzero(np.bincount(part.owner, minlength=len(bank))[part.owner] > 1)
    return _asked_of_itself(bank, rows)[1], part.owner[rows]


def _spaced(rows: np.ndarray, most: int) -> np.ndarray:
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]


def _asked_of_itself(bank: AnswerBank, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signs [m, entries, 4] of questions at `rows`: with them in the bank, and without each."""
    part = bank.questions
    texts = bank.text_signs([part.texts[row] for row in rows], part.meaning.features[rows], together=True)
    whole = bank.entry_signs(texts)
    texts[0][np.arange(len(rows)), rows] = -np.inf
    return whole, bank.entry_signs(texts)


def least_score(bank: AnswerBank, refused: float | None, table: Tensor | None = None) -> float:
    """The score under which a message is unknown; `bank.threshold` is the public door.

    Args:
        table: what other banks say; None: the table that travels with kshot.
    """
    share = _USUAL_SHARE if refused is None else checked_share("refused", refused)
    own, known = bank.own_questions, bank.known_scores
    usual = -np.inf if own is None else _usual(bank, own, share, table)
    if len(known):
        least = settled(known, share, usual, min(1.0, len(known) / _ENOUGH))
    else:
        least = settled(np.zeros(0) if own is None else own.fair, share, usual)
    if least == -np.inf and refused is not None:
        raise UnsupportedError(
            f"refused is {refused}, and this bank of {len(bank)} answers has no question and {len(known)} known messages "
            f"to measure that on: give entries questions, or {_ENOUGH} messages that have an answer by with_known"
        )
    return least


def _usual(bank: AnswerBank, own: OwnQuestions, share: float, table: Tensor | None) -> float:
    """The threshold by other banks of this size."""
    gauge, asked = own.gauge, int(bank.asked.sum())
    rows = of_answers(bank.encoder) if table is None else table
    cell = among(rows, len(bank), len(bank.questions.texts) / asked)
    assert cell is not None  # the table that kshot ships has rows
    return gauge.others + gauge.span * gauge.sureness(cell.sureness).threshold(share)


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
