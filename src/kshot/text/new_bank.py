"""A bank of answers out of entries: the encoder found by name, and the weights that other data said for such encoders."""

from __future__ import annotations

from typing import Any

from kshot.errors import SettingError
from kshot.text.answer_bank import AnswerBank
from kshot.text.feedback import Rewards, Rule
from kshot.text.fields import Field
from kshot.text.hashed import HashedNgrams
from kshot.text.mixing import USUAL_MEANING, USUAL_WORDS, Mix
from kshot.text.specs import encoder as encoder_of
from kshot.text.texts import TextEncoder


def answers(
    entries: Any,
    encoder: str | TextEncoder = "hash:ngram",
    *,
    mix: Mix | None = None,
    rule: Rule | None = None,
    download: bool = False,
) -> AnswerBank:
    """A bank of answers.

    Args:
        entries: (question or questions, answer) pairs, `Entry` objects, or mappings with id, answer and questions.
        encoder: gives the meaning of texts; an encoder, or one named by a string (see `kshot.text.encoder`).
        mix: how words and meaning, questions and answers count; None: what other data said for such encoders.
        rule: how strongly feedback counts.

    Raises:
        DataError: entries that are none.

    >>> import kshot
    >>> bank = kshot.text.answers([
    ...     (["where is my card?", "my card did not come"], "It takes five working days."),
    ...     ("which fees are there?", "Payments are free."),
    ... ])
    >>> reply = bank.ask("when does the card come?")
    >>> reply.answer, reply.supports[0].text
    ('It takes five working days.', 'my card did not come')
    """
    made = encoder_of(encoder, download=download) if isinstance(encoder, str) else encoder
    if not isinstance(made, TextEncoder):
        raise SettingError(f"the encoder is a {type(made).__name__}; a bank of answers needs one for texts")
    usual = USUAL_WORDS if made.kind == HashedNgrams.kind else USUAL_MEANING
    none = Field.empty(made)
    return AnswerBank(made, (), mix or usual, none, none, Rewards(rule or Rule())).add(entries)
