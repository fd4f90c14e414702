"""Boxes: rectangles in a picture with a label, as in object detection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import DataError
from kshot.tasks.spaces.classes import Label
from kshot.tasks.spaces.geometry import average_precision, generalised_iou, iou, keep_best, match
from kshot.tasks.spaces.pieces import Picked, Pieces
from kshot.tasks.spaces.space import register_space

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_LEAST = 0.01
"""Detections below this probability do not enter the average precision: they only cost time."""


_NEAR = 0.2
"""Overlap from which an unknown box is taken for another view of what is there already."""


class BoxScores(NamedTuple):
    """m candidate boxes of n pictures with class scores (logits).

    Attributes:
        image: [m] the picture of each candidate, 0..n-1.
        boxes: [m, 4] left, top, right, bottom in pixels.
        scores: [m, 1 + labels]; column 0 is background.
        images: n.
        unknown: [m] log-probability of being an object of no known class; None where nobody knows.
    """

    image: Int[Tensor, " m"]
    boxes: Float[Tensor, "m 4"]
    scores: Float[Tensor, "m scores"]
    images: int
    unknown: Float[Tensor, " m"] | None = None


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
    """Answers for n pictures.

    Attributes:
        boxes: for each picture its boxes, the surest first.
        unknown: for each what looks like an object, but like none of the taught classes; its label is the best
            guess, its probability that of being unknown.
    """

    boxes: list[list[Box]]
    unknown: list[list[Box]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def pieces(self) -> list[list[Box]]:
        """`boxes`, by the name that all located answers share."""
        return self.boxes

    def to_json(self) -> list[dict[str, Any]]:
        """One JSON object per picture."""
        refused = self.unknown or [[] for _ in self.boxes]
        return [
            {"boxes": [box._asdict() for box in found], "unknown": [box._asdict() for box in others]}
            for found, others in zip(self.boxes, refused, strict=True)
        ]


@register_space
@dataclass(frozen=True)
class Boxes(Pieces):
    """Boxes (left, top, right, bottom, label) in pixels, any number a picture; outputs are `BoxScores`.

    A box with the label None is some other object: it counts neither as wanted nor as found. A box that is given twice
    counts once; with two labels it is a DataError, since one thing has one label.

    >>> Boxes(("cell",)).encode([[(0, 0, 10, 20, "cell")]])
    [tensor([[ 0.,  0., 10., 20.,  0.]])]
    """

    kind: ClassVar[str] = "boxes"
    metric: ClassVar[str] = "ap50"

    def rows(self, pieces: list[Sequence[Any]]) -> Float[Tensor, "boxes 5"]:
        for box in pieces:
            if len(box) != 5:
                raise DataError(
                    f"box {tuple(box)} has {len(box)} values; give (left, top, right, bottom, label)"
                )
            _check_sides(*box)
        pieces = _each_once(pieces)
        indices = self.places([box[4] for box in pieces])
        rows = [[*map(float, box[:4]), c] for box, c in zip(pieces, indices, strict=True)]
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
            gold = gold[gold[:, 4] >= 0]
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
        present = sorted({int(c) for gold in targets for c in gold[:, 4].tolist() if c >= 0})
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

    def pick(
        self, outputs: BoxScores, *, temperature: float = 1.0, least: float = 0.5, **_: Any
    ) -> list[list[Picked]]:
        """Per label the boxes of probability `least` or more, without those that overlap a surer one by 0.5;
        then the unknown ones that hardly overlap these."""
        chance = torch.softmax(outputs.scores.double() / temperature, 1)[:, 1:]
        refused = None if outputs.unknown is None else outputs.unknown.double().exp()
        found = []
        for n in range(outputs.images):
            mine, here = outputs.image == n, []
            for c in range(len(self.labels)):
                own = (mine & (chance[:, c] >= least)).nonzero().flatten()
                kept = own[keep_best(outputs.boxes[own], chance[own, c], 0.5)]
                sure = chance[kept, c].tolist()
                here += [Picked(row, c + 1, p) for row, p in zip(kept.tolist(), sure, strict=True)]
            here.sort(key=lambda one: -one.probability)
            found.append(here + ([] if refused is None else _strangers(outputs, mine, refused, here)))
        return found

    def piece(self, outputs: BoxScores, picked: Picked) -> Box:
        best = picked.column or int(outputs.scores[picked.row, 1:].argmax()) + 1
        left, top, right, bottom = outputs.boxes[picked.row].tolist()
        return Box(left, top, right, bottom, self.labels[best - 1], picked.probability)

    def decode(
        self, outputs: BoxScores, *, temperature: float = 1.0, least: float = 0.5, **_: Any
    ) -> BoxPrediction:
        """The boxes of probability `least` or more, and what is refused: see `pick`."""
        picked = self.pick(outputs, temperature=temperature, least=least)
        boxes = [[self.piece(outputs, one) for one in here if one.column] for here in picked]
        return BoxPrediction(
            boxes, [[self.piece(outputs, one) for one in here if not one.column] for here in picked]
        )

    def met(self, wanted: Sequence[Sequence[Any]], given: Sequence[Any]) -> int:
        """How many are met by a box of their label with an overlap (IoU) of 0.5 or more, each by one of its own."""
        if not wanted or not given:
            return 0
        overlap = iou(
            *(torch.tensor([list(map(float, box[:4])) for box in boxes]) for boxes in (wanted, given))
        )
        alike = torch.tensor([[box[4] == other[4] for other in given] for box in wanted])
        hits = (overlap * alike >= 0.5).double()
        return int(hits[match(-hits)].sum())


def _check_sides(left: Any, top: Any, right: Any, bottom: Any, label: Any) -> None:
    told = f"box ({left}, {top}, {right}, {bottom}, {label!r})"
    try:
        finite = all(math.isfinite(side) for side in (left, top, right, bottom))
    except TypeError:
        raise DataError(f"{told}: a side is no number; give left, top, right, bottom in pixels") from None
    if not finite:
        raise DataError(f"{told}: a side is NaN or infinite; give left, top, right, bottom in pixels")
    if not (left < right and top < bottom):
        raise DataError(
            f"{told} has no area; give left < right and top < bottom, in pixels: corners in another order, or "
            "width and height in place of right and bottom?"
        )


def _each_once(boxes: list[Sequence[Any]]) -> list[Sequence[Any]]:
    """Boxes of one picture without repetition. Raises DataError where one has two labels."""
    seen: dict[tuple[float, ...], Sequence[Any]] = {}
    for box in boxes:
        first = seen.setdefault(tuple(map(float, box[:4])), box)
        if first[4] != box[4]:
            raise DataError(
                f"box ({', '.join(f'{side:g}' for side in box[:4])}) is marked twice, as {first[4]!r} and as {box[4]!r}; "
                "one thing has one label: keep one of them"
            )
    return list(seen.values())


def _strangers(outputs: BoxScores, mine: Tensor, refused: Tensor, known: list[Picked]) -> list[Picked]:
    """Candidates that are sooner an unknown object than anything else and hardly overlap a known one."""
    own = (mine & (refused >= 0.5)).nonzero().flatten()
    if known and len(own):
        taken = outputs.boxes[[one.row for one in known]]
        own = own[(iou(outputs.boxes[own], taken) <= _NEAR).all(1)]
    kept = own[keep_best(outputs.boxes[own], refused[own], _NEAR)]
    return [Picked(row, 0, p) for row, p in zip(kept.tolist(), refused[kept].tolist(), strict=True)]


def _distance(boxes: Float[Tensor, "n 4"], gold: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """Mean absolute distance of the four sides, in units of the gold box's width and height, [n, m]."""
    unit = (gold[:, 2:] - gold[:, :2]).repeat(1, 2)
    return ((boxes[:, None] - gold[None]).abs() / unit).mean(-1)
