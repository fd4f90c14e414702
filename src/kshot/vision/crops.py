"""Random crops of marked pictures, at the size that a network sees: what a few pictures are made many by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float

_LEFT, _PIXELS = 0.4, 2.0
"""Share of a box that must be inside of a crop, and its least side there, for the box to count."""


@dataclass(frozen=True)
class Crops:
    """Square crops around marked boxes, zoomed, stretched a little, mirrored, turned by quarters, lit anew.

    Args:
        side: pixels. zoom: least and most. mirror: False where left and right mean something.
        turn: True where up and down mean nothing. light: how far brightness, contrast and colour stray.

    >>> picture, boxes = torch.zeros(3, 50, 80), torch.tensor([[10.0, 10.0, 30.0, 30.0, 0.0]])
    >>> Crops(64)(picture, boxes, 0, torch.Generator().manual_seed(0))[0].shape
    torch.Size([3, 64, 64])
    """

    side: int = 256
    zoom: tuple[float, float] = (0.7, 1.4)
    mirror: bool = True
    turn: bool = False
    light: float = 0.2

    def __call__(
        self,
        picture: Float[Tensor, "c h w"],
        boxes: Float[Tensor, "k 5"],
        focus: int | None,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """A crop [c, side, side] that shows the middle of box `focus` (None: any place), and the boxes [j, 5] in it."""
        draws = torch.rand(11, generator=generator).tolist()
        zoom = self.zoom[0] * (self.zoom[1] / self.zoom[0]) ** draws[0]
        stretch = 0.9 + 0.2 * draws[1]
        scale = torch.tensor([zoom * stretch, zoom / stretch])
        size = torch.tensor([picture.shape[2], picture.shape[1]]) * scale
        middle = size * torch.tensor(draws[9:11])
        if focus is not None:
            middle = (boxes[focus, :2] + boxes[focus, 2:4]) / 2 * scale
        corner = middle - self.side * (0.15 + 0.7 * torch.tensor(draws[2:4]))
        room = size - self.side  # below 0 the picture is smaller: it lies anywhere in the crop
        corner = torch.maximum(torch.minimum(corner, room.clamp(min=0)), room.clamp(max=0))
        found = _cut(picture, scale, corner, self.side)
        kept = self._inside(boxes, scale, corner)
        if self.mirror and draws[4] < 0.5:
            found, kept = found.flip(2), _mirrored(kept, self.side)
        for _ in range(int(4 * draws[5]) if self.turn else 0):
            found, kept = found.transpose(1, 2).flip(2), _turned(kept, self.side)
        return self._lit(found, draws[6:9]), kept

    def _inside(self, boxes: Tensor, scale: Tensor, corner: Tensor) -> Tensor:
        moved = boxes[:, :4] * scale.repeat(2) - corner.repeat(2)
        cut = moved.clamp(0, self.side)
        sides, whole = cut[:, 2:] - cut[:, :2], moved[:, 2:] - moved[:, :2]
        keep = (sides.prod(1) >= _LEFT * whole.prod(1)) & (sides > _PIXELS).all(1)
        return torch.cat([cut, boxes[:, 4:]], 1)[keep]

    def _lit(self, picture: Tensor, draws: list[float]) -> Tensor:
        light, contrast, colour = (1 + self.light * (2 * draw - 1) for draw in draws)
        picture = picture * light
        middle, grey = picture.mean(), picture.mean(0, keepdim=True)
        grey = middle + (grey - middle) * contrast
        picture = middle + (picture - middle) * contrast
        return (grey + (picture - grey) * colour).clamp(0, 1)


def _cut(picture: Tensor, scale: Tensor, corner: Tensor, side: int) -> Tensor:
    """The square of `side` pixels at `corner` of the scaled picture; beyond the edge it repeats the edge."""
    places = (torch.arange(side)[:, None] + 0.5 + corner) / scale  # [side, 2], x and y in the picture
    places = places / torch.tensor([picture.shape[2], picture.shape[1]]) * 2 - 1
    grid = torch.stack(torch.meshgrid(places[:, 1], places[:, 0], indexing="ij")[::-1], -1)
    found: Tensor = F.grid_sample(picture[None], grid[None], padding_mode="border", align_corners=False)[0]
    return found


def _mirrored(boxes: Tensor, side: int) -> Tensor:
    left, top, right, bottom, label = boxes.T
    return torch.stack([side - right, top, side - left, bottom, label], 1)


def _turned(boxes: Tensor, side: int) -> Tensor:
    """A quarter to the right."""
    left, top, right, bottom, label = boxes.T
    return torch.stack([side - bottom, left, side - top, right, label], 1)
