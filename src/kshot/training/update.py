"""One meta-update: the mean meta-gradient of a batch of tasks, in a precision, and the running mean of weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from kshot.engine import Choice, accumulate, choose
from kshot.errors import SettingError
from kshot.learners.learner import Learner
from kshot.tasks import Examples, InteractiveTask, Task
from kshot.tasks.spaces import Classes, OutputSpace


def meta_gradient(learner: Learner, tasks: list[Task], executor: str, precision: str) -> Tensor:
    """Add the mean meta-gradient of prepared `tasks` to `.grad` and return the mean loss.

    Tasks whose spaces differ in size, or whose examples do, run as a loop, whatever `executor` says.
    """
    with autocast(learner, precision):
        if not _uniform(tasks):
            return accumulate(learner, learner.loss, tasks, executor="loop")
        loss, trees = _loss_of(tasks)(learner), [_tree(t) for t in tasks]
        return accumulate(learner, loss, trees, executor=executor, key=_key(learner, tasks[0].space))


def choose_executor(
    learner: Learner, tasks: list[Task], precision: str, updates: int | None = None
) -> Choice:
    """The fastest executor for `updates` with such tasks, measured; see `kshot.engine.choose`."""
    if not _uniform(tasks):
        return Choice("loop", "tasks of unequal sizes run one by one", {})
    with autocast(learner, precision):
        trees = [_tree(task) for task in tasks]
        key = _key(learner, tasks[0].space)
        return choose(learner, _loss_of(tasks), trees, key=key, updates=updates)


def _key(learner: Learner, space: OutputSpace) -> str:
    """What decides a learner's loss beside its parameters and the shapes of tasks."""
    size = f"{space.size} classes" if isinstance(space, Classes) else repr(space)
    return f"{learner.kind} {learner.config()} {size}"


def _uniform(tasks: list[Task]) -> bool:
    space = tasks[0].space
    return all((task.space is space or _alike(task.space, space)) and _regular(task) for task in tasks)


def _loss_of(tasks: list[Task]) -> Callable[[Learner], Callable[[Any], Tensor]]:
    """A learner's loss of a task given as a tree of tensors."""
    space = tasks[0].space
    return lambda learner: lambda tree: learner.loss(_task(space, tree))


def practice_gradient(
    learner: Learner, tasks: list[InteractiveTask], precision: str, generator: torch.Generator
) -> Tensor:
    """As `meta_gradient`, of acting in interactive tasks."""
    with autocast(learner, precision):
        loss = learner.practise(tasks, generator)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def autocast(learner: Learner, precision: str) -> AbstractContextManager[Any]:
    """The number type of the heavy layers: their own, or bfloat16 where the device has it.

    Raises:
        SettingError: the device has no bfloat16.
    """
    if precision == "float32":
        return nullcontext()
    device = next(learner.parameters()).device.type
    if device == "cuda" and not torch.cuda.is_bf16_supported():
        raise SettingError("precision is 'bfloat16', but this GPU has none; use precision='float32'")
    return torch.autocast(device, torch.bfloat16)


def follow(average: Learner, learner: Learner, decay: float, step: int) -> None:
    """Move the running mean of weights towards `learner`; numbers that are no weights are copied.

    The decay grows with the step, so that the random start is soon forgotten.
    """
    now = min(decay, (1 + step) / (10 + step)) if decay else 0.0
    weights, new = {name for name, _ in average.named_parameters()}, learner.state_dict()
    for name, mine in average.state_dict().items():
        # running statistics of norms are followed too; a lone number that is no weight (a threshold) is not
        if now and (name in weights or (mine.is_floating_point() and mine.dim() > 0)):
            mine.lerp_(new[name], 1 - now)
        else:
            mine.copy_(new[name])


def _alike(one: OutputSpace, other: OutputSpace) -> bool:
    """Equal up to the names of classes, which prepared tasks no longer hold."""
    if isinstance(one, Classes) and isinstance(other, Classes):
        return one.size == other.size
    return one == other


def _regular(task: Task) -> bool:
    """Are examples and targets single tensors, so that tasks can be stacked?"""
    return all(isinstance(part, Tensor) for part in _tree(task))


def _tree(task: Task) -> tuple[Any, Any, Any, Any]:
    support, query = task.support, task.query
    assert support is not None
    assert query is not None
    return support.inputs, support.targets, query.inputs, query.targets


def _task(space: OutputSpace, tree: tuple[Any, Any, Any, Any]) -> Task:
    return Task(space, Examples(tree[0], tree[1]), Examples(tree[2], tree[3]))
