"""What is learned from "that was good" and "that was bad": the reward of a reply, near messages like this one.

A reward says whether the shown reply was right, never which one would have been: a contextual bandit with a kernel
(Valko et al. 2013, "Finite-time analysis of kernelised contextual bandits"; here without a bonus for exploring).
For each reply a kernel ridge regression of its rewards, +1 and -1, on the messages' features. A reply about which
nobody said anything keeps its score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from kshot.errors import DataError, SettingError


class Feedback(NamedTuple):
    """That the entry `id` was a good reply to `message`, or not."""

    message: str
    id: str
    good: bool


@dataclass(frozen=True)
class Rule:
    """How strongly feedback counts. The defaults were chosen on a part of SGD's dialogues of its own.

    Attributes:
        width: b of the kernel exp(b (cos - 1)) between messages; larger: less is carried over to other messages.
        ridge: of the regression; larger: a single voice counts less.
        praise, blame: how far the score, a logit, would move if many said so of the same message.
    """

    width: float = 3.0
    ridge: float = 3.0
    praise: float = 20.0
    blame: float = 10.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (isinstance(value, int | float) and 0 <= value < float("inf")) or (
                name == "ridge" and value <= 0
            ):
                raise SettingError(f"{name} is {value!r}; give a number of at least 0, and a ridge above 0")

    def kernel(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[m, n] of features of length 1, [m, d] and [n, d]."""
        out: np.ndarray = np.exp(self.width * (a.astype(np.float64) @ b.astype(np.float64).T - 1))
        return out


@dataclass(frozen=True)
class _Own:
    """Feedback on one entry: features of the messages [n, d], rewards [n], the dual weights [n]."""

    features: np.ndarray
    rewards: np.ndarray
    dual: np.ndarray


@dataclass(frozen=True)
class Rewards:
    """All feedback of a bank; an immutable value.

    >>> rule, x = Rule(ridge=1.0, praise=4.0), np.eye(3, dtype=np.float32)
    >>> rewards = Rewards(rule).add([Feedback("hi", "hello", True)], x[:1])
    >>> rewards.moves(x[:1], ["hello", "bye"]).tolist()
    [[2.0, 0.0]]
    """

    rule: Rule = field(default_factory=Rule)
    given: tuple[Feedback, ...] = ()
    own: Mapping[str, _Own] = field(default_factory=dict, repr=False)

    def add(self, more: Sequence[Feedback], features: np.ndarray) -> Rewards:
        """Also these, with the features [m, d] of their messages."""
        own = dict(self.own)
        for name in dict.fromkeys(one.id for one in more):
            rows = [place for place, one in enumerate(more) if one.id == name]
            held = own.get(name)
            said = np.array([self.rule.praise if more[row].good else -self.rule.blame for row in rows])
            x = features[rows] if held is None else np.concatenate([held.features, features[rows]])
            own[name] = self._solved(x, said if held is None else np.concatenate([held.rewards, said]))
        return Rewards(self.rule, (*self.given, *more), own)

    def _solved(self, features: np.ndarray, rewards: np.ndarray) -> _Own:
        gram = self.rule.kernel(features, features)
        dual = np.linalg.solve(gram + self.rule.ridge * np.eye(len(gram)), rewards)
        return _Own(features, rewards, dual)

    def without(self, ids: Sequence[str]) -> Rewards:
        """What was not said of these entries."""
        gone = set(ids)
        kept = tuple(one for one in self.given if one.id not in gone)
        return Rewards(self.rule, kept, {name: held for name, held in self.own.items() if name not in gone})

    def moves(self, features: np.ndarray, ids: Sequence[str]) -> np.ndarray:
        """What feedback adds to the scores of entries for messages, [m, entries]."""
        out = np.zeros((len(features), len(ids)))
        place = {name: n for n, name in enumerate(ids)} if self.own else {}
        for name, held in self.own.items():
            out[:, place[name]] = self.rule.kernel(features, held.features) @ held.dual
        return out

    def to_json(self) -> dict[str, Any]:
        return {"rule": dict(vars(self.rule)), "given": [list(one) for one in self.given]}


def said(given: Any) -> tuple[Feedback, ...]:
    """Feedback out of (message, id, good) triples. Raises DataError."""
    found = []
    for one in given:
        if not isinstance(one, tuple | list) or len(one) != 3 or not isinstance(one[2], bool | np.bool_):
            raise DataError(f"feedback {one!r} is none; give (message, id of the reply, True or False)")
        found.append(Feedback(str(one[0]), str(one[1]), bool(one[2])))
    return tuple(found)
