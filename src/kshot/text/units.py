"""Units of a text, where a marked span may begin and end: words, single signs, characters of scripts without spaces."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kshot.text.hashed import SPACELESS, Span
from kshot.text.texts import Tokens

if TYPE_CHECKING:
    from jaxtyping import Float

_PLANES = ((0x300, 0x20000), (0xE0100, 0xE01F0))
"""Where Unicode has combining marks."""
_FLAG, _TONES, _TAGS = "[\U0001f1e6-\U0001f1ff]", "\U0001f3fb-\U0001f3ff", "\U000e0020-\U000e007f"


def units(text: str) -> list[Span]:
    """First and last character (and one) of each unit; what a reader takes for one sign is never cut.

    Letters are apart from digits and signs, so that a span may begin behind a quote or end before a measure. Combining
    marks, joined emoji and flags stay with the sign that they belong to.

    >>> units("Zoe\\u0308's 5kg")
    [(0, 4), (4, 5), (5, 6), (7, 8), (8, 10)]
    >>> units("你好 ก็ \\U0001f44d\\U0001f3fd")
    [(0, 1), (1, 2), (3, 5), (6, 8)]
    """
    return [match.span() for match in _pattern().finditer(text)]


@cache
def _pattern() -> re.Pattern[str]:
    marks = f"{_marks()}\u200c\u200d"
    letter = rf"[^\W\d_{SPACELESS}]"
    joined = f"(?:[{marks}{_TONES}{_TAGS}]|(?<=\u200d)[^\\w\\s])*"
    return re.compile(
        rf"{_FLAG}{{2}}|[{SPACELESS}][{marks}]*|{letter}(?:{letter}|[{marks}])*|\d+[{marks}]*|[^\w\s]{joined}|_"
    )


def _marks() -> str:
    """Combining marks as ranges of a character class."""
    ranges: list[list[int]] = []
    for first, last in _PLANES:
        for point in range(first, last):
            if unicodedata.category(chr(point))[0] == "M":
                if ranges and ranges[-1][1] == point - 1:
                    ranges[-1][1] = point
                else:
                    ranges.append([point, point])
    return "".join(f"{chr(a)}-{chr(b)}" for a, b in ranges)


def pooled(tokens: Tokens, places: list[Span], features: int) -> Float[Tensor, "units d"]:
    """Features of units: the mean of the tokens that share a character with each; zeros where none does.

    >>> found = pooled(Tokens(torch.tensor([[1.0], [3.0], [5.0]]), [(0, 2), (2, 4), (5, 9)]), [(0, 4), (5, 6), (9, 10)], 1)
    >>> found.tolist()
    [[2.0], [5.0], [0.0]]
    """
    if not len(tokens) or not places:
        return torch.zeros(len(places), features)
    token, unit = torch.tensor(tokens.offsets), torch.tensor(places)
    first = torch.searchsorted(token[:, 1].contiguous(), unit[:, 0].contiguous(), right=True)
    last = torch.searchsorted(token[:, 0].contiguous(), unit[:, 1].contiguous())
    count = (last - first).clamp(min=0)
    owner = torch.arange(len(unit)).repeat_interleave(count)
    inside = torch.arange(len(owner)) - (count.cumsum(0) - count).repeat_interleave(count)
    sums = torch.zeros(len(unit), tokens.features.shape[1], dtype=tokens.features.dtype)
    sums.index_add_(0, owner, tokens.features[first[owner] + inside])
    return sums / count.clamp(min=1).unsqueeze(1)
