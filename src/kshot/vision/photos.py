"""Crops and flips of photographs, as ImageNet models are trained and evaluated with.

He et al. (2016), "Deep Residual Learning", section 3.4; torchvision's reference scripts. They change
one picture at a time, so pictures of any size go in and one tensor comes out; their randomness is
passed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kshot.encoders.pictures import picture_tensor
from kshot.errors import SettingError, need


@dataclass(frozen=True)
class TrainingCrop:
    """A random part of each picture, resized to [size, size], mirrored half the time.

    Args:
        size: side of the result in pixels; the encoder's size.
        scale: smallest and largest share of the area. ratio: smallest and largest width over height.
        flip: probability of mirroring; 0 where left and right mean something.

    >>> TrainingCrop(8)([torch.zeros(3, 20, 30, dtype=torch.uint8)], torch.Generator()).shape
    torch.Size([1, 3, 8, 8])
    """

    size: int = 224
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5

    def __post_init__(self) -> None:
        _check_size(self.size)
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise SettingError(
                f"scale is {self.scale}; give two shares of the area in 0..1, the smaller first"
            )

    def __call__(self, pictures: Sequence[Any] | Tensor, generator: torch.Generator) -> Tensor:
        """Pictures (uint8 [channels, height, width] or PIL) to uint8 [n, 3, size, size]."""
        return _stack([self._one(_colour(p), generator) for p in pictures], self.size)

    def _one(self, picture: Tensor, generator: torch.Generator) -> Tensor:
        functional = need("torchvision.transforms.v2.functional", "vision")
        top, left, height, width = self._box(picture.shape[-2], picture.shape[-1], generator)
        out = functional.resized_crop(
            picture, top, left, height, width, [self.size, self.size], antialias=True
        )
        mirrored = float(torch.rand((), generator=generator)) < self.flip
        return functional.horizontal_flip(out) if mirrored else out  # type: ignore[no-any-return]

    def _box(self, height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
        """Top, left, height and width, as torchvision's RandomResizedCrop draws them."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            share, form, y, x = torch.rand(4, generator=generator).tolist()
            area = height * width * (self.scale[0] + share * (self.scale[1] - self.scale[0]))
            aspect = math.exp(low + form * (high - low))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                return int(y * (height - h + 1)), int(x * (width - w + 1)), h, w
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side, side


@dataclass(frozen=True)
class CentreCrop:
    """Each picture with its short side at size / `share`, and its centre cut out; nothing is random.

    >>> CentreCrop(8)([torch.zeros(1, 20, 30, dtype=torch.uint8)]).shape
    torch.Size([1, 3, 8, 8])
    """

    size: int = 224
    share: float = 0.875

    def __post_init__(self) -> None:
        _check_size(self.size)
        if not 0 < self.share <= 1:
            raise SettingError(f"share is {self.share}; the crop is a share of the short side in 0..1")

    def __call__(self, pictures: Sequence[Any] | Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Pictures (uint8 [channels, height, width] or PIL) to uint8 [n, 3, size, size]."""
        functional = need("torchvision.transforms.v2.functional", "vision")
        short = round(self.size / self.share)
        colour = [_colour(p) for p in pictures]
        found = [functional.resize(p, _sides(p, short), antialias=True) for p in colour]
        return _stack([functional.center_crop(p, [self.size, self.size]) for p in found], self.size)


def _sides(picture: Tensor, short: int) -> list[int]:
    """Height and width with the short side at `short`."""
    height, width = picture.shape[-2:]
    return [max(short, short * height // width), max(short, short * width // height)]


def _colour(picture: Any) -> Tensor:
    x = picture if isinstance(picture, Tensor) else picture_tensor(picture)
    x = x.unsqueeze(0) if x.ndim == 2 else x
    return x.expand(3, -1, -1) if x.shape[0] == 1 else x[:3]


def _stack(pictures: list[Tensor], size: int) -> Tensor:
    return torch.stack(pictures) if pictures else torch.zeros(0, 3, size, size, dtype=torch.uint8)


def _check_size(size: int) -> None:
    if size < 4:
        raise SettingError(f"size is {size}; a crop needs at least 4 pixels a side")
