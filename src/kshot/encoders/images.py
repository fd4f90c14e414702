"""Images as inputs: pictures, paths, arrays and tensors of any size in, one float tensor out."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.encoders.encoder import Encoder, Read
from kshot.errors import DataError, SettingError, need

_LUMINANCE = (0.299, 0.587, 0.114)


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
        if size < 4:
            raise SettingError(f"size is {size}; an image encoder needs at least 4 pixels")
        if channels not in (1, 3):
            raise SettingError(f"channels is {channels}; images have 1 (grey) or 3 (colour) channels")
        self.size, self.channels = size, channels
        self.mean, self.std = list(mean or []), list(std or [])

    def image_config(self) -> dict[str, Any]:
        """The part of `config()` that belongs to the inputs."""
        return {"size": self.size, "channels": self.channels, "mean": self.mean, "std": self.std}

    def read(self, inputs: Any) -> Read:
        if _is_one_image(inputs):
            inputs = [inputs]
        if isinstance(inputs, Tensor):
            return _check(_tensor_batch(inputs))
        if isinstance(inputs, np.ndarray) and inputs.dtype != object:
            return _check(_array_batch(inputs))
        return [_check(_one(item, place)) for place, item in enumerate(inputs)]

    def prepare(self, inputs: Read) -> Tensor:
        if isinstance(inputs, list):
            shapes = {tuple(item.shape) for item in inputs}
            if len(shapes) > 1:
                return torch.cat([self.prepare(item.unsqueeze(0)) for item in inputs])
            inputs = torch.stack(inputs) if inputs else torch.zeros(0, self.channels, self.size, self.size)
        x = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs
        return self._normalise(self._resize(self._recolour(x)))

    def _recolour(self, x: Tensor) -> Tensor:
        x = x[:, :3] if x.shape[1] == 4 else x[:, :1] if x.shape[1] == 2 else x
        if x.shape[1] == self.channels:
            return x
        if self.channels == 3:
            return x.expand(-1, 3, -1, -1)
        return (x * x.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)

    def _resize(self, x: Tensor) -> Tensor:
        if x.shape[-2:] == (self.size, self.size):
            return x
        return F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)

    def _normalise(self, x: Tensor) -> Tensor:
        if not self.mean:
            return x
        return (x - x.new_tensor(self.mean).view(1, -1, 1, 1)) / x.new_tensor(self.std).view(1, -1, 1, 1)

    def profile(self, prepared: Tensor) -> Tensor:
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
        return _from_pil(_open(io.BytesIO(data), "the posted image"))


def _is_one_image(inputs: Any) -> bool:
    if isinstance(inputs, str | Path) or hasattr(inputs, "convert"):
        return True
    if isinstance(inputs, Tensor):
        return inputs.ndim == 3 and inputs.is_floating_point() and inputs.shape[0] in (1, 3)
    return isinstance(inputs, np.ndarray) and inputs.ndim == 2


def _tensor_batch(x: Tensor) -> Tensor:
    if x.dtype == torch.uint8:
        return _array_batch(x) if x.ndim == 3 or x.shape[-1] in (1, 3, 4) else x
    x = x.unsqueeze(0) if x.ndim == 3 else x
    if x.ndim != 4 or not x.is_floating_point():
        raise DataError(
            f"an image tensor has shape {tuple(x.shape)} and type {x.dtype}; "
            "give float [n, channels, height, width] in 0..1 or uint8 [n, height, width(, channels)]"
        )
    return x


def _array_batch(array: np.ndarray | Tensor) -> Tensor:
    x = torch.as_tensor(array)
    x = x.unsqueeze(0) if x.ndim == 2 else x
    if x.dtype == torch.uint8 and x.ndim == 3:
        return x.unsqueeze(1)
    if x.dtype == torch.uint8 and x.ndim == 4 and x.shape[-1] in (1, 3, 4):
        return x.permute(0, 3, 1, 2)
    if x.is_floating_point() and x.ndim in (3, 4):
        x = x.float()
        return x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2) if x.shape[-1] in (1, 3) else x
    raise DataError(
        f"an image array has shape {tuple(x.shape)} and type {x.dtype}; "
        "give uint8 [n, height, width] or [n, height, width, channels], or floats in 0..1"
    )


def _one(item: Any, place: int) -> Tensor:
    if isinstance(item, str | Path):
        return _from_pil(_open(item, f"input {place} ({item})"))
    if hasattr(item, "convert"):
        return _from_pil(item)
    if (
        isinstance(item, Tensor)
        and item.ndim == 3
        and item.shape[0] in (1, 3, 4)
        and item.shape[-1] not in (1, 3)
    ):
        return item
    if isinstance(item, Tensor | np.ndarray):
        return _array_batch(np.asarray(item)[None])[0]
    raise DataError(
        f"input {place} is a {type(item).__name__}; an image is a PIL image, a path, an array or a tensor"
    )


def _open(source: Any, name: str) -> Any:
    image = need("PIL.Image", "vision")
    try:
        picture = image.open(source)
        picture.load()
        return picture
    except FileNotFoundError:
        raise DataError(f"{name} does not exist; check the path") from None
    except (OSError, SyntaxError, ValueError) as cause:
        raise DataError(
            f"{name} cannot be read as an image ({cause}); replace the file or leave it out"
        ) from None


def _from_pil(picture: Any) -> Tensor:
    """A PIL image to uint8 [1 or 3, height, width]; transparency is shown on white, as viewers do."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        picture = need("PIL.Image", "vision").new("RGBA", rgba.size, "white")
        picture.alpha_composite(rgba)
    if picture.mode in ("I", "I;16", "F"):
        array = np.asarray(picture, dtype=np.float32)
        peak = 65535.0 if array.max() > 255 else 255.0
        return torch.from_numpy((array / peak * 255).round().astype(np.uint8)).unsqueeze(0)
    array = np.array(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
    x = torch.from_numpy(array)
    return x.unsqueeze(0) if x.ndim == 2 else x.permute(2, 0, 1)


def _check(x: Tensor) -> Tensor:
    if x.is_floating_point():
        bad = ~torch.isfinite(x.flatten(1)).all(1) if x.ndim == 4 else ~torch.isfinite(x).all().reshape(1)
        if bool(bad.any()):
            where = bad.nonzero().flatten().tolist()[:5]
            raise DataError(
                f"images {where} hold NaN or infinite values; every pixel must be a finite number"
            )
        if x.numel() and (float(x.min()) < -0.01 or float(x.max()) > 1.01):
            raise DataError(
                f"float images run from {float(x.min()):.3g} to {float(x.max()):.3g}; floats must lie in 0..1: "
                "divide by the largest value, or give uint8"
            )
    return x
