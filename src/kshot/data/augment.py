"""Random changes of images that keep their class."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import SettingError


@dataclass(frozen=True)
class Affine:
    """Turns, shifts and scales every image of a batch on its own.

    Args:
        degrees: largest turn. shift: largest shift, as a share of the side. scale: largest relative
            change of size.

    >>> Affine()(torch.zeros(2, 1, 28, 28), torch.Generator()).shape
    torch.Size([2, 1, 28, 28])
    """

    degrees: float = 10.0
    shift: float = 0.07
    scale: float = 0.1

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 or float images [n, height, width] or [n, channels, height, width] to float ones in 0..1."""
        x = as_floats(images)
        angle, dx, dy, size = (2 * torch.rand(4, len(x), generator=generator) - 1).unbind()
        angle, size = angle * math.radians(self.degrees), 1 + size * self.scale
        cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
        rows = [
            torch.stack([cos, -sin, 2 * self.shift * dx], 1),
            torch.stack([sin, cos, 2 * self.shift * dy], 1),
        ]
        grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


@dataclass(frozen=True)
class Elastic:
    """Bends every image of a batch as another hand would have drawn it: affine and local, in one resampling.

    Simard et al. (2003), "Best Practices for Convolutional Neural Networks Applied to Visual Document
    Analysis". The local part is a coarse grid of random shifts, smoothly interpolated.

    Args:
        degrees: largest turn. shift: largest shift, as a share of the side. scale: largest relative change
            of width and of height, each on its own. shear: largest slant, as a tangent.
        bend: standard deviation of the local shifts, as a share of the side. cells: shifts a side.

    >>> Elastic()(torch.zeros(2, 1, 28, 28), torch.Generator()).shape
    torch.Size([2, 1, 28, 28])
    """

    degrees: float = 10.0
    shift: float = 0.07
    scale: float = 0.15
    shear: float = 0.15
    bend: float = 0.04
    cells: int = 4

    def __post_init__(self) -> None:
        if self.cells < 2:
            raise SettingError(f"cells is {self.cells}; local shifts need at least 2 a side")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """uint8 or float images [n, height, width] or [n, channels, height, width] to float ones in 0..1."""
        x = as_floats(images)
        grid = F.affine_grid(self._affine(len(x), generator), list(x.shape), align_corners=False)
        local = torch.randn(len(x), 2, self.cells, self.cells, generator=generator)
        bent = F.interpolate(local, x.shape[-2:], mode="bicubic", align_corners=True)
        grid = grid + 2 * self.bend * bent.permute(0, 2, 3, 1)
        return F.grid_sample(x, grid, align_corners=False)

    def _affine(self, count: int, generator: torch.Generator) -> Tensor:
        """Random maps [n, 2, 3] from places in the result to places in the image."""
        angle, slant, dx, dy, wide, high = (2 * torch.rand(6, count, generator=generator) - 1).unbind()
        angle, slant = angle * math.radians(self.degrees), slant * self.shear
        wide, high = 1 + wide * self.scale, 1 + high * self.scale
        cos, sin = torch.cos(angle), torch.sin(angle)
        first = [cos * wide, (slant * cos - sin) * high, 2 * self.shift * dx]
        second = [sin * wide, (slant * sin + cos) * high, 2 * self.shift * dy]
        return torch.stack([torch.stack(first, 1), torch.stack(second, 1)], 1)


@dataclass(frozen=True)
class Thickness:
    """Makes the bright strokes of every image thicker or thinner, as another pen would.

    Args:
        most: largest share of the way to the dilated (3 x 3 maximum) or eroded (minimum) image.

    >>> line = torch.zeros(1, 1, 5, 5)
    >>> line[..., 2] = 1.0
    >>> bool(Thickness()(line, torch.Generator().manual_seed(0)).sum() == line.sum())
    False
    """

    most: float = 0.7

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images [n, height, width] or [n, channels, height, width] to float ones in 0..1."""
        x = as_floats(images)
        change = self.most * (2 * torch.rand(len(x), 1, 1, 1, generator=generator) - 1)
        thick = F.max_pool2d(x, 3, 1, 1)
        thin = -F.max_pool2d(-x, 3, 1, 1)
        return torch.where(
            change > 0, x.lerp(thick, change.clamp(min=0)), x.lerp(thin, (-change).clamp(min=0))
        )


@dataclass(frozen=True)
class Cutout:
    """Blanks a random square of every image. DeVries and Taylor (2017), "Improved Regularization of
    Convolutional Neural Networks with Cutout".

    Args:
        share: largest side of the square, as a share of the image's.

    >>> float(Cutout(0.5)(torch.ones(1, 1, 8, 8), torch.Generator().manual_seed(1)).min())
    0.0
    """

    share: float = 0.4

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images [n, height, width] or [n, channels, height, width] to float ones in 0..1."""
        x = as_floats(images)
        middle = torch.rand(len(x), 2, generator=generator)
        half = self.share / 2 * torch.rand(len(x), 1, generator=generator)
        rows, columns = (
            (((torch.arange(side) + 0.5) / side - middle[:, k : k + 1]).abs() < half).to(x.dtype)
            for k, side in enumerate(x.shape[-2:])
        )
        return x * (1 - rows.unsqueeze(2) * columns.unsqueeze(1)).unsqueeze(1)


@dataclass(frozen=True)
class Chain:
    """One change after the other.

    >>> Chain((Elastic(), Thickness()))(torch.zeros(2, 28, 28), torch.Generator()).shape
    torch.Size([2, 1, 28, 28])
    """

    steps: tuple[Callable[[Any, torch.Generator], Any], ...]

    def __call__(self, images: Any, generator: torch.Generator) -> Any:
        """Inputs as the first step takes them to what the last one gives."""
        for step in self.steps:
            images = step(images, generator)
        return images


def as_floats(images: Tensor) -> Tensor:
    """uint8 or float images [n, height, width] or [n, channels, height, width] to [n, channels, height, width]
    floats, in 0..1 where they were bytes."""
    x = images.unsqueeze(1) if images.ndim == 3 else images
    return x.float() / 255 if x.dtype == torch.uint8 else x
