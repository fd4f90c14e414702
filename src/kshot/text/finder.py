"""Where entities are, whatever they are called: a class-agnostic judge of spans that adapts to marked texts.

The judge scores every span by its ends, its inside and its neighbours, as in Zhong and Chen (2021), "A frustratingly
easy approach for entity and relation extraction"; that finding spans is learned apart from naming them is Ma et al.
(2022), "Decomposed meta-learning for few-shot named entity recognition". Here the finder adapts in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.encoders.sizes import whole
from kshot.learners import Candidates, Localiser, register_localiser
from kshot.learners.localiser import Where
from kshot.tasks.spaces import Spans, SpanScores
from kshot.text.left_out import Text, without_each_text
from kshot.text.marked import every_span, finding_vectors, marked_units, means, naming_vectors
from kshot.text.said import HARD, Seen, solve, weighed
from kshot.text.unit_features import BEGIN, SHAPE

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_BLOCK = 4096
"""Units judged at a time."""
_EACH, _ALWAYS = 2, 40
"""Spans that pass the judge for each unit and besides, before what the support says is asked."""
_LEAST = -2.0
"""Log-odds under which a span is no candidate."""
_LONGEST_EVER = 100
"""Units of the longest span that a support can teach."""
_REACH = 3
"""Units beyond a span that the judge looks at."""
_SHARE = 0.35
"""Of unmarked spans, in a step of meta-training."""
_LEAN = 0.9
"""Added to the log-odds: F1 wants a span that is a little less likely than not."""


@register_localiser
class SpanFinder(Localiser):
    """Judges spans of up to `longest` units, or as long as the longest that a support marks.

    Adapting is a formula: kernel ridge regression on what the support marks and on the likeliest of what it does not,
    over the judge's own opinion; then both are weighed by logistic regression on exact leave-one-out answers.

    Args:
        features: of a unit. width: of the judge's hidden layer. longest: units in a span that no support has shown.
    """

    kind: ClassVar[str] = "span_finder"
    space = Spans

    def __init__(self, features: int, width: int = 96, longest: int = 10) -> None:
        super().__init__()
        self.features, self.width = whole("features", features, 1), whole("width", width, 2)
        self.longest = whole("longest", longest, 1)
        self.norm = nn.LayerNorm(features)
        self.content, self.shape = nn.Linear(features, width), nn.Linear(SHAPE, width)
        self.context = nn.Conv1d(width, width, 3, padding=1)
        self.parts = nn.Linear(width, 5 * width, bias=False)  # first, last, mean, before, behind
        self.length = nn.Embedding(self.longest + 1, width)
        self.middle, self.last = nn.Linear(width, width), nn.Linear(width, 1)
        self.hide, self.drop = nn.Dropout(0.2), nn.Dropout(0.1)

    def config(self) -> dict[str, Any]:
        return {"features": self.features, "width": self.width, "longest": self.longest}

    def judge(self, item: Tensor, spans: Int[Tensor, "m 2"]) -> Float[Tensor, " m"]:
        """Log-odds that each span (first unit, the one behind the last) is an entity of any kind."""
        edged = F.pad(item, (0, 0, 1, 1))
        edge = torch.zeros(len(edged), 1, dtype=torch.bool, device=item.device)
        edge[0], edge[-1] = True, True
        return self._judged(self._units(edged, edge), spans + 1)

    def _units(self, edged: Tensor, edge: Tensor) -> Float[Tensor, "5 edged w"]:
        """The five parts of every unit; `edge` says which rows stand between texts."""
        x = self.content(self.hide(self.norm(edged[:, BEGIN:]))) + self.shape(edged[:, 2:BEGIN])
        x = x.masked_fill(edge, 0.0)
        x = x + F.gelu(self.context(x.T[None])[0].T)
        parts: Tensor = self.parts(x).unflatten(1, (5, self.width)).transpose(0, 1)
        return parts

    def _judged(self, parts: Float[Tensor, "5 edged w"], spans: Int[Tensor, "m 2"]) -> Float[Tensor, " m"]:
        first, last, mean, before, behind = parts
        i, j = spans[:, 0], spans[:, 1]
        z = first[i] + last[j - 1] + before[i - 1] + behind[j] + means(mean, i, j)
        z = self.drop(F.gelu(z + self.length((j - i).clamp(max=self.longest))))
        z = z + F.gelu(self.middle(z))
        found: Tensor = self.last(z)[:, 0]
        return found

    def locate(self, items: Sequence[Tensor], rows: Sequence[Tensor]) -> Where:
        """What the support says; in meta-training nothing, since the judge must do without it."""
        if self.training:
            return {}
        marked = [marked_units(item, own) for item, own in zip(items, rows, strict=True)]
        longest = self._longest(marked)
        if not longest:
            return {}
        parts = [self._told(item, own, longest)[0] for item, own in zip(items, marked, strict=True)]
        return {"longest": torch.tensor(longest), **solve(parts)}

    def _longest(self, marked: Sequence[Tensor]) -> int:
        """Units of the longest span that is looked at where these are marked; 0 where none is."""
        widest = max((int((own[:, 1] - own[:, 0]).max()) for own in marked if len(own)), default=0)
        return min(max(self.longest, widest), _LONGEST_EVER) if widest else 0

    def _told(self, item: Tensor, marked: Tensor, longest: int) -> tuple[Seen, Tensor]:
        """What one text tells, and its spans that are likely and not marked, in the order of their odds."""
        spans, odds = self.likeliest(item, longest)
        rest = torch.ones_like(spans[:, 0], dtype=torch.bool)
        if len(marked):
            rest = ~(spans[:, None] == marked[None]).all(2).any(1)
        spans, odds = spans[rest], odds[rest]
        order = odds.argsort(descending=True, stable=True)
        return Seen.of_text(item, marked, self.judge(item, marked), spans, odds), spans[order]

    def without_each(
        self, items: Sequence[Tensor], rows: Sequence[Tensor], count: int
    ) -> list[tuple[Where, list[Tensor]]]:
        marked = [marked_units(item, own) for item, own in zip(items, rows, strict=True)]
        longest = self._longest(marked)
        alike = all(self._longest([*marked[:n], *marked[n + 1 :]]) == longest for n in range(len(marked)))
        if self.training or not longest or not alike:
            return super().without_each(items, rows, count)
        told = [self._told(item, own, longest) for item, own in zip(items, marked, strict=True)]
        if max(len(others) for _, others in told) > HARD:
            return super().without_each(items, rows, count)
        texts = []
        for item, own, (seen, others) in zip(items, rows, told, strict=True):
            characters = torch.stack([item[others[:, 0], 0], item[others[:, 1] - 1, 1]], 1)
            texts.append(Text(seen, _apart(characters, own), naming_vectors(item, others)))
        found = without_each_text(texts, count, _LEAN, _LEAST)
        if found is None:
            return super().without_each(items, rows, count)
        return [({"longest": torch.tensor(longest), **where}, aside) for where, aside in found]

    def propose(self, item: Tensor, where: Where) -> Candidates:
        longest = int(where["longest"]) if where else self.longest
        spans, own = self.likeliest(item, longest)
        odds = self._adapted(item, spans, own, where)
        keep = odds > _LEAST
        spans = spans[keep]
        characters = torch.stack([item[spans[:, 0], 0], item[spans[:, 1] - 1, 1]], 1).long()
        return Candidates(torch.cat([spans, characters], 1), odds[keep], naming_vectors(item, spans))

    def again(self, item: Tensor, candidates: Candidates, where: Where) -> Candidates:
        spans = candidates.places[:, :2]
        odds = self._adapted(item, spans, self.judge(item, spans), where)
        return candidates._replace(objectness=odds)

    def likeliest(self, item: Tensor, longest: int) -> tuple[Int[Tensor, "m 2"], Float[Tensor, " m"]]:
        """The spans that pass the judge, and its log-odds; block by block, so that memory is bounded."""
        found = []
        for start in range(0, len(item), _BLOCK):
            low, high = max(start - _REACH, 0), min(start + _BLOCK + longest + _REACH, len(item))
            spans = every_span(high - low, longest, item.device)
            own = spans[:, 0] + low
            spans = spans[(own >= start) & (own < start + _BLOCK)]
            odds = self.judge(item[low:high], spans)
            most = min(len(odds), _EACH * min(_BLOCK, len(item) - start) + _ALWAYS)
            best = odds.topk(most).indices.sort().values
            found.append((spans[best] + low, odds[best]))
        if not found:
            return item.new_zeros(0, 2, dtype=torch.long), item.new_zeros(0)
        return torch.cat([spans for spans, _ in found]), torch.cat([odds for _, odds in found])

    def _adapted(self, item: Tensor, spans: Tensor, own: Tensor, where: Where) -> Tensor:
        """Log-odds after adapting; `own` are the judge's."""
        if not where:
            return own + _LEAN
        parts = [
            weighed(odds, finding_vectors(item, some), where) + _LEAN
            for some, odds in zip(torch.split(spans, _BLOCK), torch.split(own, _BLOCK), strict=True)
        ]
        return torch.cat(parts)

    def vectors(self, item: Tensor, rows: Tensor) -> Tensor:
        return naming_vectors(item, marked_units(item, rows))

    def aside(
        self, items: Sequence[Tensor], rows: Sequence[Tensor], where: Where, count: int
    ) -> list[Tensor]:
        """In meta-training only entities without a name teach what to refuse: candidates would cost most of a step."""
        return [] if self.training else super().aside(items, rows, where, count)

    def elsewhere(self, candidates: Candidates, rows: Tensor) -> Tensor:
        return _apart(candidates.places[:, 2:], rows)

    def outputs(self, found: Sequence[Candidates], scores: Tensor, unknown: Tensor) -> SpanScores:
        text = torch.cat([torch.full_like(one.places[:, 0], n) for n, one in enumerate(found)])
        places = torch.cat([one.places for one in found])
        return SpanScores(text, places[:, 2], places[:, 3], scores, len(found), unknown)

    def loss(self, items: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
        """Binary cross entropy over all spans, for each marked one; of the others a third, drawn anew in each step."""
        edged, edge, spans, goal = _together(items, rows, self.longest)
        share = _SHARE if self.training else 1.0
        keep = (
            goal | (torch.rand(len(goal), device=goal.device) < share)
            if self.training
            else torch.ones_like(goal)
        )
        spans, goal = spans[keep], goal[keep]
        odds = self._judged(self._units(edged, edge), spans)
        weight = torch.where(goal, 1.0, 1 / share)
        total = F.binary_cross_entropy_with_logits(odds, goal.to(odds), weight=weight, reduction="sum")
        return total / (int(goal.sum()) + 5)


def _apart(characters: Tensor, rows: Tensor) -> Tensor:
    """[m] booleans: spans of characters [m, 2] that touch none of the marked ones."""
    low, high = characters[:, :1], characters[:, 1:]
    return ~((low < rows[:, 1]) & (rows[:, 0] < high)).any(1)


def _together(
    items: Sequence[Tensor], rows: Sequence[Tensor], longest: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Texts in a row with an edge between them, where edges are, all spans, and which are marked."""
    edge_row = items[0].new_zeros(1, items[0].shape[1])
    pieces, edges, spans, goals, begin = [edge_row], [True], [], [], 1
    for item, own in zip(items, rows, strict=True):
        every, marked = every_span(len(item), longest, item.device), marked_units(item, own)
        code = marked[:, 0] * (len(item) + 1) + marked[:, 1]
        goals.append(torch.isin(every[:, 0] * (len(item) + 1) + every[:, 1], code))
        spans.append(every + begin)
        pieces += [item, edge_row]
        edges += [False] * len(item) + [True]
        begin += len(item) + 1
    return (
        torch.cat(pieces),
        torch.tensor(edges, device=edge_row.device).unsqueeze(1),
        torch.cat(spans),
        torch.cat(goals),
    )
