"""Pictures and evidence as HTML with everything inside it; PNG is written by hand, so nothing must be installed."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from html import escape
from typing import Any

import torch
from torch import Tensor

from kshot.errors import DataError
from kshot.explanation.bars import points
from kshot.learners import Adapted, Explanation


def png(image: Tensor) -> bytes:
    """The bytes of a PNG file.

    Args:
        image: uint8, or float in 0..1; [height, width], [1, height, width] or [3, height, width].

    Raises:
        DataError: another shape.

    >>> png(torch.zeros(4, 4, dtype=torch.uint8))[:4]
    b'\\x89PNG'
    """
    x = image.detach().cpu()
    x = x.unsqueeze(0) if x.ndim == 2 else x
    if x.ndim != 3 or x.shape[0] not in (1, 3):
        raise DataError(
            f"a picture has shape {tuple(image.shape)}; give [height, width] or [1 or 3, height, width]"
        )
    if x.is_floating_point():
        x = (x.clamp(0, 1) * 255).round()
    channels, height, width = x.shape
    rows = x.to(torch.uint8).permute(1, 2, 0).reshape(height, width * channels)
    raw = b"".join(b"\0" + bytes(row) for row in rows.tolist())  # each row starts with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(raw, 9)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def data_uri(image: Tensor) -> str:
    """A picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png(small(image))).decode()}"


def small(image: Tensor, most: int = 160) -> Tensor:
    """The picture with no side longer than `most` pixels, so that a report stays small."""
    x = image.unsqueeze(0) if image.ndim == 2 else image
    longest = max(x.shape[-2:])
    if longest <= most:
        return x
    x = x.float() / 255 if x.dtype == torch.uint8 else x
    size = [max(round(side * most / longest), 1) for side in x.shape[-2:]]
    shrunk: Tensor = torch.nn.functional.interpolate(x.unsqueeze(0), size, mode="bilinear", antialias=True)
    return shrunk[0]


def picture(image: Tensor, name: str, *, side: int = 56) -> str:
    """An <img> of `side` pixels height whose alternative text is `name`."""
    return f'<img class="thumb" alt="{escape(name)}" height="{side}" src="{data_uri(image)}">'


def gallery(images: Sequence[Tensor], names: Sequence[str], *, side: int = 56) -> str:
    """Pictures side by side, each with its name below."""
    items = (
        f"<figure>{picture(image, name, side=side)}<figcaption>{escape(name)}</figcaption></figure>"
        for image, name in zip(images, names, strict=True)
    )
    return f'<div class="pictures">{"".join(items)}</div>'


def evidence(task: Adapted, explanation: Explanation, *, most: int = 8) -> str:
    """The examples that decided an answer: picture, label, a bar for what each one did, its share.

    Green bars spoke for the answer, red ones against it.
    """
    shown = explanation.evidence[:most]
    largest = max((abs(e.contribution) for e in shown), default=0.0) or 1.0
    places = {name: place for place, name in enumerate(task.ids)}
    rows = []
    for e in shown:
        item = task.inputs[places[e.id]]
        image = _image(item)
        said = f"<br>“{escape(item[:200])}”" if isinstance(item, str) else ""
        side = "for" if e.contribution >= 0 else "against"
        thumb = picture(image, f"example {e.id}", side=40) if image is not None else "<span></span>"
        rows.append(
            f"{thumb}<span>{escape(str(e.label))} <span class='note'>{escape(e.id)}</span>{said}</span>"
            f'<span class="track {side}"><span class="fill" style="--share:{abs(e.contribution) / largest:.3f}">'
            f'</span></span><span class="n">{points(e.contribution, largest)} points</span>'
        )
    return f'<div class="evidence">{"".join(rows)}</div>'


def _image(item: Any) -> Tensor | None:
    """An example as a picture, where it is one."""
    if isinstance(item, Tensor) and item.ndim == 3 and item.shape[0] in (1, 3):
        return item
    return None
