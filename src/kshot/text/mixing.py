"""How much words and meaning, questions and answers count when an answer is looked for: learned weights.

Fitted by the likelihood of the right entry among all (the listwise loss of Cao et al. 2007, "Learning to rank: from
pairwise approach to listwise approach"), never below zero, held near what other data said by a Gaussian prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kshot.errors import BundleError, DataError

SIGNS = ("question words", "question meaning", "answer words", "answer meaning")
"""What is known of a message and an entry: BM25 in units of `UNIT` and likeness, of its best question and its answer."""

UNIT = 20.0
"""BM25 that a good match of a short question reaches, so that all signs are numbers near 0 to 1."""

_STIFF = 0.02
"""Precision of the prior."""

Weights = tuple[float, ...]


@dataclass(frozen=True)
class Case:
    """A message whose right entries are known.

    Attributes:
        signs: [entries, 4]. right: booleans [entries], at least one True.
    """

    signs: np.ndarray
    right: np.ndarray


@dataclass(frozen=True)
class Mix:
    """Weights of signs; an entry's score is their weighted sum, a logit against the other entries.

    Attributes:
        weights: of the four `SIGNS`. alone: of the last two, for entries that have no question.
        source: what they were learned from.
    """

    weights: Weights
    alone: Weights
    source: str = "set by hand"

    def __post_init__(self) -> None:
        for name, length in (("weights", 4), ("alone", 2)):
            given = np.asarray(getattr(self, name), dtype=float)
            if given.shape != (length,) or not (np.isfinite(given).all() and (given >= 0).all()):
                raise DataError(f"{name} is {getattr(self, name)}; give {length} numbers of at least 0")

    def scores(self, signs: np.ndarray) -> np.ndarray:
        """Logits of entries from their signs [..., 4]; the first two are -inf for an entry without questions.

        >>> mix = Mix((1.0, 2.0, 0.0, 1.0), (3.0, 3.0))
        >>> mix.scores(np.array([[1.0, 0.5, 1.0, 0.1], [-np.inf, -np.inf, 0.5, 0.5]])).tolist()
        [2.1, 3.0]
        """
        asked = np.isfinite(signs[..., 0])
        own = np.where(asked[..., None], signs[..., :2], 0.0)
        answer = self.part("answer", signs[..., 2:], asked)
        out: np.ndarray = np.where(asked, self.part("question", own, asked), 0.0) + answer
        return out

    def part(self, field: str, signs: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """What words and meaning [..., 2] of one field contribute; `asked`: the entry has questions."""
        # summed in a fixed order, so that one message and many get the same bits
        with_, alone = self.weights[:2] if field == "question" else self.weights[2:], self.alone
        words = np.where(asked, with_[0], alone[0]) * signs[..., 0]
        out: np.ndarray = words + np.where(asked, with_[1], alone[1]) * signs[..., 1]
        return out

    def to_json(self) -> dict[str, Any]:
        return {"weights": list(self.weights), "alone": list(self.alone), "source": self.source}

    @classmethod
    def from_json(cls, found: Any) -> Mix:
        try:
            return cls(
                tuple(map(float, found["weights"])), tuple(map(float, found["alone"])), found["source"]
            )
        except (LookupError, TypeError, ValueError) as cause:
            raise BundleError(f"weights {found!r} are no mix ({cause}); save the answers again") from None


def learn_mix(cases: Sequence[Case], prior: Mix, source: str = "") -> Mix:
    """The weights under which the right entries of these cases are most likely.

    Cases in which no entry has a question teach `alone`, the others `weights`.

    Args:
        prior: what the weights are drawn to where the cases say little.

    Raises:
        DataError: no case, or one without a right entry.

    >>> signs = np.array([[0.9, 0.1, 0.0, 0.0], [0.0, 0.9, 0.0, 0.0]])
    >>> found = learn_mix([Case(signs, np.array([False, True]))] * 50, USUAL_MEANING)
    >>> found.weights[0] < USUAL_MEANING.weights[0], found.alone == USUAL_MEANING.alone
    (True, True)
    """
    if not cases or not all(case.right.any() for case in cases):
        raise DataError(
            f"{len(cases)} cases, each needs a right entry; give messages that the entries answer"
        )
    bare = [Case(case.signs[:, 2:], case.right) for case in cases if not np.isfinite(case.signs[:, 0]).any()]
    full = [case for case in cases if np.isfinite(case.signs[:, 0]).all()]
    weights = _fitted(full, prior.weights) if full else prior.weights
    alone = _fitted(bare, prior.alone) if bare else prior.alone
    return Mix(weights, alone, source or f"{len(cases)} messages")


def _fitted(cases: Sequence[Case], prior: Weights) -> Weights:
    # scipy comes with scikit-learn; it is loaded here because most users never need it
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    groups, centre = _alike(cases), np.array(prior)

    def cost(w: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _STIFF / 2 * float(((w - centre) ** 2).sum()), _STIFF * (w - centre)
        for signs, right in groups:
            logits = signs @ w
            every = _softmax(logits)
            value -= float(np.log((every * right).sum(1)).sum())
            slope -= np.einsum("mn,mnf->f", _softmax(np.where(right, logits, -np.inf)) - every, signs)
        return value, slope

    found = minimize(
        cost, np.maximum(centre, 1.0), jac=True, method="L-BFGS-B", bounds=[(0.0, 60.0)] * len(prior)
    )
    return tuple(float(v) for v in np.round(found.x, 3))


def _alike(cases: Sequence[Case]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cases with equally many entries together, [cases, entries, signs] and [cases, entries]."""
    sizes: dict[int, list[Case]] = {}
    for case in cases:
        sizes.setdefault(len(case.right), []).append(case)
    return [(np.stack([c.signs for c in own]), np.stack([c.right for c in own])) for own in sizes.values()]


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    out: np.ndarray = powers / powers.sum(-1, keepdims=True)
    return out


USUAL_MEANING = Mix((5.151, 9.008, 1.46, 9.842), (7.458, 14.039), "other data, sentence models")
USUAL_WORDS = Mix((8.31, 19.134, 10.322, 37.241), (7.998, 34.583), "other data, hashed n-grams")
"""For encoders of meaning and for hashed n-grams: learned on BANKING77's validation file, CLINC150's validation split, the
service desk that kshot ships and, for entries without questions, that desk's answers alone, WebApplications, and
covid_faq's own questions to its answers (`python -m benchmarks.answers --learn`)."""
