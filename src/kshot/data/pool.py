"""A pool of labelled examples, grouped by class: what tasks are drawn from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from kshot.errors import DataError, SettingError
from kshot.seeds import generator
from kshot.tasks.examples import take
from kshot.tasks.spaces import Classes


class Pool:
    """n inputs with n labels, grouped by class.

    Args:
        inputs: a tensor [n, ...], or any sequence indexed by whole numbers (lazy ones stay lazy).
        labels: n labels.
        name: for people.

    >>> pool = Pool(torch.zeros(6, 2), ["a", "a", "b", "b", "c", "c"])
    >>> pool.classes, pool.sizes
    (('a', 'b', 'c'), [2, 2, 2])
    """

    def __init__(self, inputs: Any, labels: Sequence[Any], name: str = "") -> None:
        if len(inputs) != len(labels):
            raise DataError(f"{len(inputs)} inputs came with {len(labels)} labels; give one label per input")
        if len(labels) == 0:
            raise DataError("the data hold 0 examples; tasks need classes with examples")
        self.inputs, self.name = inputs, name
        space = Classes.of(labels)
        self.classes = space.labels
        self.targets = space.encode(labels)
        order = torch.argsort(self.targets, stable=True)
        self.members: list[Tensor] = list(torch.split(order, torch.bincount(self.targets).tolist()))

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def sizes(self) -> list[int]:
        """Number of examples of each class."""
        return [len(m) for m in self.members]

    @cached_property
    def counts(self) -> Tensor:
        """`sizes` as a tensor [classes]."""
        return torch.tensor(self.sizes)

    @cached_property
    def names(self) -> list[str]:
        """`classes` for people."""
        return [str(label) for label in self.classes]

    @cached_property
    def table(self) -> Tensor:
        """Rows of the pool by class and place, [classes, largest class], padded with 0."""
        return torch.nn.utils.rnn.pad_sequence(self.members, batch_first=True)

    @property
    def in_memory(self) -> bool:
        """True where one index operation fetches many examples."""
        return isinstance(self.inputs, Tensor)

    def only(self, classes: Sequence[int], name: str | None = None) -> Pool:
        """The examples of the classes at these indices."""
        places = torch.cat([self.members[c] for c in classes]).tolist()
        labels = [self.classes[int(self.targets[p])] for p in places]
        inputs = take(self.inputs, places) if self.in_memory else Lazy(self.inputs, places)
        return Pool(inputs, labels, self.name if name is None else name)

    def split(self, *shares: float, seed: int = 0) -> list[Pool]:
        """Pools of disjoint classes, their sizes in proportion to `shares`, chosen by `seed`.

        Raises:
            SettingError: a part would be empty.
        """
        if not shares or not all(0 < share < math.inf for share in shares):
            raise SettingError(
                f"shares are {shares}; give one number above 0 for each part, for example 0.6, 0.2, 0.2"
            )
        count = len(self.classes)
        order = torch.randperm(count, generator=generator(seed, "split")).tolist()
        ends = list(itertools.accumulate(part_sizes(count, shares)))
        parts = [order[a:b] for a, b in itertools.pairwise([0, *ends])]
        if not all(parts):
            raise SettingError(
                f"{count} classes cannot be split {shares}: a part would be empty; add classes or change the shares"
            )
        return [self.only(sorted(part)) for part in parts]

    def split_by(self, *lists: Sequence[Any]) -> list[Pool]:
        """One pool per list of labels; the lists must be disjoint.

        Raises:
            DataError: a label that does not occur, or that stands in two lists.
        """
        index = {label: c for c, label in enumerate(self.classes)}
        seen: dict[Any, int] = {}
        for number, labels in enumerate(lists):
            if not len(labels):
                raise DataError(f"list {number} names no class; a split needs at least one")
            for label in labels:
                if label not in index:
                    raise DataError(
                        f"label {label!r} of list {number} is not in the data; check its spelling"
                    )
                if label in seen:
                    raise DataError(
                        f"label {label!r} is in lists {seen[label]} and {number}; splits share no class"
                    )
                seen[label] = number
        return [self.only([index[label] for label in labels]) for labels in lists]


def part_sizes(count: int, shares: Sequence[float]) -> list[int]:
    """How many of `count` come to each part, in proportion to `shares`; some may be 0.

    >>> part_sizes(8, (0.6, 0.2, 0.2))
    [5, 1, 2]
    """
    ends = [round(count * sum(shares[: k + 1]) / sum(shares)) for k in range(len(shares))]
    return [end - begin for begin, end in itertools.pairwise([0, *ends])]


class Lazy(Sequence[Any]):
    """A view of some places of a sequence; nothing is fetched before it is asked for."""

    def __init__(self, base: Sequence[Any], places: Sequence[int]) -> None:
        self.base, self.places = base, list(places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Lazy(self.base, self.places[place])
        return self.base[self.places[place]]


def rotations(pool: Pool) -> Pool:
    """Four classes from each: images turned by 0, 90, 180 and 270 degrees (Santoro et al. 2016).

    Images are square and in memory: [n, height, width] or [n, channels, height, width].
    """
    if not pool.in_memory or pool.inputs.ndim < 3:
        raise DataError("rotations need square images in memory; load the pool into a tensor first")
    turned = torch.cat([torch.rot90(pool.inputs, k, (-2, -1)) for k in range(4)])
    labels = [f"{pool.classes[int(t)]}@{90 * k}" for k in range(4) for t in pool.targets]
    return Pool(turned, labels, pool.name)
