"""Sinusoid regression: the toy of the field. Finn et al. (2017), "Model-Agnostic Meta-Learning", section 5.1."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kshot.errors import SettingError
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Numbers

AMPLITUDES = (0.1, 5.0)
PHASES = (0.0, math.pi)
RANGE = (-5.0, 5.0)


@dataclass(frozen=True)
class Sinusoids:
    """Tasks y = A sin(x - p): A uniform in [0.1, 5], p in [0, pi], x in [-5, 5], all independent.

    The phase is subtracted, as in the authors' code; some copies add it, which is another family.
    An endless source: it has no classes to split, so training and test differ by their generators.

    Args:
        shots: support points a task. queries: query points a task.

    >>> task = Sinusoids(shots=5, queries=3).sample(torch.Generator().manual_seed(0))
    >>> task.support.inputs.shape, task.query.targets.shape
    (torch.Size([5, 1]), torch.Size([3, 1]))
    """

    shots: int = 5
    queries: int = 10

    def __post_init__(self) -> None:
        for name in ("shots", "queries"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} is {getattr(self, name)!r}; it must be at least 1")

    def using(self, **changes: Any) -> Sinusoids:
        """The same family with other numbers of points: `source.using(shots=10)`."""
        return replace(self, **changes)

    def sample(self, generator: torch.Generator) -> Task:
        return self.sample_batch(1, generator)[0]

    def sample_batch(self, count: int, generator: torch.Generator) -> list[Task]:
        """`count` tasks from three draws of random numbers."""
        amplitude = _uniform(AMPLITUDES, (count, 1, 1), generator)
        phase = _uniform(PHASES, (count, 1, 1), generator)
        x = _uniform(RANGE, (count, self.shots + self.queries, 1), generator)
        y = amplitude * torch.sin(x - phase)
        parts = [self.shots, self.queries]
        support_x, query_x = torch.split(x, parts, 1)
        support_y, query_y = torch.split(y, parts, 1)
        columns = (support_x.unbind(), support_y.unbind(), query_x.unbind(), query_y.unbind())
        space = Numbers(1)
        return [
            Task(space, Examples(sx, sy), Examples(qx, qy), name="sinusoid")
            for sx, sy, qx, qy in zip(*columns, strict=True)
        ]


def _uniform(span: tuple[float, float], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    low, high = span
    return low + (high - low) * torch.rand(shape, generator=generator)
