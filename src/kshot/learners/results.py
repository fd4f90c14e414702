"""What an adapted task returns besides predictions: evidence, checks, what a move changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

if TYPE_CHECKING:
    from kshot.learners.adapted import Adapted


_SHOWN = 5
"""Examples that are printed where nobody asks for more."""


class Evidence(NamedTuple):
    """What one support example did for an answer.

    Attributes:
        id, label: the example.
        contribution: probability of the answer with the example minus without it; above 0 it spoke for.
        label_without: the answer had the example never been seen.
    """

    id: str
    label: Any
    contribution: float
    label_without: Any


class Ranked(Sequence[Evidence]):
    """Evidence as columns of equal length, made into objects when they are looked at.

    A task of 500 examples has 500 pieces of evidence per answer, and of most only the strongest are read.

    >>> pieces = Ranked(*(np.array(c, dtype=object) for c in (["e0"], ["cat"], [0.5], ["dog"])))
    >>> pieces[0].contribution, len(pieces)
    (0.5, 1)
    """

    def __init__(
        self, ids: np.ndarray, labels: np.ndarray, contributions: np.ndarray, labels_without: np.ndarray
    ) -> None:
        self.columns = (ids, labels, contributions, labels_without)

    @property
    def contributions(self) -> np.ndarray:
        """All contributions, [n], the strongest first."""
        return self.columns[2]

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, place: int) -> Evidence: ...
    @overload
    def __getitem__(self, place: slice) -> list[Evidence]: ...
    def __getitem__(self, place: int | slice) -> Evidence | list[Evidence]:
        if isinstance(place, slice):
            return self._rows(place)
        return self._rows(slice(place, place + 1 or None))[0]

    def __iter__(self) -> Iterator[Evidence]:
        return iter(self._rows(slice(None)))

    def _rows(self, which: slice) -> list[Evidence]:
        return list(map(Evidence._make, zip(*(c[which].tolist() for c in self.columns), strict=True)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown, rest = repr(self[:_SHOWN]), len(self) - _SHOWN
        return shown if rest <= 0 else f"{shown[:-1]}, ... and {rest} more]"


@dataclass(frozen=True)
class Explanation:
    """Why an input was answered as it was: every support example, the strongest first. Printed, it names the strongest
    few; `told` names as many as you ask for.

    `method` says how the contributions were made, and whether that is exact or an approximation.

    Where answers are located (spans, boxes), this is about the surest piece found: `place` is it as the prediction
    has it, `pieces` explains every piece that was found, and `unknown` lists what looks like a piece but was refused.
    Where none was found, the label is None and this is about the candidate that came nearest to being one.
    """

    label: Any
    probability: float
    evidence: Sequence[Evidence]
    method: str = "exact: adapted without each example in turn"
    place: Any = None
    pieces: tuple[Explanation, ...] = ()
    unknown: tuple[Any, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether the contributions are what really adapting without each example gives."""
        return self.method.startswith("exact")

    def told(self, most: int | None = None) -> str:
        """In lines for people: the answer, and what the strongest examples did for it, in points of its probability.

        Args:
            most: examples that are named at most; None: all.

        >>> pieces = [Evidence("e0", "cat", 0.4, "dog"), Evidence("e1", "dog", -0.1, "cat")]
        >>> print(Explanation("cat", 0.9, pieces).told(most=1))
        'cat', probability 90.0 %
          e0  'cat'  +40 points
          and 1 more, see .told() or .evidence
        exact: adapted without each example in turn
        """
        found = "nothing was found; what came nearest" if self.label is None else repr(self.label)
        place = "" if self.place is None else f" at {self.place}"
        others = f", and {len(self.pieces) - 1} more in .pieces" if len(self.pieces) > 1 else ""
        shown = self.evidence[:most]
        wide = max((len(e.id) for e in shown), default=0)
        lines = [f"  {e.id:<{wide}}  {e.label!r}  {100 * e.contribution:+.3g} points" for e in shown]
        rest = len(self.evidence) - len(shown)
        more = [f"  and {rest} more, see .told() or .evidence"] if rest else []
        head = f"{found}{place}, probability {100 * self.probability:.1f} %{others}"
        return "\n".join([head, *lines, *more, self.method])

    def __str__(self) -> str:
        return self.told(_SHOWN)


@dataclass(frozen=True)
class Regression:
    """A golden example that was answered right and no longer is."""

    id: str
    expected: Any
    given: Any


@dataclass(frozen=True)
class Checked:
    """Which examples with known answers are answered right.

    Attributes:
        right, total: labels answered right, out of how many; 0 of 0 where answers are no labels.
        wrong: (place, expected label, given label) of each wrong answer.
        figures: the space's own metrics on these examples, where answers are no labels.
        ids: names of the examples, where they are the task's golden ones.
    """

    right: int
    total: int
    wrong: list[tuple[int, Any, Any]]
    figures: Mapping[str, float] = field(default_factory=dict)
    ids: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.right == self.total

    def worse_than(self, before: Checked) -> tuple[Regression, ...]:
        """Golden examples, known by their ids, that are wrong here and were right `before`."""
        right = set(before.ids) - {before.ids[place] for place, _, _ in before.wrong}
        found = ((self.ids[place], want, got) for place, want, got in self.wrong if self.ids)
        return tuple(Regression(name, want, got) for name, want, got in found if name in right)


@dataclass(frozen=True)
class Rebased:
    """What moving to another base changed: the new task, and how both answer the support.

    `regressions` are the golden examples that were right and are wrong on the new base.
    """

    task: Adapted
    before: Checked
    after: Checked
    regressions: tuple[Regression, ...] = ()


@dataclass(frozen=True)
class Retuned:
    """What choosing the head's scalars anew for a task changed.

    Attributes:
        task: the task with the new scalars, or the same task where nothing was gained.
        before, after: the scalars by name; they are logarithms where the name says so.
        loss_before, loss_after: exact leave-one-out log-loss (classes) or squared error (numbers), mean over
            `examples`; NaN where there is no example to measure on.
        examples: how many examples count: those whose class has another one.
        reason: why the scalars changed or stayed, in a sentence.
    """

    task: Adapted
    before: Mapping[str, float]
    after: Mapping[str, float]
    loss_before: float
    loss_after: float
    examples: int
    reason: str

    @property
    def changed(self) -> bool:
        return self.before != self.after
