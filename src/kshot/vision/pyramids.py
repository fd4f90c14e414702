"""The feature pyramid of any convolutional torchvision model, by name and with local weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.bundles import register_encoder
from kshot.encoders import TorchVision
from kshot.encoders.torchvision_models import IMAGENET_MEAN, IMAGENET_STD
from kshot.errors import SettingError
from kshot.vision.picture_maps import MapEncoder, block

_STRIDES = (4, 8, 16, 32)


@register_encoder
class TorchVisionMaps(MapEncoder):
    """Maps at stride 4 from the last layer at each of the strides 4, 8, 16 and 32 of a torchvision model.

    Lin et al. (2017), "Feature pyramid networks for object detection". Weights of the model are ImageNet's where
    `pretrained` names a local file; the pyramid on top is trained with `kshot.fit`. Batch norms of the model keep
    their running statistics.

    Args:
        name: "resnet18", "mobilenet_v3_large", "efficientnet_b0" and the like; transformers have no pyramid.
        size: pixels of the longer side. features: channels of the map.
        pretrained: as for `kshot.encoders.TorchVision`. edges: see `MapEncoder`.

    Raises:
        SettingError: a model without layers at these strides.
    """

    kind: ClassVar[str] = "vision.torchvision_maps"
    stride, multiple = 4, 32

    def __init__(
        self,
        name: str,
        size: int = 416,
        channels: int = 3,
        features: int = 64,
        pretrained: bool | str | os.PathLike[str] | None = None,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        edges: bool = False,
    ) -> None:
        super().__init__(size, channels, mean or IMAGENET_MEAN[:channels], std or IMAGENET_STD[:channels])
        self.edges = bool(edges)
        self.name, self.features = name, features
        whole = TorchVision(name, 224, 3, pretrained).network
        self.body = _children(whole, name)
        self.taps = _taps(self.body, name)
        self.across = nn.ModuleList(nn.Conv2d(width, features, 1) for _, width in self.taps)
        self.out = block(features, features)
        self.to(memory_format=torch.channels_last)

    def config(self) -> dict[str, Any]:
        return self.edged({"name": self.name, **self.image_config(), "features": self.features})

    def train(self, mode: bool = True) -> TorchVisionMaps:
        """The model's own norms stay with their running statistics: a few pictures say less about them."""
        super().train(mode)
        self.body.eval()
        return self

    def maps(self, x: Tensor) -> Tensor:
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        found = _passed(self.body, x.contiguous(memory_format=torch.channels_last), [n for n, _ in self.taps])
        levels = [across(level) for across, level in zip(self.across, found, strict=True)]
        top = levels.pop()
        while levels:
            finer = levels.pop()
            top = finer + F.interpolate(top, size=finer.shape[-2:], mode="nearest")
        out: Tensor = self.out(top)
        return out


def _children(network: nn.Module, name: str) -> nn.Sequential:
    """The layers of a network that keep maps, in a row."""
    parts: list[nn.Module] = []
    for child_name, child in network.named_children():
        if child_name in ("avgpool", "classifier", "fc", "head", "heads"):
            break
        parts += list(child.children()) if child_name == "features" else [child]
    if len(parts) < 4:
        raise SettingError(
            f"{name} has no layers in a row that keep maps; use a resnet, mobilenet or efficientnet"
        )
    return nn.Sequential(*parts)


def _taps(body: nn.Sequential, name: str) -> list[tuple[int, int]]:
    """The last layer at each stride, and its channels."""
    found: dict[int, tuple[int, int]] = {}
    probe = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        body.eval()
        for place, layer in enumerate(body):
            probe = layer(probe)
            if probe.ndim == 4 and probe.shape[-1]:
                found[64 // probe.shape[-1]] = (place, probe.shape[1])
    if not all(stride in found for stride in _STRIDES):
        raise SettingError(
            f"{name} has maps at strides {sorted(found)}; a pyramid needs {list(_STRIDES)}: use a resnet, mobilenet "
            "or efficientnet"
        )
    return [found[stride] for stride in _STRIDES]


def _passed(body: nn.Sequential, x: Tensor, places: list[int]) -> list[Tensor]:
    found = []
    for place, layer in enumerate(body):
        x = layer(x)
        if place in places:
            found.append(x)
        if place == places[-1]:
            break
    return found
