"""Learning again after a change: each way is judged on recent examples that it held back, and taken only where it is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.learners import Adapted, Regression
from kshot.learners.given import plain
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes
from kshot.trust.nonconformity import losses_of

if TYPE_CHECKING:
    from kshot.trust.drift import Watch


@dataclass(frozen=True)
class Readapted:
    """What learning again came to.

    Attributes:
        task: the one to go on with: the new one where `adopted`, else the one there was.
        way: "add" or "replace": what was tried, the best of the two.
        before, after: how well the recent examples are answered (accuracy for classes, else minus the mean loss):
            by the task as it was, and by the new one on examples it did not learn from.
        luck: the chance of such a gain by luck alone.
        regressions: golden examples that the new one answers wrong.
        watch: a new watch over `task`. why: all this in a sentence.
    """

    task: Adapted
    way: str
    before: float
    after: float
    luck: float
    regressions: tuple[Regression, ...]
    adopted: bool
    watch: Watch
    why: str


def readapt(watch: Watch, folds: int, chance: float) -> Readapted:
    """Learn again with the recent labelled inputs of a watch; `watch.readapt` is the public door."""
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise SettingError(f"folds is {folds!r}; it is a whole number of at least 2")
    if not 0 < chance <= 1:
        raise SettingError(f"chance is {chance!r}; it lies above 0 and is at most 1, for example 0.05")
    recent = watch.recent
    if len(recent) < 2:
        raise DataError(
            f"{len(recent)} labelled inputs since the change; learning again needs at least two, better a few per "
            "class: label some and give them to see(inputs, labels)"
        )
    tried = [t for t in (_try(watch, name, recent, folds) for name in WAYS) if t is not None]
    best = max(tried, key=lambda t: (not t.regressions, t.after))
    if best.regressions or best.after < best.before or best.luck > chance:
        return replace(best, task=watch.task, watch=watch.over(watch.task), why=f"rolled back; {best.why}")
    return replace(best, adopted=True, watch=watch.over(best.task), why=f"adopted; {best.why}")


Way = Callable[[Adapted, Examples], Adapted]


def _add(task: Adapted, recent: Examples) -> Adapted:
    return task.add(recent.inputs, recent.targets, on_regression="ignore")


def _replace(task: Adapted, recent: Examples) -> Adapted:
    """Classes with recent examples know only these; numbers are all learned anew."""
    anew = set(recent.targets) if isinstance(task.space, Classes) else None
    old = [name for name, y in zip(task.ids, task.targets, strict=True) if anew is None or plain(y) in anew]
    grown = _add(task, recent)
    return grown.remove(old, on_regression="ignore") if old else grown


WAYS: dict[str, Way] = {"add": _add, "replace": _replace}
"""How a task learns recent examples, by name; the first is taken where both are as good."""


def _try(watch: Watch, name: str, recent: Examples, folds: int) -> Readapted | None:
    """One way of learning again, judged but not adopted; None where the learner cannot take examples back."""
    task, way = watch.task, WAYS[name]
    try:
        after = way(task, recent)
    except UnsupportedError:
        return None
    worse = after.check().worse_than(task.check()) if task.golden else ()
    old, new = losses_of(task, recent), _held_back(way, task, recent, folds)
    top = 1.0 if isinstance(task.space, Classes) else 0.0
    before, now = top - float(old.mean()), top - float(new.mean())
    luck = min(1.0, len(WAYS) * _luck(int((new < old).sum()), int((new > old).sum())))
    why = f"{name} {len(recent)} recent examples: {before:.3g} before, {now:.3g} after on held-back ones, luck {luck:.2g}"
    if worse:
        why += f"; golden examples became wrong: {', '.join(repr(r.id) for r in worse[:5])}"
    return Readapted(after, name, before, now, luck, worse, False, watch, why)


def _held_back(way: Way, task: Adapted, recent: Examples, folds: int) -> np.ndarray:
    """Losses of recent examples, each answered by a task that did not learn it."""
    fold, losses = _folds(recent.targets, folds), np.zeros(len(recent))
    for part in sorted(set(fold)):
        learn = [place for place, own in enumerate(fold) if own != part]
        ask = [place for place, own in enumerate(fold) if own == part]
        losses[ask] = losses_of(way(task, recent.take(learn)), recent.take(ask))
    return losses


def _luck(better: int, worse: int) -> float:
    """Chance of at least so many `better` ones out of both, if each were a coin flip (sign test).

    >>> _luck(5, 0), _luck(0, 0)
    (0.03125, 1.0)
    """
    count = better + worse
    return float(sum(math.comb(count, k) for k in range(better, count + 1)) / 2**count)


def _folds(targets: Sequence[Any], folds: int) -> list[int]:
    """A part per example, so that each class is spread evenly over the parts."""
    count: dict[Any, int] = {}
    order = []
    for target in targets:
        order.append((count.setdefault(str(target), 0), str(target)))
        count[str(target)] += 1
    place = {key: number for number, key in enumerate(sorted(order, key=lambda key: (key[1], key[0])))}
    return [place[key] % min(folds, len(order)) for key in order]
