"""Images as inputs: pictures, paths, arrays and tensors of any size in, one float tensor out."""

from __future__ import annotations

import base64
import binascii
import io
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.encoders.encoder import Encoder, GraphInput, Read
from kshot.encoders.pictures import picture_tensor, png, read_picture
from kshot.encoders.sizes import check_scale, whole
from kshot.errors import DataError, SettingError

if TYPE_CHECKING:
    from jaxtyping import Float

_LUMINANCE = (0.299, 0.587, 0.114)
_CHANNELS = (1, 3, 4)


class ImageEncoder(Encoder):
    """Base of encoders of images.

    Args:
        size: height and width in pixels that the network sees; other sizes are resized with antialias.
        channels: 1 (grey) or 3 (red, green, blue); other pictures are converted.
        mean, std: per channel, subtracted from and divided into values in 0..1.

    Inputs are a list of PIL images or paths, a uint8 array [n, height, width] or
    [n, height, width, channels], or a float tensor [n, channels, height, width] in 0..1.
    """

    modality: ClassVar[str] = "image"

    def __init__(
        self,
        size: int,
        channels: int,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise SettingError(f"channels is {channels}; images have 1 (grey) or 3 (colour) channels")
        self.size, self.channels = whole("size", size, 4), int(channels)
        self.mean, self.std = list(mean or []), list(std or [])
        check_scale(self.mean, self.std, self.channels, "channel")

    def image_config(self) -> dict[str, Any]:
        """The part of `config()` that belongs to the inputs."""
        return {"size": self.size, "channels": self.channels, "mean": self.mean, "std": self.std}

    def read(self, inputs: Any) -> Read:
        if _is_one_image(inputs):
            inputs = [inputs]
        if isinstance(inputs, Tensor):
            return _check(_batch(inputs), "images")
        if isinstance(inputs, np.ndarray) and inputs.dtype != object:
            return _check(_batch(_from_numpy(inputs)), "images")
        if isinstance(inputs, Mapping | bytes) or not hasattr(inputs, "__len__"):
            raise DataError(
                f"images came as a {type(inputs).__name__}; give a list of PIL images or paths, or one array"
            )
        return [_one(item, place) for place, item in enumerate(inputs)]

    def prepare(self, inputs: Read) -> Float[Tensor, "n {self.channels} {self.size} {self.size}"]:
        return self._normalise(self.fitted(inputs))

    def graph_inputs(self) -> list[GraphInput]:
        kind = "grey" if self.channels == 1 else "red, green, blue"
        meaning = f"values in 0..1 ({kind}), resized to {self.size} x {self.size}, bilinear with antialias; not normalised"
        return [GraphInput("images", (self.channels, self.size, self.size), torch.float32, meaning)]

    def from_graph(self, *inputs: Tensor) -> Tensor:
        return self._normalise(inputs[0])

    def to_graph(self, read: Read) -> list[Tensor]:
        return [self.fitted(read).float()]

    def fitted(self, inputs: Read) -> Float[Tensor, "n {self.channels} {self.size} {self.size}"]:
        """Raw form to the encoder's channels and size, [n, channels, size, size] in 0..1, not yet normalised."""
        if isinstance(inputs, list):
            kinds = {(tuple(item.shape), item.dtype) for item in inputs}
            if len(kinds) > 1:  # bytes and floats have other scales, so they are not stacked either
                return torch.cat([self.fitted(item.unsqueeze(0)) for item in inputs])
            inputs = torch.stack(inputs) if inputs else torch.zeros(0, self.channels, self.size, self.size)
        x = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs
        return self._resize(self._recolour(x))

    def _recolour(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n {self.channels} h w"]:
        x = x[:, :3] if x.shape[1] == 4 else x[:, :1] if x.shape[1] == 2 else x
        if x.shape[1] == self.channels:
            return x
        if self.channels == 3:
            return x.expand(-1, 3, -1, -1)
        return (x * x.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)

    def _resize(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c {self.size} {self.size}"]:
        if x.shape[-2:] == (self.size, self.size):
            return x
        return F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)

    def _normalise(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if not self.mean:
            return x
        return (x - x.new_tensor(self.mean).view(1, -1, 1, 1)) / x.new_tensor(self.std).view(1, -1, 1, 1)

    def profile(self, prepared: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 4"]:
        """Mean, contrast, edge strength and border brightness: tells photos from drawings, ink from paper."""
        grey = prepared.mean(1)
        edges = (grey[:, 1:] - grey[:, :-1]).abs().mean((1, 2)) + (grey[..., 1:] - grey[..., :-1]).abs().mean(
            (1, 2)
        )
        border = torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], 1).mean(1)
        return torch.stack([grey.mean((1, 2)), grey.std((1, 2), correction=0), edges, border], 1)

    def from_json(self, value: Any) -> Tensor:
        """A base64 string of a PNG or JPEG file, with or without a data: prefix."""
        if not isinstance(value, str):
            raise DataError(
                f"an image input is a {type(value).__name__}; send a base64 string of a PNG or JPEG"
            )
        try:
            data = base64.b64decode(
                value.partition(",")[2] if value.startswith("data:") else value, validate=True
            )
        except binascii.Error as cause:
            raise DataError(
                f"an image input is not base64 ({cause}); encode the file's bytes as base64"
            ) from None
        return read_picture(io.BytesIO(data), "the posted image")

    def to_json(self, item: Tensor) -> str:
        """The image as a PNG in a data: URL; floats are rounded to eight bits.

        >>> from kshot.encoders import Pixels
        >>> image = torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2)
        >>> bool((Pixels().from_json(Pixels().to_json(image)) == image).all())
        True
        """
        return "data:image/png;base64," + base64.b64encode(png(item)).decode()


def _is_one_image(inputs: Any) -> bool:
    if isinstance(inputs, str | os.PathLike) or hasattr(inputs, "convert"):
        return True
    if isinstance(inputs, Tensor):
        return inputs.ndim == 2 or (
            inputs.ndim == 3 and inputs.is_floating_point() and inputs.shape[0] in (1, 3)
        )
    return isinstance(inputs, np.ndarray) and inputs.ndim == 2 and inputs.dtype != object


def _batch(x: Tensor) -> Tensor:
    """A tensor of images in any promised form to [n, channels, height, width], uint8 or float32."""
    x = x.to(torch.uint8) * 255 if x.dtype == torch.bool else x
    if x.ndim not in (3, 4) or not (x.dtype == torch.uint8 or x.is_floating_point()) or 0 in x.shape[1:]:
        raise DataError(_shape_rule(x))
    x = x if x.dtype == torch.uint8 else x.float()
    if x.ndim == 3:
        return x.unsqueeze(1)
    # floats are promised with channels first and bytes with channels last; the other order is known by its sizes
    first, last = x.shape[1] in _CHANNELS, x.shape[3] in _CHANNELS
    if last and not (first and x.is_floating_point()):
        return x.permute(0, 3, 1, 2)
    if not first:
        raise DataError(_shape_rule(x))
    return x


def _from_numpy(array: np.ndarray) -> Tensor:
    try:
        return torch.from_numpy(np.ascontiguousarray(array))
    except TypeError:
        raise DataError(
            f"images have type {array.dtype}; give uint8 values 0..255, or floats in 0..1"
        ) from None


def _shape_rule(x: Tensor) -> str:
    return (
        f"images have shape {list(x.shape)} and type {str(x.dtype).removeprefix('torch.')}; give uint8 "
        "[n, height, width] or [n, height, width, channels] (1, 3 or 4 channels), or floats in 0..1 "
        "[n, channels, height, width]"
    )


def _one(item: Any, place: int) -> Tensor:
    name = f"input {place}"
    if isinstance(item, str | os.PathLike):
        return read_picture(item, f"{name} ({item})")
    if hasattr(item, "convert"):
        return picture_tensor(item, name)
    if isinstance(item, Tensor | np.ndarray):
        return _check(
            _single(item if isinstance(item, Tensor) else _from_numpy(item), isinstance(item, Tensor)), name
        )
    raise DataError(
        f"{name} is a {type(item).__name__}; an image is a PIL image, a path, an array or a tensor"
    )


def _single(x: Tensor, tensor: bool) -> Tensor:
    """One image; torch's own images have channels first, NumPy's last, unless the sizes say otherwise."""
    if tensor and x.ndim == 3 and x.shape[0] in _CHANNELS:
        x = x.to(torch.uint8) * 255 if x.dtype == torch.bool else x
        if x.dtype == torch.uint8 or x.is_floating_point():
            return x if x.dtype == torch.uint8 else x.float()
    return _batch(x.unsqueeze(0))[0]


def _check(x: Tensor, name: str) -> Tensor:
    if not x.is_floating_point() or not x.numel():
        return x
    finite = torch.isfinite(x)
    if not bool(finite.all()):
        where = (~finite.flatten(1).all(1)).nonzero().flatten().tolist() if x.ndim == 4 else []
        which = f"{name} {where[:5]}" + (f" ({len(where)} of {len(x)})" if where else "")
        raise DataError(
            f"{which if where else name} holds NaN or infinite values; every pixel must be a finite number: "
            "repair it or leave it out"
        )
    if float(x.min()) < -0.01 or float(x.max()) > 1.01:
        raise DataError(
            f"{name}: floats run from {float(x.min()):.3g} to {float(x.max()):.3g}; floats must lie in 0..1: "
            "divide by the largest possible value, or give uint8"
        )
    return x
