"""Spans: pieces of a text with a label, as in named entity recognition."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import DataError
from kshot.tasks.spaces.classes import Label
from kshot.tasks.spaces.pieces import Picked, Pieces
from kshot.tasks.spaces.space import register_space

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class SpanScores(NamedTuple):
    """m candidate spans of n texts with class scores (logits).

    Attributes:
        text: [m] the text of each candidate, 0..n-1. start, end: [m] character places, end exclusive.
        scores: [m, 1 + labels]; column 0 is "outside": no entity.
        texts: n.
        unknown: [m] log-probability of being an entity of no known class; None where nobody knows.
    """

    text: Int[Tensor, " m"]
    start: Int[Tensor, " m"]
    end: Int[Tensor, " m"]
    scores: Float[Tensor, "m scores"]
    texts: int
    unknown: Float[Tensor, " m"] | None = None


class Span(NamedTuple):
    """One found entity: `text[start:end]` is a `label`."""

    start: int
    end: int
    label: Label
    probability: float


@dataclass(frozen=True)
class SpanPrediction:
    """Answers for n texts.

    Attributes:
        spans: for each text its spans, in reading order, none overlapping.
        unknown: for each what looks like an entity, but like none of the taught classes; its label is the best
            guess, its probability that of being unknown.
    """

    spans: list[list[Span]]
    unknown: list[list[Span]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def pieces(self) -> list[list[Span]]:
        """`spans`, by the name that all located answers share."""
        return self.spans

    def to_json(self) -> list[dict[str, Any]]:
        """One JSON object per text."""
        refused = self.unknown or [[] for _ in self.spans]
        return [
            {"spans": [span._asdict() for span in found], "unknown": [span._asdict() for span in others]}
            for found, others in zip(self.spans, refused, strict=True)
        ]


@register_space
@dataclass(frozen=True)
class Spans(Pieces):
    """Character spans (start, end, label), any number a text; outputs are `SpanScores`.

    A gold span that is not among the candidates adds nothing to the loss; it counts as missed in the F1.
    A span with the label None is some other entity: it counts neither as wanted nor as found.

    >>> Spans(("person", "place")).encode([[(0, 4, "place")], []])
    [tensor([[0, 4, 1]]), tensor([], size=(0, 3), dtype=torch.int64)]
    """

    kind: ClassVar[str] = "spans"
    metric: ClassVar[str] = "f1"

    def rows(self, pieces: list[Sequence[Any]]) -> Int[Tensor, "spans 3"]:
        for span in pieces:
            if len(span) != 3:
                raise DataError(f"span {tuple(span)} has {len(span)} values; give (start, end, label)")
            start, end, label = span
            if not (_whole(start) and _whole(end)) or not 0 <= start < end:
                raise DataError(
                    f"span ({start}, {end}, {label!r}) is empty or begins before the text; "
                    "give whole numbers 0 <= start < end, end exclusive"
                )
        indices = self.places([label for _, _, label in pieces])
        rows = [[int(s), int(e), c] for (s, e, _), c in zip(pieces, indices, strict=True)]
        return torch.tensor(rows, dtype=torch.long).reshape(-1, 3)

    def loss(self, outputs: SpanScores, targets: list[Tensor]) -> Float[Tensor, ""]:
        """Cross entropy over all candidates; those that are no gold span should be "outside"."""
        gold = {(n, *row[:2]): max(row[2] + 1, 0) for n, rows in enumerate(targets) for row in rows.tolist()}
        goal = [gold.get(place, 0) for place in _places(outputs)]
        return F.cross_entropy(outputs.scores, torch.tensor(goal, device=outputs.scores.device))

    def metrics(self, outputs: SpanScores, targets: list[Tensor]) -> dict[str, float]:
        """Exact-match micro F1 (boundaries and label), its parts, and the counts to pool F1 over tasks.

        A task with nothing to find in which nothing was found has an F1 of 1.
        """
        found = {
            (n, s.start, s.end, s.label) for n, spans in enumerate(self.decode(outputs).spans) for s in spans
        }
        gold = {
            (n, s, e, self.labels[c]) for n, rows in enumerate(targets) for s, e, c in rows.tolist() if c >= 0
        }
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

    def pick(self, outputs: SpanScores, *, temperature: float = 1.0, **_: Any) -> list[list[Picked]]:
        """Candidates that are sooner one of the classes than none, the surest of that first, each without overlap with
        those before it; its label is the likeliest. Then unknown ones likewise, behind."""
        chances = torch.softmax(outputs.scores.double() / temperature, 1)
        probability, best = chances[:, 1:].max(1)
        refused = torch.zeros_like(probability) if outputs.unknown is None else outputs.unknown.double().exp()
        known = chances[:, 0] < 0.5
        sure = torch.where(known, 2 - chances[:, 0], torch.where(refused >= 0.5, refused, 0.0))
        order = sure.argsort(descending=True, stable=True)[: int((sure > 0).sum())].tolist()
        text, start, end = outputs.text.tolist(), outputs.start.tolist(), outputs.end.tolist()
        taken = [Free() for _ in range(outputs.texts)]
        found = [list[Picked]() for _ in range(outputs.texts)]
        for i in order:
            if taken[text[i]].take(start[i], end[i]):
                chance = float(probability[i] if known[i] else refused[i])
                found[text[i]].append(Picked(i, int(best[i]) + 1 if known[i] else 0, chance))
        return [sorted(here, key=lambda one: (not one.column, start[one.row])) for here in found]

    def verdict(self, chances: Tensor) -> Tensor:
        """0 where a candidate is no sooner one of the classes than none, else the column of the likeliest."""
        return torch.where(chances[..., 0] < 0.5, chances[..., 1:].argmax(-1) + 1, 0)

    def piece(self, outputs: SpanScores, picked: Picked) -> Span:
        best = picked.column or int(outputs.scores[picked.row, 1:].argmax()) + 1
        start, end = int(outputs.start[picked.row]), int(outputs.end[picked.row])
        return Span(start, end, self.labels[best - 1], picked.probability)

    def decode(self, outputs: SpanScores, *, temperature: float = 1.0, **_: Any) -> SpanPrediction:
        """The spans that are sooner one of the classes than not, and what is refused: see `pick`."""
        picked = self.pick(outputs, temperature=temperature)
        spans = [[self.piece(outputs, one) for one in here if one.column] for here in picked]
        return SpanPrediction(
            spans, [[self.piece(outputs, one) for one in here if not one.column] for here in picked]
        )

    def met(self, wanted: Sequence[Sequence[Any]], given: Sequence[Any]) -> int:
        """How many are there with the same ends and label."""
        return len({tuple(span[:3]) for span in wanted} & {tuple(span[:3]) for span in given})


class Free:
    """Places of a text that no span has taken; asking costs a logarithm of their number."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def take(self, start: int, end: int) -> bool:
        """Take a place; False where a span taken before overlaps it."""
        at = bisect_right(self.ends, start)
        if at < len(self.starts) and self.starts[at] < end:
            return False
        self.starts.insert(at, start)
        self.ends.insert(at, end)
        return True


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _places(outputs: SpanScores) -> list[tuple[int, int, int]]:
    return list(zip(outputs.text.tolist(), outputs.start.tolist(), outputs.end.tolist(), strict=True))
