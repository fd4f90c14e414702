"""Boxes drawn on pictures, as SVG with the picture inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

from torch import Tensor

from kshot.explanation.pictures import png, small

_KINDS = 5


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
    text = max(width, height) / 34
    kept = base64.b64encode(png(small(image, most))).decode()
    parts = [
        f'<image width="{width}" height="{height}" preserveAspectRatio="none" href="data:image/png;base64,{kept}"/>'
    ]
    parts += [_frame(box, order.index(box[4]) % _KINDS, text) for box in boxes]
    parts += [_frame((*box[:4], "unknown", *box[5:]), 4, text, dashed=True) for box in unknown]
    told = ", ".join(str(box[4]) for box in boxes) or "nothing"
    return (
        f'<svg class="boxes" viewBox="0 0 {width} {height}" role="img" style="max-width:{most}px">'
        f"<title>{escape('found: ' + told)}</title>{''.join(parts)}</svg>"
    )


def _frame(box: Sequence[Any], kind: int, text: float, dashed: bool = False) -> str:
    left, top, right, bottom = (float(side) for side in box[:4])
    sure = f" {100 * box[5]:.0f}" if len(box) > 5 else ""
    label = escape(f"{box[4]}{sure}")
    dash = f' stroke-dasharray="{text / 2:.1f}"' if dashed else ""
    above = top - text * 0.3 if top > 1.3 * text else top + text
    return (
        f'<g class="k{kind}"><rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" '
        f'fill="none" stroke="var(--k)" stroke-width="{text / 7:.2f}"{dash}/>'
        f'<text x="{left + 1:.1f}" y="{above:.1f}" style="font-size:{text:.1f}px;font-weight:650;fill:var(--k);'
        f'paint-order:stroke;stroke:var(--card);stroke-width:{text / 5:.1f}px">{label}</text></g>'
    )
