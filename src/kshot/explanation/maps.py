"""Attributions and changes as HTML, for the pages that `kshot.evaluation.page` makes."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.explanation.attributions import Attribution
from kshot.explanation.changes import Changes, LayerChange
from kshot.explanation.pictures import data_uri

_FOR, _AGAINST = (11 / 255, 127 / 255, 95 / 255), (179 / 255, 55 / 255, 47 / 255)
"""Green and red of the evidence bars."""


def attribution_map(
    shown: Any, found: Attribution, *, side: int = 140, names: list[str] | None = None
) -> str:
    """A picture beside its map, or bars for the features of a row. Green spoke for the answer, red against it.

    Args:
        shown: the input in raw form. names: of the features of a row.
    """
    if found.values.ndim == 1:
        return _feature_bars(found, names)
    pictures = ((shown, "the picture"), (overlay(shown, found.values), f"what “{found.label}” hangs on"))
    items = (
        f'<figure><img class="thumb" alt="{escape(text)}" height="{side}" src="{data_uri(image)}">'
        f"<figcaption>{escape(text)}</figcaption></figure>"
        for image, text in pictures
    )
    return f'<div class="pictures">{"".join(items)}</div>'


def overlay(image: Tensor, values: Tensor) -> Tensor:
    """The picture in grey with the map laid over it, [3, height, width] in 0..1.

    Args:
        image: [channels, height, width], uint8 or 0..1. values: [h, w]; the strongest gets the full colour.
    """
    x = image.float() / 255 if image.dtype == torch.uint8 else image.float()
    # small pictures are enlarged, or the map would be coarser than its windows
    factor = max(1, round(112 / max(x.shape[-2:])))
    size = [side * factor for side in x.shape[-2:]]
    grey = F.interpolate(x.mean(0)[None, None], size)[0, 0]
    strength = F.interpolate(values[None, None].float(), size, mode="bilinear", align_corners=False)[0, 0]
    strength = strength / strength.abs().max().clamp(min=1e-12)
    paint = torch.where((strength >= 0)[None], _colour(_FOR), _colour(_AGAINST))
    share = 0.8 * strength.abs()[None]
    return (1 - share) * (0.25 + 0.5 * grey)[None] + share * paint


def _colour(rgb: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rgb).view(3, 1, 1)


def _feature_bars(found: Attribution, names: list[str] | None, most: int = 15) -> str:
    order = found.values.abs().argsort(descending=True)[:most].tolist()
    largest = float(found.values.abs().max()) or 1.0
    rows = []
    for place in order:
        value = float(found.values[place])
        name = names[place] if names else f"feature {place}"
        rows.append(_bar(name, abs(value) / largest, f"{value:+.3f}", "for" if value >= 0 else "against"))
    return f'<div class="evidence">{"".join(rows)}</div>'


def _bar(name: str, share: float, text: str, side: str) -> str:
    return (
        f"<span></span><span>{escape(name)}</span>"
        f'<span class="track {side}"><span class="fill" style="--share:{share:.3f}"></span></span>'
        f'<span class="n">{escape(text)}</span>'
    )


def change_bars(found: Changes) -> str:
    """A bar per layer for how far it moved, with its CKA; then the sizes of adapters, where there are any."""
    parts = [f"<p>{escape(found.text)}</p>"]
    if found.layers:
        parts.append(_layer_bars(found.layers))
    if found.sizes:
        largest = max(found.sizes.values()) or 1.0
        rows = [
            _bar(name, size / largest, f"{100 * size:.2g} %", "for") for name, size in found.sizes.items()
        ]
        parts.append(f'<p class="note">Size of each adapter against what it changes:</p>'
                     f'<div class="evidence">{"".join(rows)}</div>')  # fmt: skip
    return "".join(parts)


def _layer_bars(layers: list[LayerChange]) -> str:
    finite = [layer.relative for layer in layers if math.isfinite(layer.relative)]
    largest = max(finite, default=0.0) or 1.0
    rows = []
    for layer in layers:
        known = math.isfinite(layer.relative)
        moved = f"{100 * layer.relative:.2g} %" if known else "made new"
        seen = "" if layer.similarity is None else f", CKA {layer.similarity:.2f}"
        share = layer.relative / largest if known else 1.0
        rows.append(_bar(layer.name, share, moved + seen, "for"))
    return f'<div class="evidence">{"".join(rows)}</div>'
