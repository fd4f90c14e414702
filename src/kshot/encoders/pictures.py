"""Pictures from files and from PIL, as uint8 tensors [channels, height, width]."""

from __future__ import annotations

import io
import os
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from kshot.errors import DataError, need

_ORIENTATION = 0x0112  # the EXIF tag that says how a camera was held


def open_picture(source: Any, name: str) -> Any:
    """A PIL image, fully decoded; `name` is for messages.

    Raises:
        DataError: missing, not an image, or truncated.
    """
    image = need("PIL.Image", "vision")
    try:
        with image.open(source) as picture:
            picture.load()
            return picture
    except FileNotFoundError:
        raise DataError(f"{name} does not exist; check the path") from None
    except (OSError, SyntaxError, ValueError, EOFError, image.DecompressionBombError) as cause:
        raise DataError(
            f"{name} cannot be read as an image ({cause}); replace the file or leave it out"
        ) from None


def picture_tensor(picture: Any, name: str = "an image") -> Tensor:
    """A PIL image of any mode to uint8 [1 or 3, height, width].

    Transparency is shown on white and a camera's orientation is undone, as viewers do.

    Raises:
        DataError: the picture's file is truncated, or its numbers are no brightness.
    """
    try:
        picture = _upright(_opaque(picture))
        if picture.mode.startswith("I") or picture.mode == "F":
            return _deep(np.asarray(picture, dtype=np.float32), picture.mode, name)
        x = torch.from_numpy(np.array(picture.convert("L" if picture.mode in ("1", "L") else "RGB")))
    except (OSError, SyntaxError) as cause:
        raise DataError(f"{name} cannot be read as an image ({cause}); replace it or leave it out") from None
    return x.unsqueeze(0) if x.ndim == 2 else x.permute(2, 0, 1)


def read_picture(path: str | os.PathLike[str] | IO[bytes], name: str | None = None) -> Tensor:
    """A picture file, or its open bytes, to uint8 [1 or 3, height, width]. Raises DataError, naming the file."""
    return picture_tensor(open_picture(path, name or str(path)), name or str(path))


def png(image: Tensor) -> bytes:
    """A tensor [1, 2, 3 or 4, height, width], uint8 or floats in 0..1, as the bytes of a PNG file."""
    pixels = image if image.dtype == torch.uint8 else (image.clamp(0, 1) * 255).round().to(torch.uint8)
    pixels = pixels[:1] if len(pixels) == 2 else pixels
    rows = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)
    written = io.BytesIO()
    need("PIL.Image", "vision").fromarray(rows.contiguous().cpu().numpy()).save(written, "PNG")
    return written.getvalue()


def _opaque(picture: Any) -> Any:
    if picture.mode not in ("RGBA", "LA", "PA", "La", "RGBa") and "transparency" not in picture.info:
        return picture
    rgba = picture.convert("LA").convert("RGBA") if picture.mode == "La" else picture.convert("RGBA")
    white = need("PIL.Image", "vision").new("RGBA", rgba.size, "white")
    white.alpha_composite(rgba)
    return white.convert("L") if picture.mode in ("LA", "La") else white


def _upright(picture: Any) -> Any:
    if picture.getexif().get(_ORIENTATION, 1) == 1:
        return picture
    return need("PIL.ImageOps", "vision").exif_transpose(picture)


def _deep(values: np.ndarray, mode: str, name: str) -> Tensor:
    """Grey of more than eight bits: 16-bit modes end at 65,535, others where their values say."""
    if not np.isfinite(values).all() or (values.size and values.min() < 0):
        raise DataError(
            f"{name} (mode {mode}) holds negative or NaN pixels; brightness starts at 0: rescale it"
        )
    top = float(values.max()) if values.size else 0.0
    peak = 1.0 if mode == "F" and top <= 1 else 255.0 if top <= 255 and not mode.startswith("I;") else 65535.0
    if top > peak:
        raise DataError(
            f"{name} (mode {mode}) has pixels up to {top:.4g}; at most 65535 is known: rescale it"
        )
    return torch.from_numpy((values / peak * 255).round().astype(np.uint8)).unsqueeze(0)
