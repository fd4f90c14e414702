"""Random crops of a task's marked pictures, every label as often as the others: what a detector is tuned on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kshot.vision.crops import Crops
from kshot.vision.picture_maps import MapEncoder

UNMARKED = 4
"""Places of a crop, likely but not marked, that are told from the classes."""
_SHAKE = 0.08
"""Of a box, in parts of its sides, before it is looked at: boxes that are found lie no better."""

Groups = list[list[tuple[int, int | None]]]
"""Places of pictures and of boxes in them (None: of the whole picture), a list for each label."""


class MarkedCrops:
    """Draws crops of pictures with their boxes.

    Args:
        encoder: its size is that of the pictures, and of what it makes of a crop. inputs: pictures as it reads them.
        rows: the boxes of each, [k, 5], encoded. crops: how crops are made. draw: what chance is drawn from.
    """

    def __init__(
        self,
        encoder: MapEncoder,
        inputs: Sequence[Any],
        rows: list[Tensor],
        crops: Crops,
        draw: torch.Generator,
    ) -> None:
        self.encoder, self.rows, self.crops, self.draw = encoder, rows, crops, draw
        self.pictures = [encoder.resized(item) for item in inputs]
        self.boxes = [_scaled(*each) for each in zip(rows, inputs, self.pictures, strict=True)]

    def groups(self, places: Sequence[int]) -> Groups:
        """Places of pictures and of boxes in them, by label; pictures without boxes are a group of their own."""
        showing: dict[int | None, list[tuple[int, int | None]]] = {}
        for place in places:
            labels = self.rows[place][:, 4].long().tolist()
            for row, label in enumerate(labels):
                showing.setdefault(label, []).append((place, row))
            if not labels:
                showing.setdefault(None, []).append((place, None))
        return list(showing.values())

    def many(self, groups: Groups, count: int) -> tuple[Tensor, list[Tensor]]:
        """Crops [count, channels, side, side] and the boxes of each."""
        drawn = [self._crop(groups) for _ in range(count)]
        return torch.stack([picture for picture, _ in drawn]), [boxes for _, boxes in drawn]

    def _crop(self, groups: Groups) -> tuple[Tensor, Tensor]:
        """A crop around a box of a label that was drawn first, so that rare labels are seen as often as others."""
        own = groups[self._below(len(groups))]
        place, row = own[self._below(len(own))]
        found, boxes = self.crops(self.pictures[place], self.boxes[place], row, self.draw)
        return self.encoder.planed(found, self.crops.side, self.crops.side), boxes

    def _below(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.draw))

    def shaken(self, boxes: Tensor) -> Tensor:
        """Boxes [k, 5] a little off."""
        sides = (boxes[:, 2:4] - boxes[:, :2]).repeat(1, 2)
        moved = boxes[:, :4] + _SHAKE * sides * torch.randn(len(boxes), 4, generator=self.draw)
        return torch.cat([moved[:, :2], torch.maximum(moved[:, 2:], moved[:, :2] + 1), boxes[:, 4:]], 1)


def names_of(boxes: list[Tensor], others: Tensor) -> Tensor:
    """The right columns among the names, of all boxes [k, 5] by their labels and of the `others` as none of them."""
    return torch.cat([torch.cat(boxes)[:, 4].long() + 1, torch.zeros(len(others), dtype=torch.long)])


def _scaled(rows: Tensor, item: Tensor, picture: Tensor) -> Tensor:
    """Boxes [k, 5] in the pixels of the resized picture."""
    across, down = picture.shape[2] / item.shape[-1], picture.shape[1] / item.shape[-2]
    return rows.to(picture) * torch.tensor([across, down, across, down, 1.0])
