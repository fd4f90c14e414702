"""Changing which examples a task knows. Each change is a new task, as if adapted afresh to what is left.

Golden examples are not asked here: the methods of `Adapted` guard each change by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kshot.errors import DataError
from kshot.learners.embedded_examples import EmbeddedExamples, places_of
from kshot.learners.evidence import declared
from kshot.learners.given import each_class, embed_read, fresh_ids, some, space_of
from kshot.tasks import Examples

if TYPE_CHECKING:
    from kshot.learners.adapted import Adapted


def add(task: Adapted, inputs: Any, targets: Any, ids: Sequence[str] | None) -> Adapted:
    """The task with these examples too; what is kept aside stays there."""
    inputs, targets = task.learner.unpacked(inputs, targets)
    read = task.learner.encoder.read(inputs)
    Examples(read, targets)
    some(read)
    task.learner.check_count(len(task) + len(read))
    names = fresh_ids(ids, len(read), task.ids, task.removed.ids if task.removed else ())
    more = EmbeddedExamples(read, targets, names, embed_read(task.learner, read, check=True))
    return replace(_joined(task, more), removed=task.removed)


def remove(task: Adapted, ids: str | Sequence[str]) -> Adapted:
    """The task without the examples of these ids, which are kept aside."""
    places = places_of(ids, task.ids, "in this task")
    left = _left(task, places)
    aside = task.examples.take(places)
    if task.removed is not None:
        aside = task.removed.join(aside)
    return replace(left, removed=aside if aside.ids else None)


def restore(task: Adapted, ids: str | Sequence[str]) -> Adapted:
    """The task with these examples of those kept aside in use again, behind the others."""
    held = task.removed.ids if task.removed else ()
    places = places_of(ids, held, "kept aside by this task")
    if task.removed is None or not places:
        return task
    return replace(_joined(task, task.removed.take(places)), removed=_aside_without(task, places))


def forget(task: Adapted, ids: str | Sequence[str]) -> tuple[Adapted, Adapted]:
    """The task as it may be compared, without golden examples that show a forgotten input, and one that never saw it."""
    held = task.removed.ids if task.removed else ()
    known = (*task.ids, *held)
    gone = {known[place] for place in places_of(ids, known, "in this task, nor kept aside by it")}
    places = [place for place, name in enumerate(task.ids) if name in gone]
    aside = [place for place, name in enumerate(held) if name in gone]
    digests = _digests(task, gone)
    left = replace(_left(task, places), removed=_aside_without(task, aside))
    left = left.on(task.learner.without_inputs(digests))
    if left.scalars is not None:
        left = left.at_scalars(None).retune().task
    return _unguarded(task, digests), left


def _joined(task: Adapted, more: EmbeddedExamples) -> Adapted:
    """Adapted to the task's examples and more; what is kept aside stays behind."""
    new = list(more.targets)
    space = space_of(task.space, [*task.targets, *new])
    space.encode(new)
    task.learner.check_examples(more.inputs, new)
    rows = [*range(len(task)), *([-1] * len(more))]
    return task.with_examples(task.examples.join(more), space, rows)


def _left(task: Adapted, places: Sequence[int]) -> Adapted:
    """Adapted without the examples at `places`, which must leave a task."""
    declared(task)
    if not places:
        return replace(task, golden=None, removed=None)
    if len(places) == len(task):
        raise DataError(f"removing {len(places)} examples would leave none; a task needs at least one")
    left = task.without(set(places))
    each_class(left.space, left.targets)
    return left


def _aside_without(task: Adapted, places: Sequence[int]) -> EmbeddedExamples | None:
    """What is kept aside but for those at `places`."""
    if task.removed is None:
        return None
    gone = set(places)
    keep = [place for place in range(len(task.removed)) if place not in gone]
    return task.removed.take(keep) if keep else None


def _digests(task: Adapted, names: set[str]) -> set[str]:
    """Content hashes of examples, in use or kept aside."""
    every = [*zip(task.inputs, task.ids, strict=True)]
    every += zip(task.removed.inputs, task.removed.ids, strict=True) if task.removed else ()
    return {task.learner.encoder.digest(item) for item, name in every if name in names}


def _unguarded(task: Adapted, digests: set[str]) -> Adapted:
    """The task without golden examples whose input is one of those."""
    if task.golden is None:
        return task
    digest = task.learner.encoder.digest
    keep = [place for place, item in enumerate(task.golden.inputs) if digest(item) not in digests]
    return replace(task, golden=task.golden.only(keep))
