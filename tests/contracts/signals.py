"""The smallest domain of located answers: runs of rows in sequences of unequal length. Shows what a domain brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot import bundles
from kshot.encoders import Encoder
from kshot.errors import DataError
from kshot.learners import Candidates, Localiser, register_localiser
from kshot.learners.localiser import Where
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Spans, SpanScores

LONGEST = 3


@bundles.register_encoder
class Steps(Encoder):
    """Sequences [length, inputs] to features [length, features], each step by itself."""

    kind: ClassVar[str] = "tests.steps"
    modality: ClassVar[str] = "signal"

    def __init__(self, inputs: int, features: int = 8) -> None:
        super().__init__()
        self.inputs, self.features = inputs, features
        self.layer = nn.Linear(inputs, features)

    def config(self) -> dict[str, Any]:
        return {"inputs": self.inputs, "features": self.features}

    def read(self, inputs: Any) -> list[Tensor]:
        found = [torch.as_tensor(item) for item in inputs]
        for item in found:
            if item.ndim != 2 or item.shape[1] != self.inputs or not bool(torch.isfinite(item).all()):
                raise DataError(
                    f"a signal has shape {tuple(item.shape)} or NaN; give finite [length, {self.inputs}]"
                )
        return found

    def prepare(self, inputs: list[Tensor]) -> Any:
        alike = len({item.shape for item in inputs}) == 1
        return torch.stack(inputs) if alike else inputs

    def profile(self, prepared: Any) -> Tensor:
        return torch.zeros(len(prepared), 1)  # signals differ too much for any to be unfamiliar

    def from_json(self, value: Any) -> Tensor:
        return self.read([value])[0]

    def forward(self, x: Any) -> Any:
        if isinstance(x, list):
            return [torch.tanh(self.layer(item)) for item in x]
        return torch.tanh(self.layer(x))


@register_localiser
class Runs(Localiser):
    """Every run of up to three steps is a candidate; with `shift` the support moves the objectness."""

    kind: ClassVar[str] = "tests.runs"
    space = Spans

    def __init__(self, features: int = 8, shift: bool = False) -> None:
        super().__init__()
        self.features, self.shift = features, shift
        self.judge = nn.Sequential(nn.Linear(3 * features, 12), nn.Tanh(), nn.Linear(12, 1))

    def config(self) -> dict[str, Any]:
        return {"features": self.features, "shift": self.shift}

    def locate(self, items: Sequence[Tensor], rows: Sequence[Tensor]) -> Where:
        if not self.shift:
            return {}
        counts = torch.stack(
            [item.new_tensor(float(len(own))) for item, own in zip(items, rows, strict=True)]
        )
        return {"shift": counts.mean() - 1}

    def propose(self, item: Tensor, where: Where) -> Candidates:
        places = [(a, b) for a in range(len(item)) for b in range(a + 1, min(a + LONGEST, len(item)) + 1)]
        spans = torch.tensor(places, device=item.device)
        return Candidates(
            spans, self._judged(item, spans) + where.get("shift", 0.0), self._means(item, spans)
        )

    def again(self, item: Tensor, candidates: Candidates, where: Where) -> Candidates:
        return candidates._replace(objectness=self._judged(item, candidates.places) + where.get("shift", 0.0))

    def _means(self, item: Tensor, spans: Tensor) -> Tensor:
        sums = torch.cat([item.new_zeros(1, item.shape[1]), item.cumsum(0)])
        low, high = spans[:, 0], spans[:, 1]
        return (sums[high] - sums[low]) / (high - low)[:, None]

    def _judged(self, item: Tensor, spans: Tensor) -> Tensor:
        edge = item.new_zeros(1, item.shape[1])
        wide = torch.cat([edge, item, edge])
        before, after = wide[spans[:, 0]], wide[spans[:, 1] + 1]
        judged: Tensor = self.judge(torch.cat([self._means(item, spans), before, after], 1))
        return judged[:, 0]

    def vectors(self, item: Tensor, rows: Tensor) -> Tensor:
        return self._means(item, rows[:, :2])

    def elsewhere(self, candidates: Candidates, rows: Tensor) -> Tensor:
        low, high = candidates.places[:, :1], candidates.places[:, 1:]
        return ~((low < rows[:, 1]) & (rows[:, 0] < high)).any(1)

    def outputs(self, found: Sequence[Candidates], scores: Tensor, unknown: Tensor) -> SpanScores:
        text = torch.cat([torch.full_like(one.places[:, 0], n) for n, one in enumerate(found)])
        places = torch.cat([one.places for one in found])
        return SpanScores(text, places[:, 0], places[:, 1], scores, len(found), unknown)

    def loss(self, items: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
        losses = []
        for item, own in zip(items, rows, strict=True):
            found = self.propose(item, {})
            goal = (found.places[:, None] == own[None, :, :2]).all(2).any(1)
            weight = item.new_tensor(8.0)  # most candidates are none
            losses.append(
                F.binary_cross_entropy_with_logits(found.objectness, goal.to(item), pos_weight=weight)
            )
        return torch.stack(losses).mean()


@dataclass(frozen=True)
class Signals:
    """Tasks of three kinds of runs in noise; targets are lists of (start, end, label)."""

    support: int = 4
    query: int = 3
    even: bool = False
    """All sequences of one length, so that they are one tensor."""

    def sample(self, generator: torch.Generator) -> Task:
        centres = torch.randn(3, 4, generator=generator) * 2
        parts = [
            [self._one(centres, n, generator) for n in range(count)] for count in (self.support, self.query)
        ]
        support, query = (Examples([x for x, _ in part], [y for _, y in part]) for part in parts)
        return Task(Spans((0, 1, 2)), support, query, name="signals")

    def _one(self, centres: Tensor, first: int, generator: torch.Generator) -> tuple[Tensor, list[Any]]:
        length = 8 if self.even else int(torch.randint(7, 10, (), generator=generator))
        signal = 0.1 * torch.randn(length, 4, generator=generator)
        runs = []
        for start, label in ((1, first % 3), (4, int(torch.randint(3, (), generator=generator)))):
            end = start + int(torch.randint(1, 3, (), generator=generator))
            signal[start:end] += centres[label]
            runs.append((start, end, label))
        return signal, runs
