"""Arithmetic of boxes [n, 4] (left, top, right, bottom): overlap, matching, suppression, average precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def iou(a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """Intersection over union of boxes a [n, 4] and b [m, 4]: [n, m].

    >>> iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]]))
    tensor([[0.3333]])
    """
    shared, union, _ = _areas(a, b)
    return shared / union


def generalised_iou(a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """IoU minus the empty share of the smallest box around both: [n, m]. Rezatofighi et al. (2019)."""
    shared, union, hull = _areas(a, b)
    return shared / union - (hull - union) / hull


def _areas(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Areas of intersection, union and hull of every pair."""
    x, y = a[:, None], b[None]
    shared = _area(torch.maximum(x[..., :2], y[..., :2]), torch.minimum(x[..., 2:], y[..., 2:]))
    hull = _area(torch.minimum(x[..., :2], y[..., :2]), torch.maximum(x[..., 2:], y[..., 2:]))
    union = _area(x[..., :2], x[..., 2:]) + _area(y[..., :2], y[..., 2:]) - shared
    return shared, union.clamp(min=1e-9), hull.clamp(min=1e-9)


def _area(low: Float[Tensor, "*pairs 2"], high: Float[Tensor, "*pairs 2"]) -> Float[Tensor, "*pairs"]:
    return (high - low).clamp(min=0).prod(-1)


def match(cost: Float[Tensor, "n m"]) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Rows and columns of the one-to-one matching of least total cost [n, m] (Hungarian method)."""
    # scipy comes with scikit-learn; it is loaded here because most users never need it.
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    rows, columns = linear_sum_assignment(cost.detach().cpu().numpy())
    return torch.as_tensor(rows, device=cost.device), torch.as_tensor(columns, device=cost.device)


def keep_best(
    boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"], overlap: float
) -> Int[Tensor, " kept"]:
    """Non-maximum suppression: places of the boxes that overlap no better kept one by more than `overlap`."""
    order = scores.argsort(descending=True, stable=True)
    close = (iou(boxes[order], boxes[order]) > overlap).numpy(force=True)
    kept: list[int] = []
    gone = np.zeros(len(order), dtype=bool)
    for i in range(len(order)):
        if not gone[i]:
            kept.append(i)
            gone |= close[i]
    return order[kept]


def average_precision(hits: Sequence[bool], gold: int) -> float:
    """Area under the precision-recall curve, all points, as in PASCAL VOC 2010 (Everingham et al. 2010).

    Args:
        hits: for each detection, the surest first, whether it is right. gold: how many there are to find.

    >>> average_precision([True, False, True], 2)
    0.8333333333333333
    """
    right, precisions = 0, []
    for place, hit in enumerate(hits, start=1):
        right += hit
        precisions.append(right / place)
    best, total = 0.0, 0.0
    for hit, precision in zip(reversed(hits), reversed(precisions), strict=True):
        best = max(best, precision)  # precision at a recall is the best at that recall or beyond
        total += best * hit
    return total / gold
