"""Answers: which of a desk's answers fits a message, by its words and its meaning, from questions and answers.

An immutable value like an adapted task. The entries and the feedback are the truth; word counts and features are
caches. So adding and removing in any order equals building afresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.nn import functional as F

from kshot import storage
from kshot.errors import DataError
from kshot.text.answer_measures import OwnQuestions, fitted_mix, least_score, own_questions
from kshot.text.answer_replies import reply
from kshot.text.bm25 import counts_of
from kshot.text.entries import Entry, Reply, checked_entries
from kshot.text.feedback import Feedback, Rewards, said
from kshot.text.fields import Field
from kshot.text.mixing import Mix
from kshot.text.texts import TextEncoder, read_texts


@dataclass(frozen=True)
class AnswerBank:
    """Answers that can be asked for. Make one with `kshot.text.answers`.

    Attributes:
        encoder: gives the meaning of texts. entries: what can be answered.
        mix: how words and meaning, questions and answers count.
        known: messages with an answer, for its threshold (see `with_known`).
    """

    encoder: TextEncoder
    entries: tuple[Entry, ...]
    mix: Mix
    questions: Field = field(repr=False)
    answers: Field = field(repr=False)
    rewards: Rewards = field(repr=False)
    known: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Names of the entries, in their order."""
        return tuple(entry.id for entry in self.entries)

    @cached_property
    def asked(self) -> np.ndarray:
        """Which entries have questions, [entries]."""
        return np.array([bool(entry.questions) for entry in self.entries])

    @property
    def feedback(self) -> tuple[Feedback, ...]:
        """What was said of replies, in order."""
        return self.rewards.given

    def __repr__(self) -> str:
        return f"AnswerBank({len(self)} entries, {len(self.feedback)} times feedback, {self.encoder.kind})"

    def ask(self, message: str, *, refused: float | None = None, supports: int = 3) -> Reply:
        """The reply to one message; see `ask_many`."""
        if not isinstance(message, str):
            raise DataError(f"the message is a {type(message).__name__}; give one str, or use ask_many")
        return self.ask_many([message], refused=refused, supports=supports)[0]

    def ask_many(
        self, messages: Any, *, refused: float | None = None, supports: int = 3, best: int = 10
    ) -> list[Reply]:
        """Replies to n messages, each with the texts of the bank that are nearest to it.

        Args:
            refused: share of messages with an answer that may wrongly be called unknown; None: 0.05, and nothing is
                unknown where the bank cannot tell (see `threshold`).
            supports: how many of the nearest texts come along. best: how many entries the ranking names.

        Raises:
            DataError: messages that are no texts.
            SettingError: `refused` is no share. UnsupportedError: it is given, and the bank cannot tell.
        """
        read = read_texts(messages)
        features = unit(self.encoder, read)
        texts = self.text_signs(read, features)
        moves = self.rewards.moves(features, self.ids)
        scores = self.mix.scores(self.entry_signs(texts)) + moves
        least = self.threshold(refused)
        return [
            reply(self, message, scores[row], moves[row], [t[row] for t in texts], least, supports, best)
            for row, message in enumerate(read)
        ]

    def scores(self, messages: Any) -> np.ndarray:
        """Scores of all entries for n messages, logits [n, entries]; the higher, the better they fit."""
        read = read_texts(messages)
        features = unit(self.encoder, read)
        signs = self.entry_signs(self.text_signs(read, features))
        out: np.ndarray = self.mix.scores(signs) + self.rewards.moves(features, self.ids)
        return out

    def text_signs(
        self, messages: list[str], features: np.ndarray, *, together: bool = False
    ) -> list[np.ndarray]:
        """Signs of every question and of every answer, each [m, texts, 2]; `together` as for `likeness.Meaning`."""
        counted = counts_of(messages)
        return [part.signs(counted, features, together=together) for part in (self.questions, self.answers)]

    def entry_signs(self, texts: list[np.ndarray]) -> np.ndarray:
        """Signs of entries, [m, entries, 4]."""
        parts = zip((self.questions, self.answers), texts, strict=True)
        return np.concatenate([part.best(signs, len(self)) for part, signs in parts], 2)

    def signs(self, messages: Any) -> np.ndarray:
        """What is known of n messages and the entries, before it is mixed: [n, entries, 4], see `mixing.SIGNS`."""
        read = read_texts(messages)
        return self.entry_signs(self.text_signs(read, unit(self.encoder, read)))

    def add(self, entries: Any) -> AnswerBank:
        """A new bank that has these entries too; equal to one built of all of them at once.

        Raises:
            DataError: entries that are none, or an id that is taken.

        >>> import kshot
        >>> bank = kshot.text.answers([("where is my card?", "On its way.")]).add([("what does it cost?", "Nothing.")])
        >>> bank.ask("what are the costs?").answer
        'Nothing.'
        """
        new = checked_entries(entries, self.ids)
        first, texts = len(self), [text for entry in new for text in entry.questions]
        features = unit(self.encoder, [*texts, *(entry.answer for entry in new)])
        owner = [first + place for place, entry in enumerate(new) for _ in entry.questions]
        return replace(
            self,
            entries=(*self.entries, *new),
            questions=self.questions.add(texts, owner, features[: len(texts)]),
            answers=self.answers.add(
                [entry.answer for entry in new], range(first, first + len(new)), features[len(texts) :]
            ),
        )

    def remove(self, ids: str | Sequence[str]) -> AnswerBank:
        """A new bank that never had these entries, nor feedback on them.

        Raises:
            DataError: an unknown id, or no entry would be left.
        """
        names = [ids] if isinstance(ids, str) else list(ids)
        gone = np.isin(np.array(self.ids, dtype=object), np.array(names, dtype=object))
        missing = [name for name in names if name not in self.ids]
        if missing:
            raise DataError(f"id {missing[0]!r} is not in this bank; it has {', '.join(self.ids[:8])}")
        if gone.all():
            raise DataError(f"all {len(self)} entries would go; leave at least one")
        return replace(
            self,
            entries=tuple(entry for entry, out in zip(self.entries, gone, strict=True) if not out),
            questions=self.questions.without(gone),
            answers=self.answers.without(gone),
            rewards=self.rewards.without(names),
        )

    def learn_from(self, feedback: Any) -> AnswerBank:
        """A new bank that has heard whether replies were good: (message, id of the reply, True or False) each.

        A reward, not a label: that a reply was bad does not say which one would have been right. What was said moves
        this reply for messages like that one, see `kshot.text.feedback`.

        Raises:
            DataError: no such triples, or an id that the bank has not.

        >>> import kshot
        >>> bank = kshot.text.answers([("close my account", "Bye."), ("block my card", "Done.")])
        >>> reply = bank.ask("please close my card")
        >>> taught = bank.learn_from([("please close my card", reply.id, False)])
        >>> reply.answer, taught.ask("please close my card").answer
        ('Bye.', 'Done.')
        """
        told = said(feedback)
        known = set(self.ids)
        for one in told:
            if one.id not in known:
                raise DataError(
                    f"feedback on {one.id!r}, which is not in this bank; it has {', '.join(self.ids[:8])}"
                )
        if not told:
            return self
        features = unit(self.encoder, read_texts([one.message for one in told]))
        return self._with(rewards=self.rewards.add(told, features))

    def forget_feedback(self, ids: str | Sequence[str]) -> AnswerBank:
        """A new bank to which nothing was said of these entries."""
        return self._with(rewards=self.rewards.without([ids] if isinstance(ids, str) else list(ids)))

    def with_known(self, messages: Any) -> AnswerBank:
        """A new bank that measures its threshold on these messages, which are known to have an answer in it."""
        return self._with(known=tuple(read_texts(messages)))

    def _with(self, **changes: Any) -> AnswerBank:
        """A new bank with the same texts and weights, which answers its own questions alike."""
        other = replace(self, **changes)
        if "own_questions" in self.__dict__:
            other.__dict__["own_questions"] = self.own_questions
        return other

    def with_mix(self, mix: Mix) -> AnswerBank:
        """A new bank with other weights."""
        return replace(self, mix=mix)

    def tuned(self, messages: Any = None, right: Sequence[str] | None = None) -> AnswerBank:
        """A new bank whose weights fit messages with known answers, drawn to the weights it has.

        Args:
            messages: texts. right: id of the right entry of each. None: the bank's own questions, each left out in
                turn, of entries that have several; the statistics of words still count it.

        Raises:
            DataError: an unknown id. UnsupportedError: no messages, and no entry has two questions.
        """
        return self.with_mix(fitted_mix(self, messages, right))

    def threshold(self, refused: float | None = None) -> float:
        """The score under which a message is unknown.

        By what kshot ships about other banks of this size, applied to how this bank's own questions, each left out in
        turn, are answered; and the more of them have another beside them at their entry, the more by a quantile of their
        scores. Messages given by `with_known` take their place, and from 20 on they alone decide: of n of them and a
        share r the floor(r (n + 1))-th lowest score; a new message like them lies below with a chance of at most r.
        A bank without any question, and with no known messages, cannot tell: -inf, nothing is unknown.

        Raises:
            SettingError: `refused` is no share. UnsupportedError: it is given, and the bank cannot tell.
        """
        return least_score(self, refused)

    @cached_property
    def own_questions(self) -> OwnQuestions | None:
        """How the bank answers its own questions, a cache; None where it has none."""
        return own_questions(self)

    @cached_property
    def known_scores(self) -> np.ndarray:
        """Best scores of the messages that `with_known` gave, a cache."""
        found: np.ndarray = self.scores(list(self.known)).max(1) if self.known else np.zeros(0)
        return found

    def save(self, path: str | Path) -> Path:
        """Write entries, feedback, weights and the encoder's name, in one step; `kshot.load` reads it."""
        encoder = self.encoder
        manifest = {
            "what": "answers",
            "encoder": {"kind": encoder.kind, "config": encoder.config()},
            "fingerprint": encoder.fingerprint(),
            "entries": [entry.to_json() for entry in self.entries],
            "known": list(self.known),
            "mix": self.mix.to_json(),
            "feedback": self.rewards.to_json(),
        }
        return storage.write(Path(path), manifest, encoder.state_dict())


def unit(encoder: TextEncoder, texts: Sequence[str]) -> np.ndarray:
    """Features of texts, of length 1, [n, d]."""
    return F.normalize(encoder.encode(list(texts)).float(), dim=1).numpy()
