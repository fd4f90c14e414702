"""ResNet-12: the field's standard larger encoder.

Oreshkin et al. (2018), "TADAM"; widths as in Lee et al. (2019), "MetaOptNet".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.encoders.images import ImageEncoder
from kshot.encoders.norms import check_norm, norm_layer
from kshot.encoders.sizes import whole_numbers
from kshot.errors import SettingError

if TYPE_CHECKING:
    from jaxtyping import Float


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

    def forward(self, x: Float[Tensor, "n inputs h w"]) -> Float[Tensor, "n width half_h half_w"]:
        out = x
        for place, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            out = norm(convolution(out))
            out = F.leaky_relu(out, 0.1) if place < 2 else out
        return F.leaky_relu(F.max_pool2d(out + self.shortcut(x), 2, ceil_mode=True), 0.1)


class ResNet12(ImageEncoder):
    """Residual blocks and a global mean; images [n, channels, size, size] to [n, widths[-1]].

    Args:
        widths: channels of each block; each block halves the size.
        norm: as in `Conv4`.

    Raises:
        SettingError: a setting outside its range.

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
        self.widths, self.norm = whole_numbers("widths", widths), norm
        check_norm(norm)
        _check_side(self.size, len(self.widths), norm)
        steps = zip((self.channels, *self.widths), self.widths, strict=False)
        self.layers = nn.Sequential(*[_Residual(i, o, norm) for i, o in steps])
        self.layers.to(memory_format=torch.channels_last)
        self.features = self.widths[-1]

    def config(self) -> dict[str, Any]:
        return {"widths": list(self.widths), "norm": self.norm, **self.image_config()}

    def forward(
        self, x: Float[Tensor, "n {self.channels} {self.size} {self.size}"]
    ) -> Float[Tensor, "n {self.features}"]:
        out: Tensor = self.layers(x)
        return out.mean((2, 3))


def _check_side(size: int, blocks: int, norm: str) -> None:
    """An instance norm takes its mean and variance over one channel's cells, so it needs more than one."""
    least = 2 ** (blocks - 1) + 1
    if norm == "instance" and size < least:
        raise SettingError(
            f"size {size} leaves the last of {blocks} blocks a single cell, of which norm 'instance' can take no "
            f"variance; use size >= {least}, fewer blocks, or another norm"
        )
