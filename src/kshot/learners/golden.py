"""Golden checks: examples that must stay right travel with a task, and a change that breaks one says so.

They are to a taught task what regression tests are to a program.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kshot.errors import (
    DataError,
    RegressionError,
    RegressionWarning,
    SettingError,
    UnsupportedError,
    callers_level,
)
from kshot.learners.embedded_examples import places_of, together
from kshot.learners.given import plain
from kshot.learners.learner import Embedded
from kshot.learners.results import Checked, Regression
from kshot.tasks import Examples
from kshot.tasks.examples import join, take
from kshot.tasks.spaces import Classes, Numbers, OutputSpace, Pieces

if TYPE_CHECKING:
    from kshot.learners.adapted import Adapted

ON_REGRESSION = ("warn", "refuse", "ignore")
"""What a change does that makes a golden example wrong."""


@dataclass(frozen=True, eq=False)
class Golden:
    """Examples that must stay right; a task holds them beside those it learned from.

    Attributes:
        inputs: in raw form. targets, ids: one per input.
        tolerance: how far a number may be off; None for classes.
        embedded: the base's embeddings, a cache.
    """

    inputs: Any
    targets: tuple[Any, ...]
    ids: tuple[str, ...]
    tolerance: float | None
    embedded: Embedded = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def join(self, other: Golden) -> Golden:
        """These followed by the `other` ones, whose tolerance counts for all."""
        return replace(
            other,
            inputs=together(self.inputs, other.inputs),
            targets=(*self.targets, *other.targets),
            ids=(*self.ids, *other.ids),
            embedded=join(self.embedded, other.embedded),
        )

    def only(self, places: Sequence[int]) -> Golden | None:
        """Those at `places`; None where none is left."""
        if not places:
            return None
        return replace(
            self,
            inputs=take(self.inputs, places),
            targets=tuple(self.targets[place] for place in places),
            ids=tuple(self.ids[place] for place in places),
            embedded=take(self.embedded, places),
        )


def golden(
    task: Adapted, inputs: Any, targets: Any, ids: Sequence[str] | None, tolerance: float | None
) -> Golden:
    """New golden examples, tested against the task they are to guard. `task.with_golden` is the public door.

    Raises:
        DataError: no example, an unequal number of labels, a class that the task does not know, an input
            that is golden already with another label, or an id in use.
    """
    read = task.learner.encoder.read(inputs)
    Examples(read, targets)
    if len(read) == 0:
        raise DataError(
            "0 golden examples were given; a check needs at least one input with its right answer"
        )
    right = tuple(plain(target) for target in targets)
    allowed = _tolerance(task.space, tolerance, task.golden)
    task.space.encode(list(right))
    task.learner.check_examples(read, right)
    new = Golden(read, right, _names(ids, len(read), task.golden), allowed, task.embed(read))
    _no_contradiction(task, new)
    return new


def without_golden(held: Golden | None, ids: str | Sequence[str]) -> Golden | None:
    """Golden examples but for those of these ids; `task.without_golden` is the public door.

    Raises:
        DataError: an unknown id.
    """
    names = held.ids if held else ()
    gone = places_of(ids, names, "a golden example of this task")
    return held.only([place for place in range(len(held)) if place not in gone]) if held else None


def _tolerance(space: OutputSpace, tolerance: float | None, known: Golden | None) -> float | None:
    if isinstance(space, Classes | Pieces):
        if tolerance is not None:
            raise SettingError(f"tolerance is {tolerance}, but labels are right or wrong; leave it out")
        return None
    if not isinstance(space, Numbers):
        raise UnsupportedError(
            f"golden checks are for classes, numbers, spans and boxes; this task answers with {space.kind}"
        )
    found = tolerance if tolerance is not None else known.tolerance if known else None
    if found is None or not 0 <= found < float("inf"):
        raise SettingError(
            f"tolerance is {found}; say how far a number may be off and still be right, for example tolerance=0.5"
        )
    return float(found)


def _names(ids: Sequence[str] | None, count: int, known: Golden | None) -> tuple[str, ...]:
    taken = known.ids if known else ()
    if ids is None:
        numbers = [int(name[1:]) for name in taken if name[:1] == "g" and name[1:].isdigit()]
        first = max(numbers, default=-1) + 1
        return tuple(f"g{first + k}" for k in range(count))
    names = tuple(str(name) for name in ids)
    if len(names) != count:
        raise DataError(f"{len(names)} ids came with {count} golden examples; give one id per example")
    seen = set(taken)
    for name in names:
        if name in seen:
            raise DataError(f"id {name!r} is used twice; every golden example needs an id of its own")
        seen.add(name)
    return names


def _no_contradiction(task: Adapted, new: Golden) -> None:
    """The same input must not be asked for two answers: then no task could pass."""
    digest = task.learner.encoder.digest
    whole = [
        *(zip(task.golden.inputs, task.golden.targets, task.golden.ids, strict=True) if task.golden else ())
    ]
    whole += zip(new.inputs, new.targets, new.ids, strict=True)
    found: dict[str, tuple[Any, str]] = {}
    for item, target, name in whole:
        before, first = found.setdefault(digest(item), (target, name))
        if before != target:
            raise DataError(
                f"golden examples {first!r} and {name!r} are the same input with answers {before!r} and {target!r}; "
                "an input has one right answer: correct or leave out one"
            )


def ask(task: Adapted) -> Checked:
    """The golden examples of a task and how it answers them.

    Raises:
        DataError: it has none; a check of nothing must not pass.
    """
    held = task.golden
    if held is None:
        raise DataError(
            "this task has 0 golden checks; give it some: task = task.with_golden(inputs, labels), or ask others "
            "with task.check(inputs, labels)"
        )
    given = _answers(task, held)
    right = task.space.right if isinstance(task.space, Pieces) else _right(held)
    wrong = [
        (place, want, got)
        for place, (want, got) in enumerate(zip(held.targets, given, strict=True))
        if not right(want, got)
    ]
    return Checked(len(held) - len(wrong), len(held), wrong, ids=held.ids)


def _answers(task: Adapted, held: Golden) -> list[Any]:
    answer = task.answer_embedded(held.embedded)
    if isinstance(task.space, Classes):
        return list(answer.labels)
    if isinstance(task.space, Pieces):
        return list(answer.pieces)
    values: list[Any] = answer.values.tolist()
    return [value[0] if len(value) == 1 else value for value in values]


def _right(held: Golden) -> Callable[[Any, Any], bool]:
    allowed = held.tolerance
    if allowed is None:
        return lambda want, got: bool(want == got)
    return lambda want, got: all(abs(w - g) <= allowed for w, g in zip(_row(want), _row(got), strict=True))


def _row(value: Any) -> list[float]:
    return list(value) if isinstance(value, list | tuple) else [value]


def guarded(before: Adapted, after: Adapted, on_regression: str = "warn") -> Adapted:
    """`after` with the golden examples of `before`, and what it answers worse made known.

    Args:
        on_regression: "warn" (a RegressionWarning that names the examples), "refuse" (a RegressionError),
            or "ignore".

    Raises:
        RegressionError: on request, where a golden example that was right is wrong now.
        SettingError: on_regression is none of the three.
    """
    if on_regression not in ON_REGRESSION:
        raise SettingError(f"on_regression is {on_regression!r}; choose one of {', '.join(ON_REGRESSION)}")
    held = before.golden
    if held is None:
        return after
    same = after.learner is before.learner
    after = replace(after, golden=held if same else replace(held, embedded=after.embed(held.inputs)))
    if on_regression != "ignore":
        worse = ask(after).worse_than(ask(before))
        if worse:
            _tell(worse, len(held), on_regression)
    return after


def _tell(worse: tuple[Regression, ...], total: int, on_regression: str) -> None:
    shown = ", ".join(f"{r.id!r} (right is {r.expected!r}, now {r.given!r})" for r in worse[:5])
    more = f" and {len(worse) - 5} more" if len(worse) > 5 else ""
    fault = f"{len(worse)} of {total} golden checks were right and are wrong after this change: {shown}{more}"
    if on_regression == "refuse":
        raise RegressionError(
            f'{fault}; nothing was changed: leave the change out, or accept it with on_regression="warn"',
            worse,
        )
    warnings.warn(
        RegressionWarning(
            f'{fault}; take it back, or have such changes refused with on_regression="refuse"', worse
        ),
        stacklevel=callers_level(),
    )
