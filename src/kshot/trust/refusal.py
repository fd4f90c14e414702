"""How well familiarity tells unknown inputs from known ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kshot.errors import DataError


@dataclass(frozen=True)
class Separation:
    """Known against unknown inputs, by one score that is higher for known ones.

    Attributes:
        auroc: chance that a known input scores higher than an unknown one; 0.5 is guessing.
        fpr95: share of unknown inputs that pass where 95 % of the known ones do (Hendrycks, Gimpel 2017).
    """

    auroc: float
    fpr95: float


def separation(known: Sequence[float] | np.ndarray, unknown: Sequence[float] | np.ndarray) -> Separation:
    """AUROC and FPR95 of scores, ties counting half.

    Raises:
        DataError: one of the two is empty.

    >>> separation([0.9, 0.8], [0.1, 0.85])
    Separation(auroc=0.75, fpr95=0.5)
    """
    inside, outside = np.asarray(known, dtype=float), np.asarray(unknown, dtype=float)
    if not inside.size or not outside.size:
        raise DataError(f"{inside.size} known and {outside.size} unknown scores; give at least one of each")
    ranks = np.sort(outside)
    below = np.searchsorted(ranks, inside, "left") + np.searchsorted(ranks, inside, "right")
    passing = float((outside >= np.quantile(inside, 0.05)).mean())
    return Separation(float(below.mean() / (2 * outside.size)), passing)
