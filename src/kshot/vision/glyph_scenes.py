"""Pictures with characters strewn over them: detection tasks made from any set of characters."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import DataError, SettingError
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Boxes

_TRIES = 30
"""Places tried for a character before the picture does without it."""


@dataclass(frozen=True)
class GlyphScenes:
    """n-way k-shot detection tasks: dark canvases with bright characters, each with its tight box.

    A support picture shows one character of its class; a query picture `targets` of the task's classes. Either also
    shows a character of another class with the chance `distractor`, which no box marks (with `marked` a box with
    the label None does, so that a localiser can learn that it is a thing too).

    Args:
        glyphs: uint8 [classes, drawings, size, size], ink bright.
        size: sides of a canvas. ways, shots, queries: classes of a task, support pictures of each, query pictures.
        targets: least and most characters of a query picture. sides: of the longer side of a box, in pixels.
        crowd: also in the support, `targets` characters instead of one; for meta-training.
        turns: whether to turn each class by a random quarter turn.

    >>> glyphs = torch.zeros(9, 4, 28, 28, dtype=torch.uint8)
    >>> glyphs[..., 4:20, 8:18] = 255
    >>> task = GlyphScenes(glyphs, ways=3, queries=2).sample(torch.Generator().manual_seed(0))
    >>> len(task.support), len(task.query), task.space.labels
    (3, 2, (0, 1, 2))
    """

    glyphs: Tensor = field(repr=False)
    size: int = 96
    ways: int = 5
    shots: int = 1
    queries: int = 8
    targets: tuple[int, int] = (1, 4)
    sides: tuple[int, int] = (18, 38)
    distractor: float = 0.5
    marked: bool = False
    crowd: bool = False
    turns: bool = False

    def __post_init__(self) -> None:
        if self.glyphs.ndim != 4 or self.glyphs.dtype != torch.uint8:
            raise DataError(
                f"glyphs are {self.glyphs.dtype} of shape {tuple(self.glyphs.shape)}; give uint8 "
                "[classes, drawings, size, size]"
            )
        if self.ways >= len(self.glyphs):
            raise SettingError(
                f"ways is {self.ways} with {len(self.glyphs)} characters; one more is needed for what is no target: "
                f"set ways to at most {len(self.glyphs) - 1}"
            )

    def using(self, **changes: Any) -> GlyphScenes:
        """The same characters with other settings."""
        return replace(self, **changes)

    def sample(self, generator: torch.Generator) -> Task:
        chosen = torch.randperm(len(self.glyphs), generator=generator).tolist()
        own, others = chosen[: self.ways], chosen[self.ways :]
        turned = torch.randint(4, (self.ways,), generator=generator).tolist() if self.turns else None
        draw = _Painter(self, own, others, turned, generator)
        support = [draw.scene([way], more=self.crowd) for way in range(self.ways) for _ in range(self.shots)]
        query = [draw.scene([], more=True) for _ in range(self.queries)]
        parts = [Examples(torch.stack([x for x, _ in s]), [y for _, y in s]) for s in (support, query)]
        return Task(Boxes(tuple(range(self.ways))), parts[0], parts[1], name="glyph scenes")


@dataclass
class _Painter:
    """Draws pictures of one task."""

    source: GlyphScenes
    own: list[int]
    others: list[int]
    turned: list[int] | None
    generator: torch.Generator

    def whole(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def scene(self, ways: list[int], more: bool) -> tuple[Tensor, list[Any]]:
        """A picture [1, size, size] with characters of these classes (with `more`, of further ones), and its boxes."""
        source = self.source
        if more:
            count = max(self.whole(*source.targets), len(ways))
            ways = [*ways, *(self.whole(0, source.ways - 1) for _ in range(count - len(ways)))]
        canvas = torch.zeros(1, source.size, source.size)
        boxes: list[Any] = []
        for way in ways:
            self._place(canvas, boxes, self.own[way], way)
        if float(torch.rand((), generator=self.generator)) < source.distractor:
            self._place(canvas, boxes, self.others[self.whole(0, len(self.others) - 1)], None)
        return canvas, [box for box in boxes if source.marked or box[4] is not None]

    def _place(self, canvas: Tensor, boxes: list[Any], glyph: int, label: int | None) -> None:
        """Put a character where it hardly overlaps others."""
        ink = self.source.glyphs[glyph, self.whole(0, self.source.glyphs.shape[1] - 1)]
        if label is not None and self.turned is not None:
            ink = torch.rot90(ink, self.turned[label])
        ink = _tight(ink)
        longer = self.whole(*self.source.sides)
        height, width = (max(3, round(side * longer / max(ink.shape))) for side in ink.shape)
        for _ in range(_TRIES):
            left = self.whole(0, self.source.size - width)
            top = self.whole(0, self.source.size - height)
            box = (left, top, left + width, top + height)
            if all(_overlap(box, other) < 0.1 for other in boxes):
                drawn = F.interpolate(
                    ink[None, None].float() / 255, (height, width), mode="bilinear", antialias=True
                )
                part = canvas[0, top : top + height, left : left + width]
                torch.maximum(part, drawn[0, 0].clamp(0, 1), out=part)
                boxes.append((*box, label))
                return


def _tight(ink: Tensor) -> Tensor:
    """A drawing [h, w] cut to its ink."""
    rows, columns = (ink > 40).any(1).nonzero().flatten(), (ink > 40).any(0).nonzero().flatten()
    if not len(rows):
        return ink
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _overlap(a: tuple[int, ...], b: tuple[Any, ...]) -> float:
    """Shared area over the smaller area."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return float(max(width, 0) * max(height, 0) / smaller)
