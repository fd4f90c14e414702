"""Evidence and small pictures as lines of text, for terminals."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.learners import Explanation

_SHADES = {True: " ░▒▓█", False: " .:*#"}
_BLOCKS = {True: "█", False: "#"}


def evidence_bars(
    explanation: Explanation, *, most: int = 6, width: int = 24, unicode: bool = True
) -> list[str]:
    """One line per example, the strongest first: name, label, a bar, what it did in points of probability.

    >>> from kshot.learners import Evidence
    >>> found = Explanation("cat", 0.9, [Evidence("e0", "cat", 0.4, "dog"), Evidence("e1", "dog", -0.1, "cat")])
    >>> print("\\n".join(evidence_bars(found, width=8, unicode=False)))
    e0  cat  ########  +40.0 points, for
    e1  dog  ##        -10.0 points, against
    """
    shown = explanation.evidence[:most]
    largest = max((abs(e.contribution) for e in shown), default=0.0) or 1.0
    ids = max((len(e.id) for e in shown), default=0)
    names = max((len(str(e.label)) for e in shown), default=0)
    lines = []
    for e in shown:
        bar = _BLOCKS[unicode] * round(width * abs(e.contribution) / largest)
        side = "for" if e.contribution >= 0 else "against"
        lines.append(
            f"{e.id:<{ids}}  {e.label!s:<{names}}  {bar:<{width}}  {points(e.contribution, largest)} points, {side}"
        )
    return lines


def points(contribution: float, largest: float) -> str:
    """A contribution in points, with the digits that the largest of its list needs to be told from nought.

    >>> points(0.123, largest=0.4), points(0.00004, largest=0.00012)
    ('+12.3', '+0.004')
    """
    size = 100 * abs(largest)
    digits = 1 if size >= 1 or size == 0 else min(1 - math.floor(math.log10(size)), 6)
    return f"{100 * contribution:+.{digits}f}"


def picture_lines(image: Tensor, *, height: int = 12, unicode: bool = True) -> list[str]:
    """A picture [channels, height, width] as shades of text; two letters make a square.

    >>> picture_lines(torch.eye(2).unsqueeze(0), height=2, unicode=False)
    ['##  ', '  ##']
    """
    x = image.float() / 255 if image.dtype == torch.uint8 else image.float()
    x = F.interpolate(x.mean(0, keepdim=True)[None], (height, height), mode="area")[0, 0]
    shades = _SHADES[unicode]
    steps = (x.clamp(0, 1) * (len(shades) - 1)).round().long().tolist()
    return ["".join(2 * shades[s] for s in row) for row in steps]
