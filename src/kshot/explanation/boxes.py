"""Boxes drawn on pictures, as SVG with the picture inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

from torch import Tensor

from kshot.explanation.pictures import png, small

_KINDS = (0, 1, 2, 3, 5, 6)
"""Colours of a page that labels have, in turn; number 4 is for what is unknown."""
_LARGE, _SMALL, _MANY, _USUAL = 30, 42, 12, 480
"""Of a picture's longer side what a letter is, where there are few boxes and where there are more than so many; of
pictures that are shown in fewer than so many pixels, more."""


def boxes_drawn(
    image: Tensor,
    boxes: Sequence[Any],
    unknown: Sequence[Any] = (),
    *,
    labels: Sequence[Any] = (),
    most: int = 560,
) -> str:
    """A picture [channels, height, width] with a frame and a label for each box.

    Args:
        boxes: (left, top, right, bottom, label, ...) in the picture's pixels; a sixth value is a probability.
        unknown: the same, drawn dashed, with "unknown" for a label.
        labels: the order of labels, by which colours are given. most: longer side in pixels of the picture kept.

    >>> import torch
    >>> boxes_drawn(torch.zeros(3, 20, 30), [(2, 2, 9, 9, "cell")])[:12]
    '<svg class="'
    """
    height, width = image.shape[-2:]
    order = list(labels) or sorted({box[4] for box in boxes}, key=str)
    letters = (_SMALL if len(boxes) > _MANY else _LARGE) * min(1.0, most / _USUAL)
    text = max(width, height) / letters
    kept = base64.b64encode(png(small(image, most))).decode()
    parts = [
        f'<image width="{width}" height="{height}" preserveAspectRatio="none" href="data:image/png;base64,{kept}"/>'
    ]
    parts += [_frame(box, _KINDS[order.index(box[4]) % len(_KINDS)], text, width) for box in boxes]
    parts += [_frame((*box[:4], "unknown", *box[5:]), 4, text, width, dashed=True) for box in unknown]
    told = ", ".join(str(box[4]) for box in boxes) or "nothing"
    return (
        f'<svg class="boxes" viewBox="0 0 {width} {height}" role="img" style="max-width:{most}px">'
        f"<title>{escape('found: ' + told)}</title>{''.join(parts)}</svg>"
    )


def _frame(box: Sequence[Any], kind: int, text: float, width: float, dashed: bool = False) -> str:
    left, top, right, bottom = (float(side) for side in box[:4])
    sure = f" {100 * box[5]:.0f}" if len(box) > 5 else ""
    label = escape(f"{box[4]}{sure}")
    dash = f' stroke-dasharray="{text / 2:.1f}"' if dashed else ""
    tall, wide = text * 1.25, text * (0.6 * len(f"{box[4]}{sure}") + 0.5)
    over = max(top - tall, 0.0)  # the tag stands on the box, or in it where there is no room
    begin = max(min(left, width - wide), 0.0)
    return (
        f'<g class="k{kind}"><rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" '
        f'fill="none" stroke="var(--k)" stroke-width="{text / 7:.2f}"{dash} rx="{text / 8:.1f}"/>'
        f'<rect x="{begin:.1f}" y="{over:.1f}" width="{wide:.1f}" height="{tall:.1f}" rx="{text / 5:.1f}" fill="var(--k)" '
        f'fill-opacity="0.9"/><text x="{begin + text * 0.25:.1f}" y="{over + text * 0.95:.1f}" '
        f'style="font-size:{text:.1f}px;font-weight:600;fill:var(--card)">{label}</text></g>'
    )


def side_by_side(pictures: Sequence[str]) -> str:
    """Drawn pictures in as many columns as there is room for, to be put into a page's section."""
    return f'<div class="sheet">{"".join(pictures)}</div>'
