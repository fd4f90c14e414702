"""BM25 over a set of texts that grows and shrinks: what words say, for texts in any script.

Robertson and Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond", with the idf of Lucene,
which is never negative.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from kshot.text.hashed import clean, word_spans

K1, B = 1.2, 0.75
"""How soon a repeated word stops to count, and how much long texts are marked down: the field's usual values."""


@dataclass(frozen=True)
class Bm25:
    """Word counts of n texts, in rows of a sparse table; an immutable value.

    `add` and `keep` give the same scores as counting anew, to the last bit: scores are summed in the order of the
    message's words, whatever order the texts came in.

    >>> table = Bm25.of(["where is my card", "what does a card cost", "open an account"])
    >>> table.scores(["my card?"]).round(2).tolist()
    [[0.66, 0.19, 0.0]]
    """

    words: dict[str, int] = field(repr=False)
    columns: np.ndarray = field(repr=False)
    counts: np.ndarray = field(repr=False)
    ends: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, texts: Sequence[str]) -> Bm25:
        """Count the words of texts."""
        none = np.zeros(0, np.int64)
        return cls({}, none, none, none).add(texts)

    def __len__(self) -> int:
        return len(self.ends)

    def add(self, texts: Sequence[str]) -> Bm25:
        """A table with further rows."""
        words, sizes = dict(self.words), []
        columns: list[int] = []
        counts: list[int] = []
        for found in counts_of(texts):
            columns.extend([words.setdefault(word, len(words)) for word in found])
            counts.extend(found.values())
            sizes.append(len(found))
        last = self.ends[-1] if len(self) else 0
        return Bm25(
            words,
            np.concatenate([self.columns, np.array(columns, np.int64)]),
            np.concatenate([self.counts, np.array(counts, np.int64)]),
            np.concatenate([self.ends, last + np.cumsum(sizes, dtype=np.int64)]),
        )

    def keep(self, rows: np.ndarray) -> Bm25:
        """A table of these rows [m] alone, in their order."""
        starts = np.concatenate([[0], self.ends[:-1]]).astype(np.int64)[rows]
        sizes = self.ends[rows] - starts
        ends = np.cumsum(sizes)
        places = np.repeat(starts - (ends - sizes), sizes) + np.arange(sizes.sum())
        return Bm25(self.words, self.columns[places], self.counts[places], ends)

    def scores(self, messages: Sequence[str]) -> np.ndarray:
        """BM25 of each row for each message, [m, n]; the constant factor k1 + 1 is left out, as Lucene does."""
        return self.scores_of(counts_of(messages))

    def scores_of(self, counted: Sequence[Mapping[str, int]]) -> np.ndarray:
        """As `scores`, for messages whose words are counted already.

        All words' rows are laid one behind the other and summed by message and row, in the order of the message's words.
        """
        starts, rows, values, idf = self._postings
        found = [(place, self.words[word], times) for place, own in enumerate(counted)
                 for word, times in own.items() if word in self.words]  # fmt: skip
        if not found:
            return np.zeros((len(counted), len(self)))
        message, column, times = (np.array(part) for part in zip(*found, strict=True))
        sizes = starts[column + 1] - starts[column]
        ends = np.cumsum(sizes)
        places = np.repeat(starts[column] - (ends - sizes), sizes) + np.arange(ends[-1])
        cells = np.repeat(message * len(self), sizes) + rows[places]
        weights = np.repeat(times * idf[column], sizes) * values[places]
        return np.bincount(cells, weights, len(counted) * len(self)).reshape(len(counted), len(self))

    @cached_property
    def _postings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """By word: where its rows start; its rows; how far each row's count goes towards 1; its idf. A cache."""
        n = len(self)
        sizes = np.diff(self.ends, prepend=0)
        row = np.repeat(np.arange(n), sizes)
        lengths = np.bincount(row, self.counts, n)
        mean = lengths.sum() / max(n, 1)
        norm = K1 * (1 - B + B * lengths / mean) if mean else np.zeros(n)
        order = np.argsort(self.columns, kind="stable")
        frequency = np.bincount(self.columns, minlength=len(self.words))
        starts = np.concatenate([[0], np.cumsum(frequency)])
        values = (self.counts / (self.counts + norm[row]))[order]
        idf = np.log1p((n - frequency + 0.5) / (frequency + 0.5))
        return starts, row[order], values, idf


def counts_of(texts: Sequence[str]) -> list[Counter[str]]:
    """How often each word is in each text, in the order of their first place."""
    return [Counter(words_of(text)) for text in texts]


def words_of(text: str) -> list[str]:
    """Words of a text as they are compared; a character of a script without spaces is a word.

    >>> words_of("Where's my CARD?"), words_of("你好!")
    (['where', 's', 'my', 'card'], ['你', '好'])
    """
    plain = clean(text)
    return [plain[a:b] for a, b in word_spans(plain) if plain[a].isalnum()]
