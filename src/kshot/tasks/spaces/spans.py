"""Spans: pieces of a text with a label, as in named entity recognition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import DataError
from kshot.tasks.spaces.classes import Classes, Label
from kshot.tasks.spaces.space import OutputSpace, register_space

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class SpanScores(NamedTuple):
    """m candidate spans of n texts with class scores (logits).

    Attributes:
        text: [m] the text of each candidate, 0..n-1. start, end: [m] character places, end exclusive.
        scores: [m, 1 + labels]; column 0 is "outside": no entity.
        texts: n.
    """

    text: Int[Tensor, " m"]
    start: Int[Tensor, " m"]
    end: Int[Tensor, " m"]
    scores: Float[Tensor, "m scores"]
    texts: int


class Span(NamedTuple):
    """One found entity: `text[start:end]` is a `label`."""

    start: int
    end: int
    label: Label
    probability: float


@dataclass(frozen=True)
class SpanPrediction:
    """Answers for n texts: for each its spans, in reading order, none overlapping."""

    spans: list[list[Span]]

    def __len__(self) -> int:
        return len(self.spans)

    def to_json(self) -> list[dict[str, Any]]:
        """One JSON object per text."""
        return [{"spans": [span._asdict() for span in found]} for found in self.spans]


@register_space
@dataclass(frozen=True)
class Spans(OutputSpace):
    """Character spans (start, end, label), any number a text; outputs are `SpanScores`.

    A gold span that is not among the candidates adds nothing to the loss; it counts as missed in the F1.

    >>> Spans(("person", "place")).encode([[(0, 4, "place")], []])
    [tensor([[0, 4, 1]]), tensor([], size=(0, 3), dtype=torch.int64)]
    """

    labels: tuple[Label, ...]
    kind: ClassVar[str] = "spans"
    metric: ClassVar[str] = "f1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", Classes(tuple(self.labels)).labels)

    @property
    def size(self) -> int:
        """Labels and "outside"."""
        return len(self.labels) + 1

    def encode(self, targets: Any) -> list[Tensor]:
        """n lists of (start, end, label) to n tensors [spans, 3] of start, end, place of the label."""
        classes = Classes(self.labels)
        return [self._rows(list(spans), classes) for spans in targets]

    def _rows(self, spans: list[Sequence[Any]], classes: Classes) -> Int[Tensor, "spans 3"]:
        for start, end, label in spans:
            if not 0 <= start < end:
                raise DataError(
                    f"span ({start}, {end}, {label!r}) is empty or begins before the text; "
                    "give 0 <= start < end, end exclusive"
                )
        indices = classes.encode([label for _, _, label in spans]).tolist()
        rows = [[s, e, c] for (s, e, _), c in zip(spans, indices, strict=True)]
        return torch.tensor(rows, dtype=torch.long).reshape(-1, 3)

    def loss(self, outputs: SpanScores, targets: list[Tensor]) -> Float[Tensor, ""]:
        """Cross entropy over all candidates; those that are no gold span should be "outside"."""
        gold = {(n, *row[:2]): row[2] + 1 for n, rows in enumerate(targets) for row in rows.tolist()}
        goal = [gold.get(place, 0) for place in _places(outputs)]
        return F.cross_entropy(outputs.scores, torch.tensor(goal, device=outputs.scores.device))

    def metrics(self, outputs: SpanScores, targets: list[Tensor]) -> dict[str, float]:
        """Exact-match micro F1 (boundaries and label), its parts, and the counts to pool F1 over tasks.

        A task with nothing to find in which nothing was found has an F1 of 1.
        """
        found = {
            (n, s.start, s.end, s.label) for n, spans in enumerate(self.decode(outputs).spans) for s in spans
        }
        gold = {(n, s, e, self.labels[c]) for n, rows in enumerate(targets) for s, e, c in rows.tolist()}
        right = len(found & gold)
        return {
            "f1": 2 * right / (len(found) + len(gold)) if found or gold else 1.0,
            "precision": right / len(found) if found else 1.0,
            "recall": right / len(gold) if gold else 1.0,
            "right": float(right),
            "found": float(len(found)),
            "gold": float(len(gold)),
            "loss": float(self.loss(outputs, targets)),
        }

    def decode(self, outputs: SpanScores, *, temperature: float = 1.0, **_: Any) -> SpanPrediction:
        """The surest candidate first, then every next one that overlaps none before it."""
        probability, best = torch.softmax(outputs.scores.double() / temperature, 1).max(1)
        order = probability.argsort(descending=True, stable=True).tolist()
        places, column, sure = _places(outputs), best.tolist(), probability.tolist()
        found: list[list[Span]] = [[] for _ in range(outputs.texts)]
        for i in order:
            text, start, end = places[i]
            clear = all(end <= other.start or other.end <= start for other in found[text])
            if column[i] and clear:
                found[text].append(Span(start, end, self.labels[column[i] - 1], sure[i]))
        return SpanPrediction([sorted(spans) for spans in found])

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": list(self.labels)}


def _places(outputs: SpanScores) -> list[tuple[int, int, int]]:
    return list(zip(outputs.text.tolist(), outputs.start.tolist(), outputs.end.tolist(), strict=True))
