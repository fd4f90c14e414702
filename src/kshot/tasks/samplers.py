"""Samplers: which examples make a task. They see class sizes only, never data.

A plan names, per class of the task, the places of its support and query examples inside that
class. Randomness is passed in, so a saved generator state resumes the very same sequence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kshot.errors import SettingError, TaskError


@dataclass(frozen=True)
class ClassDraw:
    """One class of a task: its index, and places of support and query examples inside it."""

    index: int
    support: tuple[int, ...]
    query: tuple[int, ...]


class Sampler(Protocol):
    """Draws the plan of one task from the sizes of the classes."""

    def draw(self, sizes: Sequence[int], generator: torch.Generator) -> list[ClassDraw]:
        """`sizes[c]` is the number of examples of class c."""
        ...


@dataclass(frozen=True)
class NWayKShot:
    """`ways` classes with `shots` support and `queries` query examples each (Vinyals et al. 2016).

    >>> plan = NWayKShot(2, 1, 3).draw([5, 5, 5], torch.Generator().manual_seed(0))
    >>> len(plan), len(plan[0].support), len(plan[0].query)
    (2, 1, 3)
    """

    ways: int = 5
    shots: int = 1
    queries: int = 15

    def __post_init__(self) -> None:
        _at_least("ways", self.ways, 2)
        _at_least("shots", self.shots, 1)
        _at_least("queries", self.queries, 0)

    def check(self, sizes: Sequence[int], names: Sequence[str] = ()) -> None:
        """Raise TaskError when classes of these `sizes` cannot make such a task; `names` of the classes, for people."""
        need = self.shots + self.queries
        short = [c for c, size in enumerate(sizes) if size < need]
        if short:
            least = min(short, key=lambda c: sizes[c])
            raise TaskError(
                f"class {repr(names[least]) if names else least} has {sizes[least]} examples ({len(short)} of "
                f"{len(sizes)} classes are too small); {self.shots} shots + {self.queries} queries need {need}: lower "
                "queries or shots, or leave out small classes"
            )
        if len(sizes) < self.ways:
            raise TaskError(
                f"{len(sizes)} classes; {self.ways}-way tasks need at least {self.ways}: "
                f"set ways={max(len(sizes), 2)} or add classes"
            )

    def draw(self, sizes: Sequence[int], generator: torch.Generator) -> list[ClassDraw]:
        self.check(sizes)
        return [
            ClassDraw(c, tuple(places[: self.shots]), tuple(places[self.shots :]))
            for c, places in self._places(sizes, generator)
        ]

    def _places(self, sizes: Sequence[int], generator: torch.Generator) -> list[tuple[int, list[int]]]:
        need = self.shots + self.queries
        chosen = torch.randperm(len(sizes), generator=generator)[: self.ways].tolist()
        return [(c, torch.randperm(sizes[c], generator=generator)[:need].tolist()) for c in chosen]

    def draw_batch(self, sizes: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` tasks at once: class indices [count, ways], places [count, ways, shots + queries].

        Ranks of random numbers are random permutations, so one `topk` replaces count x ways calls;
        places beyond a class's size get no chance.
        """
        smallest, largest = (int(size) for size in sizes.aminmax()) if len(sizes) else (0, 0)
        if len(sizes) < self.ways or smallest < self.shots + self.queries:
            self.check(sizes.tolist())
        noise = torch.rand(count, len(sizes), generator=generator)
        classes = noise.topk(self.ways, dim=1).indices
        keys = torch.rand(count, self.ways, largest, generator=generator)
        if smallest < largest:
            limit = sizes[classes].unsqueeze(-1)
            keys = keys.masked_fill(torch.arange(largest) >= limit, -1.0)
        return classes, keys.topk(self.shots + self.queries, dim=-1).indices


@dataclass(frozen=True)
class VariableWayShot:
    """Tasks of varying size and imbalance, in the manner of Meta-Dataset (Triantafillou et al. 2020).

    Ways are uniform in [min_ways, max_ways]. The query is balanced, with at most `max_queries` a
    class and at most half of the smallest class. The support size is random under `max_support`,
    spread over classes by their size times a random factor in 1/2 .. 2, at least one shot a class.
    Unlike there, `max_support_per_class` bounds a class's shots too, not only what it adds to the total.
    """

    min_ways: int = 5
    max_ways: int = 50
    max_queries: int = 10
    max_support: int = 500
    max_support_per_class: int = 100

    def __post_init__(self) -> None:
        _at_least("min_ways", self.min_ways, 2)
        _at_least("max_ways", self.max_ways, 2)
        _at_least("max_queries", self.max_queries, 1)
        _at_least("max_support", self.max_support, 2)
        _at_least("max_support_per_class", self.max_support_per_class, 1)
        if self.max_ways < self.min_ways:
            raise SettingError(f"max_ways is {self.max_ways}, min_ways {self.min_ways}; raise max_ways")
        if self.max_support < self.max_ways:
            raise SettingError(
                f"max_support is {self.max_support} with max_ways {self.max_ways}; every class needs a shot: "
                f"set max_support to at least {self.max_ways}"
            )

    def check(self, sizes: Sequence[int]) -> None:
        """Raise TaskError when classes of these `sizes` cannot make such a task."""
        usable = sum(size >= 2 for size in sizes)
        if usable < self.min_ways:
            raise TaskError(
                f"{usable} of {len(sizes)} classes have two examples or more; a task needs {self.min_ways}: "
                "lower min_ways or add examples"
            )

    def draw(self, sizes: Sequence[int], generator: torch.Generator) -> list[ClassDraw]:
        self.check(sizes)
        usable = [c for c, size in enumerate(sizes) if size >= 2]
        ways = _integer(self.min_ways, min(self.max_ways, len(usable)), generator)
        order = torch.randperm(len(usable), generator=generator)[:ways].tolist()
        chosen = [usable[i] for i in order]
        queries = min(self.max_queries, min(sizes[c] // 2 for c in chosen))
        shots = self._shots([sizes[c] - queries for c in chosen], generator)
        return [self._class(c, sizes[c], s, queries, generator) for c, s in zip(chosen, shots, strict=True)]

    def _shots(self, left: list[int], generator: torch.Generator) -> list[int]:
        """|S| = min(max_support, sum_c ceil(beta min(cap, n_c))), then |S_c| = floor(R_c (|S| - ways)) + 1."""
        beta = 1.0 - float(torch.rand((), generator=generator))  # in (0, 1]
        total = sum(math.ceil(beta * min(self.max_support_per_class, n)) for n in left)
        budget = min(self.max_support, total) - len(left)
        exponents = 2 * torch.rand(len(left), generator=generator, dtype=torch.float64) - 1
        weights = 2**exponents * torch.tensor(left, dtype=torch.float64)
        extra = (weights / weights.sum() * budget).floor().long().tolist()
        return [min(1 + e, n, self.max_support_per_class) for e, n in zip(extra, left, strict=True)]

    @staticmethod
    def _class(index: int, size: int, shots: int, queries: int, generator: torch.Generator) -> ClassDraw:
        places = torch.randperm(size, generator=generator)[: shots + queries].tolist()
        return ClassDraw(index, tuple(places[:shots]), tuple(places[shots:]))


def _integer(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))


def _at_least(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingError(f"{name} is {value!r}; it must be a whole number of at least {least}")
