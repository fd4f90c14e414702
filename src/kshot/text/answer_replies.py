"""A reply of a bank of answers, and the texts that speak for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kshot.text.entries import Reply, Support
from kshot.text.mixing import UNIT

if TYPE_CHECKING:
    from kshot.text.answer_bank import AnswerBank


def reply(
    bank: AnswerBank, message: str, scores: np.ndarray, moves: np.ndarray,
    texts: list[np.ndarray], least: float, supports: int, best: int,
) -> Reply:  # fmt: skip
    """One reply from the scores and moves of entries [entries] and the signs of texts, each [texts, 2]."""
    order = np.argsort(-scores, kind="stable")[: max(best, 1)]
    first = int(order[0])
    return Reply(
        message=message,
        id=bank.ids[first],
        answer=bank.entries[first].answer,
        unknown=bool(scores[first] < least),
        score=float(scores[first]),
        probability=float(1 / np.exp(scores - scores[first]).sum()),
        learned=float(moves[first]),
        ranking=tuple(bank.ids[place] for place in order),
        supports=_nearest(bank, texts, supports),
    )


def _nearest(bank: AnswerBank, texts: list[np.ndarray], count: int) -> tuple[Support, ...]:
    """The texts of the bank that are nearest to a message, by the bank's mix."""
    found = []
    for name, part, signs in zip(("question", "answer"), (bank.questions, bank.answers), texts, strict=True):
        scores = bank.mix.part(name, signs, bank.asked[part.owner])
        for row in np.argsort(-scores, kind="stable")[:count]:
            words, meaning = float(signs[row, 0]) * UNIT, float(signs[row, 1])
            own = bank.ids[part.owner[row]]
            found.append(Support(own, name, part.texts[row], words, meaning, float(scores[row])))
    return tuple(sorted(found, key=lambda one: -one.score)[:count])
