"""Average precision of detections, as PASCAL VOC and COCO count it.

Everingham et al. (2010), "The PASCAL visual object classes challenge": all points of the precision-recall curve.
Lin et al. (2014), "Microsoft COCO": precision at 101 recalls, boxes that mark a crowd, and ignored ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kshot.errors import DataError, SettingError

_RECALLS = np.linspace(0, 1, 101)
_MOST = 100
THRESHOLDS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
"""Overlaps that COCO's main figure is a mean over."""


@dataclass(frozen=True)
class Precision:
    """Average precisions of n pictures.

    Attributes:
        ap: mean over labels (and overlaps). each: of each label that occurs, mean over overlaps.
    """

    ap: float
    each: dict[Any, float] = field(default_factory=dict)


def average_precision(
    found: Sequence[Sequence[Any]],
    gold: Sequence[Sequence[Any]],
    *,
    overlap: float | Sequence[float] = 0.5,
    points: int | None = None,
    ignored: Sequence[Sequence[Any]] | None = None,
    crowds: Sequence[Sequence[Any]] | None = None,
) -> Precision:
    """How well boxes of n pictures are found, all labels together.

    Args:
        found: per picture boxes (left, top, right, bottom, label, probability), as `prediction.boxes` has them.
        gold: per picture boxes (left, top, right, bottom, label); those with the label None count for nothing.
        overlap: intersection over union from which a box is found; several are averaged (`THRESHOLDS` for COCO).
        points: 101 for COCO's interpolation; None for all points, as VOC has since 2010.
        ignored: per picture boxes that need not be found, and do no harm if they are.
        crowds: likewise, but each may be found many times, and is, where a box lies inside it.

    A label without gold boxes is left out; without any the result is 1 where nothing was found, else 0. Of one
    picture and label only the 100 surest boxes count, as COCO has it.

    Raises:
        DataError: unequal numbers of pictures, or a box without area. SettingError: other points.

    >>> gold = [[(0, 0, 10, 10, "cell")]]
    >>> average_precision([[(1, 0, 10, 10, "cell", 0.9), (50, 50, 60, 60, "cell", 0.8)]], gold).ap
    1.0
    """
    if points not in (None, 101):
        raise SettingError(f"points is {points}; give 101 for COCO's, None for all points (VOC)")
    nothing: list[list[Any]] = [[] for _ in gold]
    sets = [found, gold, ignored or nothing, crowds or nothing]
    if len({len(part) for part in sets}) != 1:
        raise DataError(
            f"{[len(part) for part in sets]} pictures of found, gold, ignored and crowd boxes; give one list a picture"
        )
    overlaps = [float(x) for x in np.atleast_1d(np.asarray(overlap, dtype=float))]
    labels = sorted({box[4] for boxes in gold for box in boxes if box[4] is not None}, key=str)
    if not labels:
        return Precision(0.0 if any(map(len, found)) else 1.0)
    each = {label: _of_label(sets, label, overlaps, points) for label in labels}
    return Precision(float(np.mean(list(each.values()))), each)


def _of_label(sets: list[Any], label: Any, overlaps: list[float], points: int | None) -> float:
    pictures = [_Picture.of(parts, label) for parts in zip(*sets, strict=True)]
    wanted = sum(int((~picture.extra).sum()) for picture in pictures)
    if not wanted:
        return float("nan")
    chance = np.concatenate([picture.chance for picture in pictures])
    order = np.argsort(-chance, kind="mergesort")
    results = []
    for overlap in overlaps:
        right, skipped = (
            np.concatenate(part) for part in zip(*(p.judged(overlap) for p in pictures), strict=True)
        )
        hits = right[order][~skipped[order]]
        results.append(_area(hits, wanted, points))
    return float(np.mean(results))


@dataclass
class _Picture:
    """Boxes of one label: found [n, 4] with chances [n], the surest first, and gold [m, 4], of which `extra` need
    not be found and `crowd` mark crowds; the extra ones last."""

    found: np.ndarray
    chance: np.ndarray
    shared: np.ndarray
    extra: np.ndarray
    crowd: np.ndarray

    @classmethod
    def of(cls, parts: Sequence[Any], label: Any) -> _Picture:
        found, gold, ignored, crowds = ([box for box in boxes if box[4] == label] for boxes in parts)
        chance = np.asarray([box[5] for box in found], dtype=float)
        order = np.argsort(-chance, kind="mergesort")[:_MOST]
        own, goal = _sides(found)[order], _sides([*gold, *ignored, *crowds])
        extra = np.arange(len(goal)) >= len(gold)
        crowd = np.arange(len(goal)) >= len(gold) + len(ignored)
        return cls(own, chance[order], _shared(own, goal, crowd), extra, crowd)

    def judged(self, overlap: float) -> tuple[np.ndarray, np.ndarray]:
        """For each found box: is it right, and does it count for nothing?"""
        right, skipped = np.zeros(len(self.found), bool), np.zeros(len(self.found), bool)
        taken = np.zeros(len(self.extra), bool)
        for n in range(len(self.found)):
            best = self._best(n, min(overlap, 1 - 1e-10), taken)
            if best is not None:
                taken[best] = True
                right[n], skipped[n] = not self.extra[best], bool(self.extra[best])
        return right, skipped

    def _best(self, n: int, least: float, taken: np.ndarray) -> int | None:
        """The free gold box that this one overlaps most, one that counts before one that does not."""
        free = ~taken | self.crowd
        for group in (~self.extra, self.extra):
            places = np.flatnonzero(group & free & (self.shared[n] >= least))
            if len(places):  # of equal overlaps the last, as COCO's own code has it
                return int(places[len(places) - 1 - np.argmax(self.shared[n, places][::-1])])
        return None


def _sides(boxes: Sequence[Any]) -> np.ndarray:
    sides = np.asarray([[float(side) for side in box[:4]] for box in boxes], dtype=float).reshape(-1, 4)
    flat = ~((sides[:, 2] > sides[:, 0]) & (sides[:, 3] > sides[:, 1]))
    if flat.any():
        raise DataError(
            f"box {tuple(boxes[int(flat.argmax())])} has no area; give left < right and top < bottom"
        )
    return sides


def _shared(a: np.ndarray, b: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Intersection over union [n, m]; with a crowd over the found box alone."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    own, other = (a[:, 2:] - a[:, :2]).prod(1)[:, None], (b[:, 2:] - b[:, :2]).prod(1)[None]
    found: np.ndarray = shared / np.where(crowd[None], own, own + other - shared)
    return found


def _area(hits: np.ndarray, wanted: int, points: int | None) -> float:
    """The area under the precision-recall curve of detections, the surest first."""
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]  # at a recall, the best at that recall or beyond
    if points is None:
        return float((envelope * hits).sum() / wanted)
    places = np.searchsorted(right / wanted, _RECALLS, side="left")
    padded = np.concatenate([envelope, [0.0]])
    return float(padded[np.minimum(places, len(hits))].mean())
