"""Ordinary batches of labelled examples, as tasks: how a classifier over all classes is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from kshot.data.episodes import Transform
from kshot.data.pool import Pool
from kshot.errors import SettingError
from kshot.tasks import Examples, Task
from kshot.tasks.examples import take
from kshot.tasks.spaces import Classes


@dataclass(frozen=True)
class Flat:
    """Tasks over all classes of a pool: an empty support and a query of `batch` random examples.

    For learners that are pretrained by plain classification (`kshot.learners.Transfer`). An example occurs
    at most once in a batch.

    Args:
        pool: labelled examples.
        batch: examples a task; at most the whole pool.
        transform: applied to the inputs; gets a generator.

    >>> task = Flat(Pool(torch.zeros(6, 4), [0, 0, 1, 1, 2, 2]), batch=4).sample(torch.Generator())
    >>> len(task.support), len(task.query), task.space.size
    (0, 4, 3)
    """

    pool: Pool
    batch: int = 64
    transform: Transform | None = None
    space: Classes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise SettingError(f"batch is {self.batch}; it must be at least 1")
        object.__setattr__(self, "space", Classes(self.pool.classes))

    def sample(self, generator: torch.Generator) -> Task:
        rows = torch.randperm(len(self.pool), generator=generator)[: self.batch].tolist()
        inputs: Any = take(self.pool.inputs, rows)
        if self.transform is not None:
            inputs = self.transform(inputs, generator)
        labels = [self.pool.classes[int(self.pool.targets[row])] for row in rows]
        return Task(self.space, Examples(inputs[:0], []), Examples(inputs, labels), name=self.pool.name)
