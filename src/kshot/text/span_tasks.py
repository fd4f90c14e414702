"""Tasks of marked texts: kinds of entities and a few texts that show each, for meta-training and evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from kshot.encoders import Encoder
from kshot.errors import DataError, SettingError
from kshot.tasks import Examples, Task
from kshot.tasks.examples import take
from kshot.tasks.spaces import Spans


class SpanTasks:
    """Tasks drawn from marked texts.

    The support of a task is drawn greedily, rarest kind first, until each has `shots` entities, then thinned: Yang and
    Katiyar (2020), "Simple and effective few-shot named entity recognition with structured nearest neighbor learning".

    Args:
        examples: texts, and for each a list of (start, end, label).
        kinds: kinds in a task, at least and at most; entities of others are entities without a name there.
            None: all kinds in every task.
        shots: entities of each kind, at least and at most. queries: texts to be judged on.
        encoder: encode each text once, now, and keep that, instead of the text whenever it is drawn.
        pool: texts that a task is drawn from, which bounds its cost; None: all.

    Raises:
        DataError: no text, or none with a label. SettingError: a range that is none.

    >>> texts = Examples(["Ada met Bob", "Bob left Bonn"], [[(0, 3, "who"), (8, 11, "who")], [(0, 3, "who"), (9, 13, "city")]])
    >>> task = SpanTasks(texts, kinds=None, shots=(1, 1), queries=1).sample(torch.Generator().manual_seed(0))
    >>> task.space.labels
    ('city', 'who')
    """

    def __init__(
        self,
        examples: Examples,
        *,
        kinds: tuple[int, int] | None = (1, 20),
        shots: tuple[int, int] = (1, 5),
        queries: int = 16,
        encoder: Encoder | None = None,
        pool: int | None = 400,
    ) -> None:
        self.targets = [[tuple(span) for span in spans] for spans in examples.targets]
        found = Counter(label for spans in self.targets for _, _, label in spans if label is not None)
        if not found:
            raise DataError(
                f"{len(examples)} texts have no span with a label; mark some, as (start, end, label)"
            )
        for name, value in (("kinds", kinds or (1, 1)), ("shots", shots)):
            if len(value) != 2 or not 1 <= value[0] <= value[1]:
                raise SettingError(f"{name} is {value}; give (at least, at most), both 1 or more")
        if queries < 1:
            raise SettingError(f"queries is {queries}; give 1 or more")
        self.labels = sorted(found, key=str)
        self.kinds, self.shots, self.queries, self.pool = kinds, shots, queries, pool
        self.texts = list(examples.inputs)
        self.inputs: list[Any] = (
            self.texts if encoder is None else list(encoder.prepare(encoder.read(self.texts)))
        )

    def sample(self, generator: torch.Generator) -> Task:
        count = len(self.texts)
        order = torch.randperm(count, generator=generator).tolist()
        order = self._with_a_label(order, self.pool or count)
        labels = self._some_kinds(order, generator)
        shots = _between(*self.shots, generator)
        support = greedy_support(self.targets, order, labels, shots)
        rest = [place for place in order if place not in set(support)]
        wanted = [place for place in rest if any(span[2] in labels for span in self.targets[place])]
        chosen = wanted[: (self.queries + 1) // 2]
        chosen += [place for place in rest if place not in set(chosen)][: self.queries - len(chosen)]
        return Task(
            Spans(tuple(labels)), self._take(support, labels), self._take(chosen, labels), name="spans"
        )

    def _with_a_label(self, order: list[int], most: int) -> list[int]:
        """The first `most` places, and beyond them as many as it takes to meet a text with a label."""
        while most < len(order) and not self._labels_in(order[:most]):
            most *= 2
        return order[:most]

    def _labels_in(self, places: Sequence[int]) -> list[Any]:
        seen = {span[2] for place in places for span in self.targets[place]}
        return [label for label in self.labels if label in seen]

    def _some_kinds(self, order: Sequence[int], generator: torch.Generator) -> list[Any]:
        known = self._labels_in(order)
        if self.kinds is None:
            return known
        low, high = (min(edge, len(known)) for edge in self.kinds)
        shuffled = torch.randperm(len(known), generator=generator).tolist()
        return sorted((known[place] for place in shuffled[: _between(low, high, generator)]), key=str)

    def _take(self, places: Sequence[int], labels: Sequence[str]) -> Examples:
        known = set(labels)
        targets = [
            [(s, e, label if label in known else None) for s, e, label in self.targets[p]] for p in places
        ]
        return Examples(take(self.inputs, places), targets)


def greedy_support(
    targets: Sequence[Sequence[Any]], order: Sequence[int], labels: Sequence[Any], shots: int
) -> list[int]:
    """Places of texts that show each label `shots` times, or as often as there is; few of them can be left out.

    Args:
        targets: spans of every text. order: places to choose from, in an order that was drawn.
    """
    own = {place: Counter(span[2] for span in targets[place] if span[2] in set(labels)) for place in order}
    total = sum(own.values(), Counter[Any]())
    have: Counter[Any] = Counter()
    chosen: list[int] = []
    for label in sorted(labels, key=lambda label: (total[label], str(label))):
        for place in order:
            if have[label] >= shots:
                break
            if own[place][label] and place not in chosen:
                chosen.append(place)
                have += own[place]
    for place in list(chosen):
        if all(have[label] - n >= min(shots, total[label]) for label, n in own[place].items()):
            chosen.remove(place)
            have -= own[place]
    return chosen


def _between(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))
