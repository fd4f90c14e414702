"""Boxes: rectangles in a picture with a label, as in object detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import DataError
from kshot.tasks.spaces.classes import Classes, Label
from kshot.tasks.spaces.geometry import average_precision, generalised_iou, iou, keep_best, match
from kshot.tasks.spaces.space import OutputSpace, register_space

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_LEAST = 0.01
"""Detections below this probability do not enter the average precision: they only cost time."""


class BoxScores(NamedTuple):
    """m candidate boxes of n pictures with class scores (logits).

    Attributes:
        image: [m] the picture of each candidate, 0..n-1.
        boxes: [m, 4] left, top, right, bottom in pixels.
        scores: [m, 1 + labels]; column 0 is background.
        images: n.
    """

    image: Int[Tensor, " m"]
    boxes: Float[Tensor, "m 4"]
    scores: Float[Tensor, "m scores"]
    images: int


class Box(NamedTuple):
    """One found object, in pixels."""

    left: float
    top: float
    right: float
    bottom: float
    label: Label
    probability: float


@dataclass(frozen=True)
class BoxPrediction:
    """Answers for n pictures: for each its boxes, the surest first."""

    boxes: list[list[Box]]

    def __len__(self) -> int:
        return len(self.boxes)

    def to_json(self) -> list[dict[str, Any]]:
        """One JSON object per picture."""
        return [{"boxes": [box._asdict() for box in found]} for found in self.boxes]


@register_space
@dataclass(frozen=True)
class Boxes(OutputSpace):
    """Boxes (left, top, right, bottom, label) in pixels, any number a picture; outputs are `BoxScores`.

    >>> Boxes(("cell",)).encode([[(0, 0, 10, 20, "cell")]])
    [tensor([[ 0.,  0., 10., 20.,  0.]])]
    """

    labels: tuple[Label, ...]
    kind: ClassVar[str] = "boxes"
    metric: ClassVar[str] = "ap50"

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", Classes(tuple(self.labels)).labels)

    @property
    def size(self) -> int:
        """Labels and background."""
        return len(self.labels) + 1

    def encode(self, targets: Any) -> list[Tensor]:
        """n lists of (left, top, right, bottom, label) to n tensors [boxes, 5], last the place of the label."""
        classes = Classes(self.labels)
        return [self._rows(list(boxes), classes) for boxes in targets]

    def _rows(self, boxes: list[Sequence[Any]], classes: Classes) -> Float[Tensor, "boxes 5"]:
        for left, top, right, bottom, label in boxes:
            if not (left < right and top < bottom):
                raise DataError(
                    f"box ({left}, {top}, {right}, {bottom}, {label!r}) has no area; "
                    "give left < right and top < bottom, in pixels"
                )
        indices = classes.encode([box[4] for box in boxes]).tolist()
        rows = [[*map(float, box[:4]), c] for box, c in zip(boxes, indices, strict=True)]
        return torch.tensor(rows, dtype=torch.get_default_dtype()).reshape(-1, 5)

    def loss(self, outputs: BoxScores, targets: list[Tensor]) -> Float[Tensor, ""]:
        """Cross entropy of all candidates, plus for those matched to a gold box 1 - GIoU and the distance
        of the four sides in units of the gold box: the set loss of DETR (Carion et al. 2020, equation 2),
        with GIoU by Rezatofighi et al. (2019). Each gold box is matched to one candidate of its picture.
        """
        goal = torch.zeros(len(outputs.boxes), dtype=torch.long, device=outputs.boxes.device)
        total = outputs.boxes.sum() * 0
        count = max(sum(map(len, targets)), 1)
        for n, gold in enumerate(targets):
            own = (outputs.image == n).nonzero().flatten()
            boxes, gold_boxes, labels = outputs.boxes[own], gold[:, :4], gold[:, 4].long() + 1
            chance = torch.softmax(outputs.scores[own], 1)[:, labels]
            cost = _distance(boxes, gold_boxes) + 1 - generalised_iou(boxes, gold_boxes)
            rows, columns = match(cost - chance)
            goal[own[rows]] = labels[columns]
            total = total + cost[rows, columns].sum() / count
        return F.cross_entropy(outputs.scores, goal) + total

    def metrics(self, outputs: BoxScores, targets: list[Tensor]) -> dict[str, float]:
        """Mean over the labels that occur of the average precision at IoU 0.5, and the loss.

        A task without any gold box counts 1 where nothing was found, else 0.
        """
        found = self.decode(outputs, least=_LEAST).boxes
        present = sorted({int(c) for gold in targets for c in gold[:, 4].tolist()})
        each = [self._precision(found, targets, c) for c in present]
        empty = 0.0 if any(found) else 1.0
        ap = sum(each) / len(each) if each else empty
        return {"ap50": ap, "loss": float(self.loss(outputs, targets))}

    def _precision(self, found: list[list[Box]], targets: list[Tensor], index: int) -> float:
        """Average precision of one label: a box is right when its best gold box overlaps by 0.5 and is free."""
        gold = [rows[rows[:, 4] == index][:, :4] for rows in targets]
        free = [[True] * len(rows) for rows in gold]
        mine = [(b, n) for n, boxes in enumerate(found) for b in boxes if b.label == self.labels[index]]
        hits: list[bool] = []
        for box, n in sorted(mine, key=lambda pair: -pair[0].probability):
            overlap = iou(torch.tensor([box[:4]], dtype=gold[n].dtype), gold[n].cpu())[0]
            best = int(overlap.argmax()) if len(overlap) else 0
            hits.append(len(overlap) > 0 and float(overlap[best]) >= 0.5 and free[n][best])
            if hits[-1]:
                free[n][best] = False
        return average_precision(hits, sum(map(len, gold)))

    def decode(
        self, outputs: BoxScores, *, temperature: float = 1.0, least: float = 0.5, **_: Any
    ) -> BoxPrediction:
        """Per label the boxes of probability `least` or more, without those that overlap a surer one by 0.5."""
        chance = torch.softmax(outputs.scores.double() / temperature, 1)[:, 1:]
        found: list[list[Box]] = [[] for _ in range(outputs.images)]
        for n in range(outputs.images):
            for c, label in enumerate(self.labels):
                own = ((outputs.image == n) & (chance[:, c] >= least)).nonzero().flatten()
                kept = own[keep_best(outputs.boxes[own], chance[own, c], 0.5)]
                rows = zip(outputs.boxes[kept].tolist(), chance[kept, c].tolist(), strict=True)
                found[n] += [Box(a, b, x, y, label, sure) for (a, b, x, y), sure in rows]
        return BoxPrediction([sorted(boxes, key=lambda b: -b.probability) for boxes in found])

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": list(self.labels)}


def _distance(boxes: Float[Tensor, "n 4"], gold: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """Mean absolute distance of the four sides, in units of the gold box's width and height, [n, m]."""
    unit = (gold[:, 2:] - gold[:, :2]).repeat(1, 2)
    return ((boxes[:, None] - gold[None]).abs() / unit).mean(-1)
