"""Tasks as a network wants them: inputs prepared, targets encoded, on one device; alike tasks in one go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kshot.learners.given import like
from kshot.tasks import Examples, Task

if TYPE_CHECKING:
    from kshot.learners.learner import Learner


def prepare(learner: Learner, task: Task) -> Task:
    """The task as the learner's encoder wants it; `learner.prepare` is the public door."""
    learner.check_space(task.space)
    support, query = (_tensors(learner, examples, task) for examples in (task.support, task.query))
    return Task(task.space, support, query, name=task.name)


def prepare_many(learner: Learner, tasks: Sequence[Task]) -> list[Task]:
    """`prepare` for each, alike tasks of tensors in one go; `learner.prepare_many` is the public door."""
    if len(tasks) < 2 or not _alike(tasks):
        return [learner.prepare(task) for task in tasks]
    first = tasks[0]
    joined = Task(first.space, _joined([t.support for t in tasks]), _joined([t.query for t in tasks]))
    ready = learner.prepare(joined)
    parts = zip(_split(ready.support, len(tasks)), _split(ready.query, len(tasks)), strict=True)
    return [Task(t.space, *both, name=t.name) for t, both in zip(tasks, parts, strict=True)]


def _tensors(learner: Learner, examples: Examples | None, task: Task) -> Examples | None:
    if examples is None:
        return None
    inputs = learner.prepared(learner.encoder.read(examples.inputs))
    return Examples(inputs, like(inputs, task.space.encode(examples.targets)))


def _alike(tasks: Sequence[Task]) -> bool:
    """Do all tasks hold tensors of the same shapes in an equal space, so that they can be prepared together?"""
    return len({_layout(task) for task in tasks}) == 1 and _layout(tasks[0]) is not None


def _layout(task: Task) -> tuple[Any, ...] | None:
    if type(task) is not Task or task.support is None or task.query is None:
        return None
    support, query = task.support, task.query
    parts = (support.inputs, support.targets, query.inputs, query.targets)
    if not all(isinstance(part, Tensor) for part in parts):
        return None
    return (task.space, *((part.shape, part.dtype) for part in parts))


def _joined(parts: Sequence[Examples | None]) -> Examples:
    some = [part for part in parts if part is not None]
    return Examples(torch.cat([part.inputs for part in some]), torch.cat([part.targets for part in some]))


def _split(examples: Examples | None, count: int) -> list[Examples]:
    assert examples is not None
    size = len(examples) // count
    inputs, targets = (
        part.unflatten(0, (count, size)).unbind() for part in (examples.inputs, examples.targets)
    )
    return [Examples(x, y) for x, y in zip(inputs, targets, strict=True)]
