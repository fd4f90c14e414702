"""Tasks of drawn characters: what the bundled base is trained on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from kshot.data.glyphs import GlyphFamily
from kshot.errors import SettingError
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Classes


@dataclass(frozen=True)
class GlyphTasks:
    """n-way k-shot tasks from a `GlyphFamily`, each character drawn with a pen and as a scan.

    A task is drawn all with a pen, all as scans, or each picture by chance as one or the other, so that
    neither look can serve to tell classes apart. Each class is turned by a random quarter turn.

    Args:
        pen, scanned: the same characters in both looks, uint8 [classes, drawings, size, size].
        ways, shots, queries: the size of a task.
        looks: shares of tasks that are all pen, all scans, and mixed.
        turns: whether to turn classes.

    >>> tasks = GlyphTasks.draw(6, 4, torch.Generator().manual_seed(0), ways=5, queries=1)
    >>> tasks.sample(torch.Generator().manual_seed(1)).support.inputs.shape
    torch.Size([5, 28, 28])
    """

    pen: Tensor = field(repr=False)
    scanned: Tensor = field(repr=False)
    ways: int = 90
    shots: int = 1
    queries: int = 3
    looks: tuple[float, float, float] = (0.4, 0.4, 0.2)
    turns: bool = True

    def __post_init__(self) -> None:
        classes, drawings = self.pen.shape[:2]
        if self.ways > classes or self.shots + self.queries > drawings:
            raise SettingError(
                f"{self.ways} ways with {self.shots} shots + {self.queries} queries out of {classes} characters with "
                f"{drawings} drawings each; draw more, or lower these"
            )

    @classmethod
    def draw(
        cls, classes: int, drawings: int, generator: torch.Generator, *, size: int = 28, **task: Any
    ) -> GlyphTasks:
        """Invent `classes` characters with `drawings` drawings each; `task` is ways, shots, queries."""
        state = generator.get_state()
        pen = GlyphFamily(size, scan=0.0).draw(classes, drawings, generator)
        generator.set_state(state)  # the same characters again
        scanned = GlyphFamily(size, scan=1.0).draw(classes, drawings, generator)
        return cls(pen, scanned, **task)

    def split(self, classes: int) -> tuple[GlyphTasks, GlyphTasks]:
        """Tasks of all but the last `classes` characters, and tasks of those."""
        rest = replace(self, pen=self.pen[:-classes], scanned=self.scanned[:-classes])
        ways = min(self.ways, classes)
        return rest, replace(self, pen=self.pen[-classes:], scanned=self.scanned[-classes:], ways=ways)

    def using(self, **changes: int) -> GlyphTasks:
        """The same characters with other ways, shots or queries."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def sample(self, generator: torch.Generator) -> Task:
        count = self.shots + self.queries
        look = int(torch.multinomial(torch.tensor(self.looks), 1, generator=generator))
        classes = torch.randperm(len(self.pen), generator=generator)[: self.ways].unsqueeze(1)
        places = torch.rand(self.ways, self.pen.shape[1], generator=generator).argsort(1)[:, :count]
        chance = torch.rand(self.ways, count, 1, 1, generator=generator)
        images = torch.where(
            chance < (0.0, 1.0, 0.5)[look], self.scanned[classes, places], self.pen[classes, places]
        )
        if self.turns:
            images = _turned(images, torch.randint(4, (self.ways,), generator=generator))
        return self._task(images)

    def _task(self, images: Tensor) -> Task:
        own = torch.arange(self.ways)
        support = Examples(images[:, : self.shots].flatten(0, 1), own.repeat_interleave(self.shots))
        query = Examples(images[:, self.shots :].flatten(0, 1), own.repeat_interleave(self.queries))
        return Task(Classes(tuple(range(self.ways))), support, query, name="glyphs")


def _turned(images: Tensor, quarters: Tensor) -> Tensor:
    """Images [ways, n, size, size], each class turned by its number of quarter turns."""
    turned = torch.stack([torch.rot90(images, k, (-2, -1)) for k in range(4)])
    return turned[quarters, torch.arange(len(images))]
