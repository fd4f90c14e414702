"""Tiny task sources that cost nothing: enough to run every check."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Classes, Numbers


@dataclass(frozen=True)
class Blobs:
    """Classes around random centres in 0..1; inputs have any `shape`, so they pass for rows and for images.

    >>> task = Blobs(ways=3, shots=2, queries=1).sample(torch.Generator().manual_seed(0))
    >>> task.support.inputs.shape, task.query.targets.tolist()
    (torch.Size([6, 4]), [0, 1, 2])
    """

    ways: int = 3
    shots: int = 2
    queries: int = 3
    shape: tuple[int, ...] = (4,)
    spread: float = 0.15

    def sample(self, generator: torch.Generator) -> Task:
        """One task; its classes are 0 .. ways - 1."""
        centres = torch.rand(self.ways, 1, *self.shape, generator=generator)
        return Task(
            Classes(tuple(range(self.ways))),
            self._around(centres, self.shots, generator),
            self._around(centres, self.queries, generator),
            name="blobs",
        )

    def _around(self, centres: Tensor, count: int, generator: torch.Generator) -> Examples:
        noise = torch.randn(self.ways, count, *self.shape, generator=generator)
        inputs = (centres + self.spread * noise).clamp(0, 1).flatten(0, 1)
        return Examples(inputs, torch.arange(self.ways).repeat_interleave(count))


@dataclass(frozen=True)
class Lines:
    """Numbers y = a x + b (+ noise), a and b of each task its own.

    >>> Lines().sample(torch.Generator().manual_seed(0)).support.targets.shape
    torch.Size([5, 1])
    """

    shots: int = 5
    queries: int = 6
    noise: float = 0.1

    def sample(self, generator: torch.Generator) -> Task:
        """One task with inputs [n, 1] and targets [n, 1]."""
        slope, shift = torch.randn(2, generator=generator)
        x = 2 * torch.rand(self.shots + self.queries, 1, generator=generator) - 1
        y = slope * x + shift + self.noise * torch.randn(x.shape, generator=generator)
        k = self.shots
        return Task(Numbers(1), Examples(x[:k], y[:k]), Examples(x[k:], y[k:]), name="lines")
