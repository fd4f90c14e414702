"""The contract of a task source."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kshot.seeds import generator
from kshot.tasks import Examples, InteractiveTask, Task, TaskSource, sample_batch
from kshot.tasks.spaces import Classes
from kshot.testing.claims import claim, same


def check_task_source(source: TaskSource, *, draws: int = 10, distinct_inputs: bool = True) -> None:
    """Run the contract of `kshot.tasks.TaskSource` on a source of your own.

    Args:
        draws: how many tasks to look at.
        distinct_inputs: the data hold no two equal inputs, so that an input in support and query is a leak.

    Raises:
        AssertionError: a rule is broken; the sentence says which.

    >>> from kshot.testing import Blobs
    >>> check_task_source(Blobs())
    """
    random = torch.get_rng_state()
    first, second = generator(0, "source"), generator(0, "source")
    tasks = [source.sample(first) for _ in range(draws)]
    for number, task in enumerate(tasks):
        _same_task(task, source.sample(second), f"draw {number}")
        _sound(task, distinct_inputs)
    claim(
        draws < 2 or any(not _equal(tasks[0], task) for task in tasks[1:]),
        f"{draws} draws gave one and the same task; a source must move on with its generator",
    )
    _resumes(source)
    _batches(source)
    claim(
        torch.equal(random, torch.get_rng_state()),
        "sampling drew from torch's global random state; draw from the generator that is passed in",
    )


def _resumes(source: TaskSource) -> None:
    """A saved generator state goes on with the very same tasks."""
    rng = generator(1, "source")
    source.sample(rng)
    state = rng.get_state()
    after, resumed = source.sample(rng), torch.Generator()
    resumed.set_state(state)
    _same_task(after, source.sample(resumed), "resumed from a saved generator state")


def _batches(source: TaskSource) -> None:
    """A batch of tasks repeats with its generator, and its tasks are as sound as single ones."""
    ours, theirs = (sample_batch(source, 3, generator(2, "source")) for _ in range(2))
    claim(len(ours) == 3, f"sample_batch was asked for 3 tasks and gave {len(ours)}")
    for first, second in zip(ours, theirs, strict=True):
        _same_task(first, second, "sample_batch")
        _sound(first, False)


def _same_task(first: Task, second: Task, what: str) -> None:
    claim(_equal(first, second), f"{what}: the same generator state must give the same task")


def _equal(first: Task, second: Task) -> bool:
    parts = [(_seen(t), t.query) for t in (first, second)]
    return first.space == second.space and all(_alike(a, b) for a, b in zip(*parts, strict=True))


def _seen(task: Task) -> Examples | None:
    """The support; of an interactive task what exploring it shows."""
    return task.collect(None, generator(0, "seen")) if isinstance(task, InteractiveTask) else task.support


def _alike(a: Examples | None, b: Examples | None) -> bool:
    if a is None or b is None:
        return a is b
    return same(_items(a.inputs), _items(b.inputs)) and same(_items(a.targets), _items(b.targets))


def _sound(task: Task, distinct_inputs: bool) -> None:
    """Targets fit the space, the query asks for known classes, and no input is in both parts."""
    support = task.collect(None, generator(0, "collect"))
    claim(len(support) > 0, f"task {task.name!r} has an empty support")
    if isinstance(task, InteractiveTask):
        again = task.collect(None, generator(0, "collect"))
        claim(_alike(support, again), "collect() with the same generator state must see the same")
        return
    seen = task.space.encode(support.targets)
    if task.query is None:
        return
    asked = task.space.encode(task.query.targets)
    if isinstance(task.space, Classes):
        strange = set(asked.tolist()) - set(seen.tolist())
        claim(
            not strange, f"task {task.name!r}: the query asks for classes {strange} without a support example"
        )
    if distinct_inputs:
        both = {_content(x) for x in support.inputs} & {_content(x) for x in task.query.inputs}
        claim(not both, f"task {task.name!r}: {len(both)} inputs are in the support and in the query")


def _items(values: Any) -> Any:
    return values if isinstance(values, Tensor) else list(values)


def _content(item: Any) -> Any:
    return (tuple(item.shape), tuple(item.flatten().tolist())) if isinstance(item, Tensor) else str(item)
