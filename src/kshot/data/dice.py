"""Random numbers as those who draw need them: with a spread, between bounds, by chance, by weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dice:
    """Random numbers from one generator, on its device."""

    generator: torch.Generator

    def normal(self, spread: float, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.generator.device) * spread

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.generator.device) * (high - low) + low

    def chance(self, share: float, *shape: int) -> Tensor:
        return self.uniform(0, 1, *shape) < share

    def pick(self, weights: tuple[float, ...], *shape: int) -> Tensor:
        """Indices drawn in proportion to the weights."""
        edges = torch.tensor(weights, device=self.generator.device).cumsum(0)
        drawn = self.uniform(0, float(edges[-1]), *shape)
        return torch.bucketize(drawn, edges, right=True).clamp_max(len(weights) - 1)
