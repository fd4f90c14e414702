"""The questions or the answers of a bank, with what their words and their meaning say of a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kshot.text.bm25 import Bm25
from kshot.text.hashed import HashedNgrams
from kshot.text.likeness import Meaning
from kshot.text.mixing import UNIT
from kshot.text.texts import TextEncoder


@dataclass(frozen=True)
class Field:
    """One of the two fields of all entries: n texts with their owners.

    Attributes:
        texts: [n]. owner: place of each text's entry, [n], ascending. words: their counts. meaning: their features.
    """

    texts: tuple[str, ...]
    owner: np.ndarray
    words: Bm25 = field(repr=False)
    meaning: Meaning = field(repr=False)

    @classmethod
    def empty(cls, encoder: TextEncoder) -> Field:
        """No texts yet."""
        counts = encoder.kind == HashedNgrams.kind
        return cls((), np.zeros(0, np.int64), Bm25.of([]), Meaning.empty(encoder.features, counts=counts))

    def add(self, texts: Sequence[str], owner: Sequence[int], meaning: np.ndarray) -> Field:
        return Field(
            (*self.texts, *texts),
            np.concatenate([self.owner, np.asarray(owner, np.int64)]),
            self.words.add(texts),
            self.meaning.add(meaning),
        )

    def without(self, entries: np.ndarray) -> Field:
        """The field without the texts of entries where `entries` [entries] is True."""
        rows = np.flatnonzero(~entries[self.owner])
        place = np.cumsum(~entries) - 1
        texts = tuple(self.texts[row] for row in rows)
        return Field(texts, place[self.owner[rows]], self.words.keep(rows), self.meaning.keep(rows))

    def signs(
        self, counted: Sequence[Mapping[str, int]], features: np.ndarray, *, together: bool = False
    ) -> np.ndarray:
        """BM25 share and likeness of every text for every message, [m, n, 2]; `together` as for `Meaning.likeness`.

        Args:
            counted: the messages' words, see `bm25.counts_of`.
        """
        likeness = self.meaning.likeness(features, together=together)
        return np.stack([self.words.scores_of(counted) / UNIT, likeness], 2)

    def best(self, signs: np.ndarray, entries: int) -> np.ndarray:
        """Signs of texts [m, n, 2] to those of entries [m, entries, 2]: each sign of its best text; -inf: no text."""
        out = np.full((len(signs), entries, 2), -np.inf)
        if len(self.owner):
            firsts = np.flatnonzero(np.diff(self.owner, prepend=-1))
            out[:, self.owner[firsts]] = np.maximum.reduceat(signs, firsts, axis=1)
        return out
