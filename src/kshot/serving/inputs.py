"""What comes in with a request: sizes are checked before anything is decoded, and every refusal says why."""

from __future__ import annotations

import base64
import binascii
import io
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.encoders import Encoder
from kshot.errors import DataError, KshotError, need
from kshot.serving.faults import TooLarge
from kshot.serving.limits import Limits

FORMATS = ("PNG", "JPEG", "WEBP")
"""Of images; other decoders are never started, whatever the bytes say."""
_DEEPEST = 8
_LARGEST = 1e15


def decoded(encoder: Encoder, values: Sequence[Any], limits: Limits) -> Any:
    """JSON values as inputs, refused before they are decoded where they are too large.

    Raises:
        TooLarge: bytes, pixels or characters over the limit. DataError: no such input.
    """
    for value in values:
        if encoder.modality == "image" and isinstance(value, str):
            _check_image(value, limits)
        elif isinstance(value, str):
            _check_text(value, limits)
    try:
        return encoder.read([encoder.from_json(value) for value in values])
    except KshotError:
        raise
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, RecursionError) as cause:
        raise DataError(
            f"an input cannot be read ({type(cause).__name__}); send what base takes: {encoder.modality}"
        ) from cause


def _check_text(value: str, limits: Limits) -> None:
    if len(value) > limits.text_characters:
        raise TooLarge(f"a text of {len(value)} characters; at most {limits.text_characters}")
    if not value.isascii():
        _sound(value)


def _sound(value: str) -> None:
    """Refuse half of a pair of surrogates, which no file can hold."""
    try:
        value.encode()
    except UnicodeEncodeError as cause:
        raise DataError(f"a text is no Unicode at character {cause.start}; send whole characters") from None


def _check_image(value: str, limits: Limits) -> None:
    encoded = value.partition(",")[2] if value.startswith("data:") else value
    size = len(encoded) * 3 // 4 - encoded[-2:].count("=")
    if size > limits.image_bytes:
        raise TooLarge(f"an image of {size} bytes; at most {limits.image_bytes}")
    image = need("PIL.Image", "vision")
    try:
        data = base64.b64decode(encoded, validate=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", image.DecompressionBombWarning)
            with image.open(io.BytesIO(data), formats=list(FORMATS)) as picture:
                width, height = picture.size
    except (binascii.Error, OSError, SyntaxError, ValueError, image.DecompressionBombError) as cause:
        raise DataError(
            f"an image input cannot be read ({_brief(cause)}); send a PNG, JPEG or WEBP as base64"
        ) from None
    if width * height > limits.image_pixels:
        raise TooLarge(f"an image of {width} x {height} pixels; at most {limits.image_pixels}")


def _brief(cause: BaseException) -> str:
    return "it is none of these formats" if "BytesIO" in str(cause) else str(cause)[:200]


def label_of(label: Any, limits: Limits, depth: int = 0) -> Any:
    """A label as posted, by the rules for labels: short, printable, finite.

    Raises:
        DataError: it breaks one of them.
    """
    if isinstance(label, str):
        if not 0 < len(label) <= limits.label_characters or not label.isprintable():
            raise DataError(
                f"label {label[:40]!r}: 1 to {limits.label_characters} characters, no control characters"
            )
    elif isinstance(label, float) and not math.isfinite(label):
        raise DataError(f"label {label!r} is not finite; send a number")
    elif isinstance(label, int) and abs(label) >= 2**63:
        raise DataError("a label is a number of more than 63 bits; send it as a string")
    elif isinstance(label, list | dict) and depth < _DEEPEST and len(label) <= limits.examples:
        for part in label.values() if isinstance(label, dict) else label:
            label_of(part, limits, depth + 1)
    elif not isinstance(label, bool | int | float):
        raise DataError(f"label {str(label)[:40]!r} is a {type(label).__name__}; send a string or a number")
    return label


def name_of(name: str, limits: Limits) -> str:
    """A model's name by the rules for names, which may be empty. Raises DataError."""
    if len(name) > limits.label_characters or not name.isprintable():
        raise DataError(
            f"name {name[:40]!r}: at most {limits.label_characters} characters, no control characters"
        )
    return name


def _bounded(part: Tensor) -> bool:
    if (
        part.dtype == torch.float32 and part.device.type == "cpu"
    ):  # numpy is quicker on one input, and says NaN alike
        return bool(np.abs(part.numpy(force=True)).max(initial=0) < _LARGEST)
    return bool((part.abs() < _LARGEST).all())


def sound(embedded: Any) -> Any:
    """Embeddings that can be reckoned with.

    Raises:
        DataError: NaN, or numbers whose squares no float32 holds.
    """
    for part in [embedded] if isinstance(embedded, Tensor) else embedded:
        if isinstance(part, Tensor) and part.is_floating_point() and not _bounded(part):
            raise DataError(
                f"an input has features that are not finite or over {_LARGEST:g}; scale it down, or leave it out"
            )
    return embedded
