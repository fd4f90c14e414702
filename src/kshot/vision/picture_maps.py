"""A small feature pyramid for detection on a CPU: pictures of any shape to one feature map at a stride of 4 (or 2).

Lin et al. (2017), "Feature pyramid networks for object detection": levels of stride 4, 8, 16 and 32 are added from the
top down, and only the finest is kept, so that small and large objects are found on the same map.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.bundles import register_encoder
from kshot.encoders.encoder import Read
from kshot.encoders.images import ImageEncoder
from kshot.encoders.sizes import whole, whole_numbers
from kshot.errors import SettingError
from kshot.vision.patches import edge_planes

if TYPE_CHECKING:
    from jaxtyping import Float

PLANES = 4
"""Planes behind the colours and behind the features: x and y of each pixel in the picture's own pixels, and its
width and height. So a box found on a map is a box in the picture, however the picture was resized."""


class MapEncoder(ImageEncoder):
    """Base of encoders of pictures to feature maps; the picture keeps its shape.

    Args:
        size: pixels of the longer side that the network sees; pictures are enlarged or reduced to it.
        channels, mean, std: see `ImageEncoder`.

    A map has `features` channels and the `PLANES` behind them; with `edges` also, between them, the planes of
    `kshot.vision.patches.edge_planes`. Pictures of unequal shape give a list of maps.
    """

    chunk: ClassVar[int] = 16
    stride: int
    edges: bool = False
    multiple: int
    """Sides are padded to multiples of this."""

    def prepare(self, inputs: Read) -> Any:
        found = [self._fit(item) for item in inputs]
        return torch.stack(found) if found and len({item.shape for item in found}) == 1 else found

    def _fit(self, item: Tensor) -> Tensor:
        """One picture [c, height, width] to [channels + PLANES, h, w]."""
        return self.planed(self.resized(item), item.shape[-2], item.shape[-1])

    def resized(self, item: Tensor) -> Tensor:
        """One picture as read, [c, height, width], to [channels, h, w] in 0..1 with its longer side at `size`."""
        x = item.float() / 255 if item.dtype == torch.uint8 else item
        height, width = x.shape[-2:]
        scale = self.size / max(height, width)
        h, w = (max(1, round(side * scale)) for side in (height, width))
        x = self._recolour(x[None])
        if (h, w) != (height, width):
            x = F.interpolate(x, (h, w), mode="bilinear", antialias=True, align_corners=False)
        return x[0]

    def planed(self, x: Tensor, height: int, width: int) -> Tensor:
        """A resized picture [channels, h, w] that was `height` x `width`: normalised, padded with 0, planes behind."""
        h, w = x.shape[-2:]
        pad = (0, -w % self.multiple, 0, -h % self.multiple)
        x = F.pad(self._normalise(x[None]), pad)
        columns = (torch.arange(x.shape[3]) + 0.5) * (width / w)
        rows = (torch.arange(x.shape[2]) + 0.5) * (height / h)
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1])
        sides = x.new_tensor([width, height])[:, None, None].expand(-1, *x.shape[2:])
        return torch.cat([x[0], grid.to(x), sides])

    def profile(self, prepared: Any) -> Tensor:
        if isinstance(prepared, list):
            return torch.cat([self.profile(item[None]) for item in prepared])
        return super().profile(prepared[:, : self.channels])

    def forward(self, x: Any) -> Any:
        if isinstance(x, list):
            return self._of_unequal(x)
        picture, planes = x[:, : self.channels], x[:, self.channels :]
        found = [self.maps(picture), F.avg_pool2d(planes, self.stride)]
        if self.edges:
            found.insert(1, edge_planes(self._shown(picture), self.stride))
        return torch.cat(found, 1)

    def _shown(self, x: Tensor) -> Tensor:
        """A normalised picture in 0..1 again."""
        if not self.mean:
            return x
        return x * x.new_tensor(self.std).view(1, -1, 1, 1) + x.new_tensor(self.mean).view(1, -1, 1, 1)

    def edged(self, config: dict[str, Any]) -> dict[str, Any]:
        """A configuration that says whether there are planes of edges; older ones say nothing."""
        return {**config, "edges": True} if self.edges else config

    def _of_unequal(self, x: list[Tensor]) -> list[Tensor]:
        """Pictures of one shape are encoded together."""
        found: list[Any] = [None] * len(x)
        for shape in dict.fromkeys(item.shape for item in x):
            places = [n for n, item in enumerate(x) if item.shape == shape]
            for place, item in zip(places, self.forward(torch.stack([x[n] for n in places])), strict=True):
                found[place] = item
        return found

    @abstractmethod
    def maps(self, x: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n features h w"]:
        """Features at `stride`."""


@register_encoder
class PictureMaps(MapEncoder):
    """A small convolutional pyramid that trains and runs on a CPU.

    Args:
        size: pixels of the longer side. channels: 1 or 3.
        widths: channels at strides 2, 4, 8, 16 and 32 (with `fine`: 1, 2, 4, 8 and 16).
        features: channels of the map.
        fine: a map at stride 2 instead of 4, for pictures of few pixels.
        edges: see `MapEncoder`.

    >>> import torch
    >>> PictureMaps(64, 1, widths=(4, 4, 8, 8, 8), features=6)(torch.zeros(2, 5, 64, 64)).shape
    torch.Size([2, 10, 16, 16])
    """

    kind: ClassVar[str] = "vision.picture_maps"

    def __init__(
        self,
        size: int = 416,
        channels: int = 3,
        widths: Sequence[int] = (16, 32, 64, 96, 96),
        features: int = 48,
        fine: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        edges: bool = False,
    ) -> None:
        super().__init__(size, channels, mean, std)
        self.edges = bool(edges)
        self.widths = whole_numbers("widths", widths, 1)
        if len(self.widths) != 5:
            raise SettingError(f"widths are {list(widths)}; give five: one a level of the pyramid")
        self.features, self.fine = whole("features", features), bool(fine)
        self.stride, self.multiple = (2, 16) if fine else (4, 32)
        a, b, c, d, e = self.widths
        self.stem = block(self.channels, a, 1 if fine else 2)
        self.levels = nn.ModuleList(
            nn.Sequential(block(i, o, 2), block(o, o)) for i, o in ((a, b), (b, c), (c, d), (d, e))
        )
        self.across = nn.ModuleList(nn.Conv2d(width, self.features, 1) for width in (b, c, d, e))
        self.out = block(self.features, self.features)
        self.to(memory_format=torch.channels_last)

    def config(self) -> dict[str, Any]:
        return self.edged({
            **self.image_config(), "widths": list(self.widths), "features": self.features, "fine": self.fine,
        })  # fmt: skip

    def maps(self, x: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n features h w"]:
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        found = []
        for level, across in zip(self.levels, self.across, strict=True):
            x = level(x)
            found.append(across(x))
        top = found.pop()
        while found:
            finer = found.pop()
            top = finer + F.interpolate(top, size=finer.shape[-2:], mode="nearest")
        out: Tensor = self.out(top)
        return out


class _Block(nn.Sequential):
    """Convolution, batch norm, ReLU; where nothing is learned, the norm is folded into the convolution's weights."""

    def forward(self, x: Tensor) -> Tensor:
        convolution, norm = cast(nn.Conv2d, self[0]), cast(nn.BatchNorm2d, self[1])
        if norm.training or torch.is_grad_enabled():
            found: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return found
        mean, spread = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        scale = norm.weight * (spread + norm.eps).rsqrt()
        weight, bias = convolution.weight * scale[:, None, None, None], norm.bias - mean * scale
        return F.relu_(F.conv2d(x, weight, bias, convolution.stride, convolution.padding))


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return _Block(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
