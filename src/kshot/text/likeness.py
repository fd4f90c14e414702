"""How alike messages and the texts of a bank are in meaning: cosines, with what most of the bank's texts share counting less.

Sentence models: half of the bank's mean is taken off both sides (after Mu and Viswanath 2018, "All-but-the-Top").
Hashed n-grams: a message's numbers count by their rarity in the bank, as words do in BM25. Both were chosen on other data
than figures are taken on: `benchmarks.answers.without_questions`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

_OFF = 0.5
"""Share of the mean that is taken off."""
_RARE = 4.0
_UNSEEN = 0.05
_FIXED = float(1 << 30)
"""Statistics are sums of whole numbers in this unit, so that texts added and removed in any order give the same bits."""


@dataclass(frozen=True)
class Meaning:
    """Features of n texts; an immutable value.

    Attributes:
        features: of length 1, [n, d]. counts: they are counts of n-grams. total: sum over texts of what the statistic
            is made of, in fixed point, [d].

    >>> bank = Meaning.empty(2, counts=False).add(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32))
    >>> bank.likeness(np.array([[0.0, 1.0]], np.float32)).round(2).tolist()
    [[-0.6, 1.0]]
    """

    features: np.ndarray = field(repr=False)
    total: np.ndarray = field(repr=False)
    counts: bool = False

    @classmethod
    def empty(cls, width: int, *, counts: bool) -> Meaning:
        """No texts yet."""
        return cls(np.zeros((0, width), np.float32), np.zeros(width, np.int64), counts)

    def __len__(self) -> int:
        return len(self.features)

    def _sum(self, features: np.ndarray) -> np.ndarray:
        exact = features.astype(np.float64)
        out: np.ndarray = np.rint((exact * exact if self.counts else exact) * _FIXED).astype(np.int64).sum(0)
        return out

    def add(self, features: np.ndarray) -> Meaning:
        """Also these texts, [m, d]."""
        return Meaning(
            np.concatenate([self.features, features]), self.total + self._sum(features), self.counts
        )

    def keep(self, rows: np.ndarray) -> Meaning:
        """These rows alone, in their order."""
        gone = np.setdiff1d(np.arange(len(self)), rows)
        return Meaning(self.features[rows], self.total - self._sum(self.features[gone]), self.counts)

    @cached_property
    def _mean(self) -> np.ndarray:
        out: np.ndarray = self.total / (_FIXED * max(len(self), 1))
        return out

    @cached_property
    def _rarity(self) -> np.ndarray:
        """Weight of each hashed number: large where the bank's texts have little of it."""
        out: np.ndarray = np.log1p(_RARE / (self._mean * len(self._mean) + _UNSEEN))
        return out

    @cached_property
    def _compared(self) -> np.ndarray:
        """What messages are multiplied with, [n, d]; a cache."""
        return self.features if self.counts else _unit(self.features - _OFF * self._mean)

    def likeness(self, messages: np.ndarray, *, together: bool = False) -> np.ndarray:
        """Of messages [m, d] and texts, [m, n]; the same bits for one message as for many.

        Args:
            together: by one product, many times as fast for many messages, and the same but for rounding.
        """
        if not len(self) or not len(messages):
            return np.zeros((len(messages), len(self)))
        asked = self._asked(messages)
        found = asked @ self._compared.T if together else np.stack([self._compared @ row for row in asked])
        return found.astype(np.float64)

    def _asked(self, messages: np.ndarray) -> np.ndarray:
        """What texts are multiplied with, [m, d]."""
        return _unit(messages * self._rarity if self.counts else messages - _OFF * self._mean)


def _unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float32; a row of zeros stays."""
    norms = np.sqrt((x * x).sum(1, keepdims=True))
    out: np.ndarray = (x / np.where(norms > 0, norms, 1)).astype(np.float32)
    return out
