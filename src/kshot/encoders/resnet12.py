"""ResNet-12: the field's standard larger encoder.

Oreshkin et al. (2018), "TADAM"; widths as in Lee et al. (2019), "MetaOptNet".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.encoders.images import ImageEncoder
from kshot.encoders.norms import NORMS, norm_layer
from kshot.errors import SettingError


class _Residual(nn.Module):
    """Three 3x3 convolutions beside a 1x1 one, then leaky ReLU and max-pool 2."""

    def __init__(self, inputs: int, width: int, norm: str) -> None:
        super().__init__()
        widths = [inputs, width, width, width]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(widths[i], width, 3, padding=1, bias=False) for i in range(3)
        )
        self.norms = nn.ModuleList(norm_layer(norm, width) for _ in range(3))
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, bias=False), norm_layer(norm, width))

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for place, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            out = norm(convolution(out))
            out = F.leaky_relu(out, 0.1) if place < 2 else out
        return F.leaky_relu(F.max_pool2d(out + self.shortcut(x), 2, ceil_mode=True), 0.1)


class ResNet12(ImageEncoder):
    """Four residual blocks and a global mean; images [n, channels, size, size] to [n, widths[-1]].

    >>> import torch
    >>> ResNet12(widths=(4, 8, 8, 16), size=32)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 16])
    """

    kind: ClassVar[str] = "resnet12"

    def __init__(
        self,
        widths: Sequence[int] = (64, 160, 320, 640),
        *,
        norm: str = "batch",
        size: int = 84,
        channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(size, channels, mean, std)
        if norm not in NORMS:
            raise SettingError(f"norm is {norm!r}; choose one of {', '.join(NORMS)}")
        self.widths, self.norm = tuple(widths), norm
        steps = zip((channels, *self.widths), self.widths, strict=False)
        self.layers = nn.Sequential(*[_Residual(i, o, norm) for i, o in steps])
        self.layers.to(memory_format=torch.channels_last)
        self.features = self.widths[-1]

    def config(self) -> dict[str, Any]:
        return {"widths": list(self.widths), "norm": self.norm, **self.image_config()}

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out.mean((2, 3))
