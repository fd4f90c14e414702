"""Marked spans of characters as spans of units, checked."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import DataError
from kshot.text.unit_features import BEGIN

if TYPE_CHECKING:
    from jaxtyping import Float, Int

FINDING, NAMING = (1.0, 0.7, 0.7, 0.5, 0.5), (1.0, 0.0, 0.0, 0.5, 0.5)
"""Weights of a span's mean, first, last, before and behind unit, for finding and for naming: chosen on validation parts."""
_SHAPE, _LENGTHS = 0.15, 7
_SPANS = 4096


def marked_units(item: Tensor, rows: Tensor) -> Int[Tensor, "spans 2"]:
    """First unit and the one behind the last of marked spans [spans, (start, end, ...)], in characters.

    Raises:
        DataError: a span that cuts a unit, lies outside of the text, or overlaps another one.
    """
    starts, ends = item[:, 0].long().contiguous(), item[:, 1].long().contiguous()
    wanted = rows[:, :2].long()
    if not len(wanted):
        return wanted
    low, high = wanted[:, 0].contiguous(), wanted[:, 1].contiguous()
    first, last = torch.searchsorted(starts, low), torch.searchsorted(ends, high)
    whole = torch.zeros_like(first, dtype=torch.bool)
    if len(starts):
        top = len(starts) - 1
        whole = (starts[first.clamp(max=top)] == low) & (ends[last.clamp(max=top)] == high)
    for n in (~whole).nonzero().flatten().tolist():
        start, end = wanted[n].tolist()
        raise DataError(f"span ({start}, {end}) {_fault(starts, ends, start, end)}")
    order = low.argsort(stable=True)
    for n in (low[order[1:]] < high[order[:-1]]).nonzero().flatten().tolist():
        one, other = (tuple(wanted[order[k]].tolist()) for k in (n, n + 1))
        told = f"span {one} is marked twice" if one == other else f"spans {one} and {other} overlap"
        raise DataError(f"{told}; a character belongs to one entity at most: keep one of them")
    return torch.stack([first, last + 1], 1)


def _fault(starts: Tensor, ends: Tensor, start: int, end: int) -> str:
    size = int(ends[-1]) if len(ends) else 0
    if start >= size or end > size:
        return f"lies outside of a text whose last visible character is at {size - 1}; end is exclusive"
    inside = (ends > start) & (starts < end)
    if not bool(inside.any()):
        return "holds only spaces; mark a word"
    low, high = int(starts[inside][0]), int(ends[inside][-1])
    return f"begins or ends inside of a word or at a space; whole words would be ({low}, {high})"


@lru_cache(maxsize=512)
def every_span(count: int, longest: int, device: torch.device) -> Int[Tensor, "m 2"]:
    """Spans of up to `longest` of `count` units, in reading order."""
    first = torch.arange(count, device=device).unsqueeze(1)
    behind = first + torch.arange(1, longest + 1, device=device)
    spans = torch.stack([first.expand(-1, longest), behind], 2).flatten(0, 1)
    return spans[spans[:, 1] <= count]


def means(x: Float[Tensor, "units d"], i: Tensor, j: Tensor) -> Float[Tensor, "m d"]:
    """Mean of the rows i to j - 1 of x."""
    sums = F.pad(x.cumsum(0), (0, 0, 1, 0))
    return (sums[j] - sums[i]) / (j - i).unsqueeze(1)


def finding_vectors(item: Tensor, spans: Int[Tensor, "m 2"]) -> Float[Tensor, "m d"]:
    """What spans look like to who decides whether they are entities: content, surface and length."""
    item, spans = _near(item, spans)
    i, j = spans[:, 0], spans[:, 1]
    surface = F.pad(item[:, 2:BEGIN], (0, 0, 1, 1))
    length = F.one_hot((j - i).clamp(max=_LENGTHS - 1), _LENGTHS).to(item.dtype)
    outer = torch.cat([surface[i + 1], surface[j], surface[i], surface[j + 1], length], 1)
    return torch.cat([_content(item, i, j, FINDING), _SHAPE * outer], 1)


def naming_vectors(item: Tensor, spans: Int[Tensor, "m 2"]) -> Float[Tensor, "m d"]:
    """What spans look like to who names them: their content and what stands beside them, of length sqrt(d)."""
    found = []
    for some in torch.split(spans, _SPANS):
        near, own = _near(item, some)
        x = _content(near, own[:, 0], own[:, 1], NAMING)
        found.append(F.normalize(x, dim=1) * x.shape[1] ** 0.5)
    return torch.cat(found) if found else item.new_zeros(0, 3 * (item.shape[1] - BEGIN))


def _near(item: Tensor, spans: Tensor) -> tuple[Tensor, Tensor]:
    """The units that spans and their neighbours need, and the spans among them."""
    if not len(spans):
        return item[:0], spans
    low, high = max(int(spans[:, 0].min()) - 1, 0), int(spans[:, 1].max()) + 1
    return item[low:high], spans - low


def _content(item: Tensor, i: Tensor, j: Tensor, weights: tuple[float, ...]) -> Tensor:
    x = item[:, BEGIN:]
    edged = F.pad(x, (0, 0, 1, 1))
    parts = (means(x, i, j), x[i], x[j - 1], edged[i], edged[j + 1])
    return torch.cat([w * F.normalize(part, dim=1) for w, part in zip(weights, parts, strict=True) if w], 1)
