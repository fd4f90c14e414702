"""Tasks drawn from a pool by a sampler: the usual task source."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kshot.data.pool import Pool
from kshot.errors import SettingError
from kshot.tasks import ClassDraw, Examples, NWayKShot, Sampler, Task, TaskSource
from kshot.tasks.examples import take
from kshot.tasks.spaces import Classes

Transform = Callable[[Any, torch.Generator], Any]
"""Changes a batch of raw inputs, for example by augmentation."""


@dataclass(frozen=True)
class Episodes:
    """Classification tasks from a pool; support and query never share an example.

    Args:
        pool: labelled examples.
        sampler: which examples make a task.
        transform: applied to the inputs of each task; gets a generator.

    Raises:
        TaskError: the pool cannot make such tasks; says why.

    >>> pool = Pool(torch.zeros(6, 4), [0, 0, 1, 1, 2, 2])
    >>> task = Episodes(pool, NWayKShot(2, 1, 1)).sample(torch.Generator().manual_seed(0))
    >>> len(task.support), len(task.query), task.space.size
    (2, 2, 2)
    """

    pool: Pool
    sampler: Sampler = NWayKShot()  # noqa: RUF009  a frozen value
    transform: Transform | None = None

    def __post_init__(self) -> None:
        check = getattr(self.sampler, "check", None)
        if isinstance(self.sampler, NWayKShot):
            self.sampler.check(self.pool.sizes, self.pool.names)
        elif check is not None:
            check(self.pool.sizes)

    def using(self, **changes: Any) -> Episodes:
        """The same pool with other sampler settings: `source.using(ways=20, shots=5)`."""
        return replace(self, sampler=replace(self.sampler, **changes))  # type: ignore[type-var]

    def sample(self, generator: torch.Generator) -> Task:
        plan = self.sampler.draw(self.pool.sizes, generator)
        support = self._examples(plan, [d.support for d in plan], generator)
        query = self._examples(plan, [d.query for d in plan], generator)
        return Task(self._space([d.index for d in plan]), support, query, name=self.pool.name)

    def _examples(
        self, plan: list[ClassDraw], places: list[tuple[int, ...]], generator: torch.Generator
    ) -> Examples:
        rows = [int(self.pool.members[d.index][p]) for d, ps in zip(plan, places, strict=True) for p in ps]
        labels = [self.pool.classes[d.index] for d, ps in zip(plan, places, strict=True) for _ in ps]
        inputs = take(self.pool.inputs, rows)
        return Examples(inputs if self.transform is None else self.transform(inputs, generator), labels)

    def _space(self, classes: Sequence[int]) -> Classes:
        return Classes(tuple(self.pool.classes[c] for c in classes))

    def sample_batch(self, count: int, generator: torch.Generator) -> list[Task]:
        """`count` tasks; for an n-way k-shot sampler over memory by one index operation each for support and query."""
        if not isinstance(self.sampler, NWayKShot) or not self.pool.in_memory:
            return [self.sample(generator) for _ in range(count)]
        classes, places = self.sampler.draw_batch(self.pool.counts, count, generator)
        rows = self.pool.table[classes.unsqueeze(-1), places]
        own = torch.arange(rows.shape[1])
        space, shots = Classes(tuple(own.tolist())), self.sampler.shots
        # targets are the same in all tasks, and inputs are views of two tensors
        targets = [own.repeat_interleave(n) for n in (shots, rows.shape[2] - shots)]
        said = self.pool.names
        names = ["/".join([said[c] for c in drawn]) for drawn in classes.tolist()]
        halves = (half.unbind() for half in self._halves(rows, shots, generator))
        return [
            Task(space, Examples(support, targets[0]), Examples(query, targets[1]), name=name)
            for support, query, name in zip(*halves, names, strict=True)
        ]

    def _halves(self, rows: Tensor, shots: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs of support and query, [tasks, examples, ...], of rows of the pool [tasks, ways, shots + queries]."""
        parts = rows[:, :, :shots], rows[:, :, shots:]
        if self.transform is None:
            # index_select copies an example at once where indexing copies it number by number
            found = [self.pool.inputs.index_select(0, part.flatten()) for part in parts]
            return found[0].unflatten(0, (len(rows), -1)), found[1].unflatten(0, (len(rows), -1))
        inputs = self.transform(self.pool.inputs[rows.flatten()], generator)
        inputs = inputs.reshape(*rows.shape, *inputs.shape[1:])
        return inputs[:, :, :shots].flatten(1, 2), inputs[:, :, shots:].flatten(1, 2)


@dataclass(frozen=True)
class Mixed:
    """Several task sources in one, each drawn with its weight.

    >>> Mixed([], [])
    Traceback (most recent call last):
        ...
    kshot.errors.SettingError: 0 sources with 0 weights; give as many weights as sources, at least one of each
    """

    sources: Sequence[TaskSource]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        weights = self.weights if self.weights is not None else [1.0] * len(self.sources)
        if not self.sources or len(weights) != len(self.sources):
            raise SettingError(
                f"{len(self.sources)} sources with {len(weights)} weights; give as many weights as sources, "
                "at least one of each"
            )
        if not all(0 <= w < math.inf for w in weights) or sum(weights) <= 0:
            raise SettingError(
                f"weights are {list(weights)}; each is a number of 0 or more and one is above 0"
            )
        object.__setattr__(self, "weights", tuple(float(w) for w in weights))

    def sample(self, generator: torch.Generator) -> Task:
        place = int(torch.multinomial(torch.tensor(self.weights), 1, generator=generator))
        return self.sources[place].sample(generator)
