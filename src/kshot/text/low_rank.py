"""Low-rank changes of a transformer's blocks. Hu et al. (2022), "LoRA: Low-Rank Adaptation of Large Language Models"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float

MOVED = ("query", "key", "value", "mixed", "widen", "narrow")


class LowRank(nn.Module):
    """W + B A for every linear map of some blocks, with B zero at first, so that nothing is changed.

    Args:
        layers: the blocks; they stay as they are. rank: rows of A.
    """

    def __init__(self, layers: Sequence[nn.Module], rank: int) -> None:
        super().__init__()
        own: dict[str, nn.Parameter] = {}
        for place, layer in enumerate(layers if rank else ()):
            for number, name in enumerate(MOVED):
                out, into = getattr(layer, name).weight.shape
                generator = torch.Generator().manual_seed(97 * place + number)
                start = torch.randn(rank, into, generator=generator) / math.sqrt(into)
                own[f"{place}_{name}_a"] = nn.Parameter(start, requires_grad=False)
                own[f"{place}_{name}_b"] = nn.Parameter(torch.zeros(out, rank), requires_grad=False)
        self.own = nn.ParameterDict(own)

    def forward(
        self, place: int, layer: nn.Module, x: Float[Tensor, "n t d"], bias: Float[Tensor, "n h s t"]
    ) -> Float[Tensor, "n t d"]:
        """What the block gives with its change.

        x (W + B A)' is taken as x W' + (x A') B', so that no gradient of a whole W is ever computed.
        """

        def change(name: str, given: Tensor) -> Tensor:
            return F.linear(F.linear(given, self.own[f"{place}_{name}_a"]), self.own[f"{place}_{name}_b"])

        out: Tensor = layer(x, bias, change)
        return out
