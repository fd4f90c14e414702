"""Average precision against pycocotools on random cases, and by hand."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from kshot.errors import DataError, SettingError
from kshot.tasks.spaces.geometry import average_precision as by_space
from kshot.vision.average_precision import THRESHOLDS, average_precision

Boxes = list[list[Any]]


def random_case(seed: int) -> tuple[Boxes, Boxes, Boxes, Boxes]:
    """Found, gold, ignored and crowd boxes of a few pictures, with ties of chances and equal boxes."""
    rng = np.random.default_rng(seed)

    def box(around: Any = None) -> tuple[float, ...]:
        low = rng.integers(0, 40, 2) if around is None else np.asarray(around[:2]) + rng.integers(-4, 5, 2)
        size = rng.integers(4, 30, 2)
        if around is not None:
            size = np.maximum(np.asarray(around[2:4]) - around[:2] + rng.integers(-4, 5, 2), 1)
        return (*map(float, low), *map(float, low + size))

    found, gold, ignored, crowds = [], [], [], []
    for _ in range(int(rng.integers(1, 5))):
        parts = [[(*box(), "abc"[rng.integers(3)]) for _ in range(rng.integers(0, n))] for n in (6, 3, 2)]
        near = [piece for part in parts for piece in part]
        seen: list[Any] = []
        for piece in near * 2:
            if rng.random() < 0.7:
                label = piece[4] if rng.random() < 0.8 else "abc"[rng.integers(3)]
                seen.append((*box(piece), label, float(rng.integers(1, 20)) / 20))
        seen += [(*box(), "abc"[rng.integers(3)], float(rng.random())) for _ in range(rng.integers(0, 4))]
        found.append(seen)
        for whole, part in zip((gold, ignored, crowds), parts, strict=True):
            whole.append(part)
    return found, gold, ignored, crowds


def coco_says(case: tuple[Boxes, Boxes, Boxes, Boxes], overlaps: list[float]) -> float:
    """The mean AP of pycocotools; boxes are ignored there by an area beyond its range."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    found, gold, ignored, crowds = case
    rows = []
    for n in range(len(gold)):
        for kind, boxes in (("gold", gold[n]), ("ignored", ignored[n]), ("crowd", crowds[n])):
            for left, top, right, bottom, label in boxes:
                area = 1e12 if kind == "ignored" else (right - left) * (bottom - top)
                rows.append({
                    "id": len(rows) + 1, "image_id": n, "category_id": "abc".index(label), "area": area,
                    "bbox": [left, top, right - left, bottom - top], "iscrowd": int(kind == "crowd"),
                })  # fmt: skip
    results = [
        {"image_id": n, "category_id": "abc".index(b[4]), "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]], "score": b[5]}
        for n, boxes in enumerate(found) for b in boxes
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "images": [{"id": n} for n in range(len(gold))], "annotations": rows, "info": {},
            "categories": [{"id": c} for c in range(3)],
        }  # fmt: skip
        truth.createIndex()
        if not results:
            return 0.0 if any(map(len, gold)) else 1.0
        run = evaluation.COCOeval(truth, truth.loadRes(results), "bbox")
        run.params.iouThrs = np.array(overlaps)
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, 2]
    return float(precision[precision > -1].mean()) if (precision > -1).any() else float("nan")


@pytest.mark.parametrize("seed", range(60))
def test_equals_pycocotools(seed: int) -> None:
    case = random_case(seed)
    if not any(map(len, case[1])):
        return
    found, gold, ignored, crowds = case
    for overlaps in ([0.5], [0.75], list(THRESHOLDS)):
        ours = average_precision(found, gold, overlap=overlaps, points=101, ignored=ignored, crowds=crowds).ap
        assert ours == pytest.approx(coco_says(case, overlaps), abs=1e-9)


def test_voc_by_hand() -> None:
    gold = [[(0, 0, 10, 10, "a"), (20, 0, 30, 10, "a")], [(0, 0, 10, 10, "b")]]
    found = [
        [(0, 0, 10, 10, "a", 0.9), (0, 0, 10, 10, "a", 0.8), (20, 0, 30, 10, "a", 0.7)],
        [(0, 0, 10, 4, "b", 0.9)],
    ]
    told = average_precision(found, gold)
    assert told.each == {"a": pytest.approx(0.5 + 0.5 * 2 / 3), "b": 0.0}
    assert told.ap == pytest.approx((0.5 + 1 / 3) / 2)
    assert told.each["a"] == pytest.approx(by_space([True, False, True], 2))


def test_nothing_to_find() -> None:
    assert average_precision([[], []], [[], []]).ap == 1.0
    assert average_precision([[(0, 0, 1, 1, "a", 0.5)]], [[]]).ap == 0.0
    assert average_precision([[]], [[(0, 0, 1, 1, "a")]]).ap == 0.0


def test_what_cannot_be_judged() -> None:
    with pytest.raises(DataError, match="has no area"):
        average_precision([[(5, 5, 5, 9, "a", 1.0)]], [[(0, 0, 1, 1, "a")]])
    with pytest.raises(DataError, match=r"\[1, 2, 2, 2\] pictures"):
        average_precision([[]], [[], []])
    with pytest.raises(SettingError, match="points is 11"):
        average_precision([[]], [[]], points=11)


def test_ten_thousand_boxes() -> None:
    rng = np.random.default_rng(0)
    low = rng.random((10_000, 2)) * 1000
    gold = [[(*xy, *(xy + 5), "a") for xy in low]]
    found = [[(*xy, *(xy + 5), "a", float(p)) for xy, p in zip(low, rng.random(10_000), strict=True)]]
    assert average_precision(found, gold).ap == pytest.approx(0.01)  # of one picture the 100 surest count
