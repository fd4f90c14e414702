"""Any classification model of torchvision by name, without its last classifier."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.encoders.images import ImageEncoder
from kshot.encoders.norms import current_policy
from kshot.errors import DataError, SettingError, need

if TYPE_CHECKING:
    from jaxtyping import Float

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLASSES = 1000  # outputs of a model as torchvision makes it
_LEAST = {"inception_v3": 75, "alexnet": 63}  # smallest size in pixels, where torchvision asserts none


class TorchVision(ImageEncoder):
    """A model of torchvision; images [n, channels, size, size] to what its last classifier is given, [n, features].

    Normalised with ImageNet's mean and standard deviation if not told otherwise. Its batch norms are
    torch's own: batch statistics in training mode, running ones in eval mode. A `GradientLearner`
    always uses the running ones, frozen: a few pictures say less about a large network's activations
    than the pictures it was trained on. Dropout and stochastic depth are off, because their
    randomness is global and a resumed run could not repeat it.

    Args:
        name: as in `torchvision.models.list_models`, for example "resnet50".
        size: height and width in pixels. Transformers fix it for good.
        channels: 3, or 1 for grey images (shown to all three inputs).
        pretrained: None for random weights; a .safetensors file with torchvision's names; or True for
            the file that `kshot get NAME` has stored. Nothing is downloaded here.

    Raises:
        SettingError: no such model, or a size it cannot take.
        DataError: the file is not there, damaged, or of another model.

    >>> import torch
    >>> TorchVision("squeezenet1_1", size=64)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 512])
    """

    kind: ClassVar[str] = "torchvision"

    def __init__(
        self,
        name: str,
        size: int = 224,
        channels: int = 3,
        pretrained: bool | str | os.PathLike[str] | None = None,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        grey = channels == 1
        mean = mean or ([sum(IMAGENET_MEAN) / 3] if grey else IMAGENET_MEAN)
        super().__init__(size, channels, mean, std or ([sum(IMAGENET_STD) / 3] if grey else IMAGENET_STD))
        self.name = name
        self.network = _build(name, size)
        classifier, self.features = _without_classifier(self.network)
        _calm(self.network)
        if pretrained:
            _load(self.network, _file(name, pretrained), classifier)
        self.network.to(memory_format=torch.channels_last)

    def config(self) -> dict[str, Any]:
        return {"name": self.name, **self.image_config()}

    def forward(
        self, x: Float[Tensor, "n {self.channels} {self.size} {self.size}"]
    ) -> Float[Tensor, "n {self.features}"]:
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        out: Tensor = self.network(x)
        return out.flatten(1)


class _RunningNorm(nn.BatchNorm2d):
    """torch's batch norm, which keeps to its running statistics where `normalising` sets a policy."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if current_policy() == "module":
            return super().forward(x)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


def model_names() -> list[str]:
    """Names of torchvision's classification models."""
    models = need("torchvision.models", "vision")
    return [str(name) for name in models.list_models(module=models)]


def _build(name: str, size: int) -> nn.Module:
    models = need("torchvision.models", "vision")
    if name not in model_names():
        close = [n for n in model_names() if n[:4] == str(name)[:4]][:8] or model_names()[:8]
        raise SettingError(f"{name!r} is no model of torchvision; among its names are {', '.join(close)}")
    if size < _LEAST.get(name, 32):
        raise SettingError(f"size is {size}; {name} needs at least {_LEAST.get(name, 32)} pixels a side")
    maker = models.get_model_builder(name)
    extra: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        extra = {"aux_logits": False, "init_weights": False, "transform_input": False}
    elif name.startswith("vit_"):
        extra = {"image_size": size}
    elif name.startswith("maxvit"):
        extra = {"input_size": (size, size)}
    try:
        network: nn.Module = maker(weights=None, **extra)
    except (ValueError, RuntimeError, AssertionError) as cause:
        raise SettingError(
            f"{name} cannot be made for size {size} ({cause}); use its usual size, 224"
        ) from cause
    return network


def _without_classifier(network: nn.Module) -> tuple[str, int]:
    """Put an identity in place of the last layer with 1,000 outputs; its name and its number of inputs."""
    for name, module in reversed(list(network.named_modules())):
        width = getattr(module, "out_features", getattr(module, "out_channels", None))
        if width == _CLASSES and isinstance(module, nn.Linear | nn.Conv2d):
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, nn.Identity())
            return name, module.in_features if isinstance(module, nn.Linear) else module.in_channels
    raise SettingError("this model has no layer with 1,000 outputs; choose another")


def _calm(network: nn.Module) -> None:
    """Turn random layers off, and make batch norms obey `normalising`; weights and their names stay."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif type(module).__name__ == "StochasticDepth":
            module.p = 0.0  # type: ignore[assignment]
        elif type(module) is nn.BatchNorm2d:
            module.__class__ = _RunningNorm


def _file(name: str, pretrained: bool | str | os.PathLike[str]) -> Path:
    if pretrained is not True:
        return Path(str(pretrained))
    from kshot.encoders.catalogue import stored

    return stored(name)


def _load(network: nn.Module, file: Path, classifier: str) -> None:
    try:
        found = load_file(file)
    except FileNotFoundError:
        raise DataError(
            f"{file} does not exist; check the path, or get weights with: kshot get NAME"
        ) from None
    except (SafetensorError, OSError) as cause:
        raise DataError(f"{file} is no whole safetensors file ({cause}); fetch it again") from None
    own = network.state_dict()
    kept = {k: v for k, v in found.items() if not k.startswith((f"{classifier}.", "aux", "AuxLogits"))}
    _check_fit(own, kept, file)
    network.load_state_dict(kept)


def _check_fit(own: Mapping[str, Tensor], found: Mapping[str, Tensor], file: Path) -> None:
    missing, extra = sorted(set(own) - set(found)), sorted(set(found) - set(own))
    shapes = [k for k in own if k in found and own[k].shape != found[k].shape]
    if missing or extra or shapes:
        odd = (missing + extra + shapes)[0]
        raise DataError(
            f"{file} holds weights of another model or size ({len(missing)} missing, {len(extra)} unknown, "
            f"{len(shapes)} of another shape, for example {odd!r}); give the file of this very model"
        )
