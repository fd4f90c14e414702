"""The same examples on another base, or at other scalars of the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kshot.errors import DataError
from kshot.learners.given import embed_read
from kshot.learners.golden import ask, guarded
from kshot.learners.results import Rebased

if TYPE_CHECKING:
    from kshot.learners.adapted import Adapted
    from kshot.learners.learner import Embedded, Learner


def rebase(task: Adapted, learner: Learner, on_regression: str) -> Rebased:
    """The task adapted afresh by another base, and what that changed; `task.rebase` is the public door."""
    if learner.encoder.modality != task.learner.encoder.modality:
        raise DataError(
            f"the new base takes {learner.encoder.modality} inputs, this task holds "
            f"{task.learner.encoder.modality} inputs; choose a base of the same kind"
        )
    moved = type(task).start(learner, task.inputs, task.targets, task.space, task.ids)
    new = guarded(task, moved, on_regression)
    before, after = (one.checked(one.embedded, one.targets) for one in (task, new))
    worse = ask(new).worse_than(ask(task)) if task.golden else ()
    return Rebased(new, before, after, worse)


def on(task: Adapted, learner: Learner, embedded: Embedded = None) -> Adapted:
    """The task on another base of the same kind, with all that it carries; `task.on` is the public door."""
    if learner is task.learner:
        return task

    def moved(held: Any) -> Any:
        return held and replace(held, embedded=embed_read(learner, held.inputs))

    known = embed_read(learner, task.inputs) if embedded is None else embedded
    new = task.of_embedded(learner, task.space, task.inputs, task.targets, task.ids, known, task.scalars)
    return replace(new, golden=moved(task.golden), removed=moved(task.removed))


def at_scalars(task: Adapted, scalars: Mapping[str, float] | None) -> Adapted:
    """The task at these scalars of the head, with all that it carries; `task.at_scalars` is the public door."""
    if scalars == task.scalars:
        return task
    new = task.of_embedded(
        task.learner, task.space, task.inputs, task.targets, task.ids, task.embedded, scalars
    )
    return replace(new, golden=task.golden, removed=task.removed)
