"""The task: a few examples to learn from, and what to answer.

A task's support is **given** (a set of examples) or **interactive**: in reinforcement learning
what one sees depends on what one does, so `collect` asks a policy. Both are one type, and code
that calls `task.collect(policy, generator)` serves both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from kshot.errors import TaskError
from kshot.tasks.examples import Examples
from kshot.tasks.spaces.space import OutputSpace

Policy = Callable[[Any], Any]
"""What one has been shown (an observation, or None) to what one does (an action)."""


@dataclass(frozen=True)
class Task:
    """Examples to learn from, and what an answer looks like.

    Args:
        space: what an answer is: classes, numbers, spans, boxes, actions, a density.
        support: the labelled examples to adapt to; None when they must be collected.
        query: examples to be judged on; None when a task is used, not evaluated.
        unlabelled: further inputs without targets.
        name: for people.
    """

    space: OutputSpace
    support: Examples | None = None
    query: Examples | None = None
    unlabelled: Any | None = None
    name: str = ""

    def collect(self, policy: Policy | None, generator: torch.Generator) -> Examples:
        """The examples to adapt to. A given support ignores `policy`."""
        if self.support is None:
            raise TaskError(
                f"task {self.name!r} has no support; a task needs examples: give support=Examples(...) "
                "or override collect() as an InteractiveTask does"
            )
        return self.support


class InteractiveTask(Task):
    """A task whose examples come from acting in it. Override both methods."""

    def collect(self, policy: Policy | None, generator: torch.Generator) -> Examples:
        """Act with `policy` (None: explore) and return what was seen."""
        raise TaskError(f"{type(self).__name__} has no collect(); an interactive task must define it")

    def score(self, policy: Policy, generator: torch.Generator) -> float:
        """The return of `policy`: higher is better."""
        raise TaskError(f"{type(self).__name__} has no score(); an interactive task must define it")


@runtime_checkable
class TaskSource(Protocol):
    """A distribution of tasks. The same generator state gives the same task."""

    def sample(self, generator: torch.Generator) -> Task:
        """Draw one task."""
        ...


def sample_batch(source: TaskSource, count: int, generator: torch.Generator) -> list[Task]:
    """Draw `count` tasks: by the source's own `sample_batch` where it has one, else one by one."""
    own = getattr(source, "sample_batch", None)
    if own is not None:
        return list(own(count, generator))
    return [source.sample(generator) for _ in range(count)]
