"""Random changes of images that keep their class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


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
        x = images.unsqueeze(1) if images.ndim == 3 else images
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        angle, dx, dy, size = (2 * torch.rand(4, len(x), generator=generator) - 1).unbind()
        angle, size = angle * math.radians(self.degrees), 1 + size * self.scale
        cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
        rows = [
            torch.stack([cos, -sin, 2 * self.shift * dx], 1),
            torch.stack([sin, cos, 2 * self.shift * dy], 1),
        ]
        grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)
