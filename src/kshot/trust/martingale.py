"""A sequential test of "these scores come in no particular order", with a stated chance of ever being wrong.

Conformal test martingales: Vovk, Gammerman and Shafer (2022), "Algorithmic Learning in a Random World", part III;
Vovk et al. (2021), "Retrain or not retrain: conformal test martingales for change-point detection".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

POWERS = (0.05, 0.2, 0.5, 0.8)
"""Exponents of the bets on small p-values, and as many on large ones. A bet of exponent k pays k p^(k - 1)."""

_LOG_POWERS = np.log(np.array(POWERS * 2))
_SLOPES = np.array(POWERS * 2) - 1.0
_FINEST = 1e-16
_RICHEST = 1e100
"""No bet is worth more: far beyond every alarm, and still a number."""


@dataclass(frozen=True)
class Martingale:
    """Capital of a gambler who bets against "the scores are exchangeable"; a value, `bet` returns the next one.

    The rank of each new score among all before it, ties broken at random, is a p-value; of exchangeable scores these
    are independent and uniform (Vovk et al. 2022, proposition 11.1), whatever the scores' distribution. No bet on
    uniform numbers gains on average, so by Ville's inequality the capital ever reaches 1 / a with probability a at most.

    The capital starts at 1 and is staked bit by bit: at step t the share 1 / log2(t + 1) - 1 / log2(t + 2) is shared
    out among the bets. So there is always fresh capital, and a late change is noticed nearly as soon as an early one.

    Attributes:
        scores: all so far, sorted. capital: of each bet. height, lowest, since: running sum of each bet's log-pay,
            its least value so far, and when that was: the most likely start of a change.

    >>> calm = Martingale()
    >>> for k in range(60):
    ...     calm = calm.bet(float(k % 10), 0.5)
    >>> for k in range(12):
    ...     calm = calm.bet(100.0 + k, 0.5)
    >>> calm.value > 100, 55 < calm.change <= 60
    (True, True)
    """

    scores: np.ndarray
    capital: np.ndarray
    height: np.ndarray
    lowest: np.ndarray
    since: np.ndarray

    def __init__(self, **state: Any) -> None:
        bets = 2 * len(POWERS)
        zeros = np.zeros(bets)
        start = {"scores": np.zeros(0), "capital": zeros, "height": zeros, "lowest": zeros}
        for name, value in {**start, "since": np.zeros(bets, dtype=np.int64), **state}.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def value(self) -> float:
        """All capital: what is staked and what is kept back."""
        return float(self.capital.sum()) + _kept_back(len(self))

    @property
    def change(self) -> int:
        """Number of scores before the change, if there was one: from where on the best bet won most."""
        return int(self.since[int((self.height - self.lowest).argmax())])

    def bet(self, score: float, chance: float) -> Martingale:
        """After one more score; `chance` in (0, 1] breaks ties and is drawn anew for each score."""
        low = int(np.searchsorted(self.scores, score, "left"))
        high = int(np.searchsorted(self.scores, score, "right"))
        count = len(self)
        p = (count - high + chance * (high - low + 1)) / (count + 1)
        gains = _log_pays(p)
        stake = (_kept_back(count) - _kept_back(count + 1)) / len(gains)
        height = self.height + gains
        fell = height < self.lowest
        return Martingale(
            scores=np.insert(self.scores, high, score),
            capital=np.minimum((self.capital + stake) * np.exp(gains), _RICHEST),
            height=height,
            lowest=np.where(fell, height, self.lowest),
            since=np.where(fell, count + 1, self.since),
        )

    def to_json(self) -> dict[str, list[float]]:
        """Lists of numbers; `from_json` turns them back."""
        return {
            name: getattr(self, name).tolist() for name in ("scores", "capital", "height", "lowest", "since")
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Sequence[float]]) -> Martingale:
        """The martingale that `to_json` described."""
        found = {name: np.asarray(value[name], dtype=np.float64) for name in value if name != "since"}
        return cls(**found, since=np.asarray(value["since"], dtype=np.int64))


def _kept_back(count: int) -> float:
    """Share of the capital that is not staked yet after `count` scores."""
    return 1.0 / math.log2(count + 2)


def _log_pays(p: float) -> np.ndarray:
    """Logarithm of what each bet pays at a p-value: k p^(k - 1) and k (1 - p)^(k - 1), both with mean 1 over uniform p.

    Below 1e-16 a p-value counts as 1e-16: finer ones are rounding, and so a bet only ever pays less than is fair.
    """
    both = np.array([math.log(max(p, _FINEST)), math.log(max(1.0 - p, _FINEST))])
    paid: np.ndarray = _LOG_POWERS + np.repeat(both, len(POWERS)) * _SLOPES
    return paid
