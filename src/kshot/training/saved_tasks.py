"""Tasks gathered in use, a folder of saved .kshot files, as a source of training tasks."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kshot.bundles import SUFFIX, SavedExamples, saved_examples
from kshot.errors import DataError, SettingError, TaskError
from kshot.learners import Learner
from kshot.learners.records import fingerprint
from kshot.seeds import generator
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Classes

_FEWEST = 2
"""Examples that a class needs to be learned from and asked."""


@dataclass(frozen=True)
class SavedTasks:
    """Draws training tasks from the examples of saved tasks; their base is not needed.

    A drawn task is either one saved task, some of its examples as support and the rest as query, or, with the
    chance `mixed`, made of classes of several, which is harder and teaches more. Classes of the same label never
    meet in one drawn task, since they may be the same class. Classes with a single example are left out.

    Make one with `SavedTasks.read(folder)`.

    Args:
        tasks: what the files hold.
        mixed: share of drawn tasks that are made of classes of several saved tasks.
        ways: most classes in one drawn task. queries: most queries a class.

    >>> import tempfile, pathlib, torch, kshot
    >>> base = kshot.learners.ProtoNet(kshot.encoders.mlp(2, (4,)))
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for n in range(3):
    ...     task = base.adapt(torch.rand(6, 2), [f"{n}{label}" for label in "aaabbb"])
    ...     path = task.save(folder / f"{n}.kshot")
    >>> source = SavedTasks.read(folder, base=base)
    >>> drawn = source.sample(torch.Generator().manual_seed(0))
    >>> len(source.tasks), drawn.space.size
    (3, 2)
    """

    tasks: tuple[SavedExamples, ...] = field(repr=False)
    mixed: float = 0.0
    ways: int = 20
    queries: int = 5

    def __post_init__(self) -> None:
        if (
            isinstance(self.mixed, bool)
            or not isinstance(self.mixed, int | float)
            or not 0 <= self.mixed <= 1
        ):
            raise SettingError(f"mixed is {self.mixed!r}; it is a share between 0 and 1, for example 0.5")
        for name, least in (("ways", 2), ("queries", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SettingError(f"{name} is {value!r}; it is a whole number of at least {least}")
        usable = [task.path.name for task in self.tasks if len(_classes(task)) >= 2]
        if not usable:
            raise TaskError(
                f"0 of {len(self.tasks)} saved tasks have two classes with {_FEWEST} examples each; a class needs one "
                "to learn from and one to be asked: gather tasks with more examples"
            )

    @classmethod
    def read(
        cls,
        folder: str | os.PathLike[str],
        *,
        base: Learner | None = None,
        any_base: bool = False,
        **settings: Any,
    ) -> SavedTasks:
        """All .kshot tasks of a folder and its subfolders; bases that lie there are passed over.

        Args:
            base: what the tasks are to train. Tasks that take another kind of input, and, unless `any_base`, those of
                another base are an error.

        Raises:
            DataError: no folder, no task in it, tasks of another kind or of another base.
            BundleError: a file with the suffix .kshot that cannot be read.
        """
        root = Path(folder)
        if not root.is_dir():
            raise DataError(f"{root} is not a folder; give the folder that holds the saved tasks")
        files = sorted(path for path in root.rglob(f"*{SUFFIX}") if not path.name.startswith("."))
        found = [task for task in map(saved_examples, files) if task is not None]
        if not found:
            raise DataError(
                f"{root} holds 0 saved tasks ({len(files)} {SUFFIX} files in all); save tasks there: task.save(...)"
            )
        _trainable(found)
        if base is not None:
            _fit(found, base, any_base)
        return cls(tuple(found), **settings)

    def split(self, *shares: float, seed: int = 0, by_label: bool = True) -> list[SavedTasks]:
        """Parts of whole tasks that have no class in common, their sizes about in proportion to `shares`.

        Args:
            by_label: classes of the same label in two tasks are the same class. False: only tasks that share an
                example belong together, for labels that mean something else in every task ("yes", "1").

        Raises:
            SettingError: shares that are not above 0, or a part would be empty because too many tasks share classes.
        """
        if not shares or not all(0 < share < float("inf") for share in shares):
            raise SettingError(
                f"shares are {shares}; give one number above 0 for each part, for example 0.6, 0.2, 0.2"
            )
        groups = _groups(self.tasks, by_label)
        order = torch.randperm(len(groups), generator=generator(seed, "split", "tasks")).tolist()
        parts: list[list[int]] = [[] for _ in shares]
        for group in sorted((groups[k] for k in order), key=len, reverse=True):
            want = [len(part) / share for part, share in zip(parts, shares, strict=True)]
            parts[want.index(min(want))] += group
        if not all(parts):
            raise SettingError(
                f"{len(self.tasks)} tasks cannot be split {shares} into parts without a common class: they form "
                f"{len(groups)} groups that share classes; gather more tasks"
                + (
                    ", or set by_label=False if equal labels mean other things in every task"
                    if by_label
                    else ""
                )
            )
        return [replace(self, tasks=tuple(self.tasks[k] for k in sorted(part))) for part in parts]

    def sample(self, generator: torch.Generator) -> Task:
        mixed = float(torch.rand((), generator=generator)) < self.mixed
        chosen = self._mixture(generator) if mixed else self._one(generator)
        return self._task(chosen, generator)

    def _one(self, generator: torch.Generator) -> list[tuple[int, str, list[int]]]:
        """Classes of one saved task: its place, label, and places of examples."""
        able = [k for k, task in enumerate(self.tasks) if len(_classes(task)) >= 2]
        place = able[_below(len(able), generator)]
        classes = [(place, label, members) for label, members in _classes(self.tasks[place]).items()]
        return [classes[k] for k in _order(len(classes), generator)[: self.ways]]

    def _mixture(self, generator: torch.Generator) -> list[tuple[int, str, list[int]]]:
        """Classes of several saved tasks, no label twice."""
        every = [
            (k, label, own) for k, task in enumerate(self.tasks) for label, own in _classes(task).items()
        ]
        seen: dict[str, tuple[int, str, list[int]]] = {}
        for k in _order(len(every), generator):
            seen.setdefault(every[k][1], every[k])
        return list(seen.values())[: self.ways] if len(seen) >= 2 else self._one(generator)

    def _task(self, chosen: list[tuple[int, str, list[int]]], generator: torch.Generator) -> Task:
        """As many examples of each class: some to learn from, the rest to be asked."""
        size = min(len(members) for _, _, members in chosen)
        shots = 1 + _below(size - 1, generator)
        queries = min(size - shots, self.queries)
        support: list[tuple[int, int, str]] = []
        query: list[tuple[int, int, str]] = []
        for place, label, members in chosen:
            rows = [(place, members[k], label) for k in _order(len(members), generator)]
            support, query = support + rows[:shots], query + rows[shots : shots + queries]
        space = Classes(tuple(label for _, label, _ in chosen))
        return Task(
            space, self._examples(support), self._examples(query), name=self.tasks[chosen[0][0]].path.stem
        )

    def _examples(self, rows: list[tuple[int, int, str]]) -> Examples:
        items = [self.tasks[place].inputs[row] for place, row, _ in rows]
        alike = all(isinstance(i, Tensor) for i in items) and len({(i.shape, i.dtype) for i in items}) == 1
        return Examples(torch.stack(items) if alike else items, [label for _, _, label in rows])

    def identity(self) -> dict[str, Any]:
        """What a checkpoint knows this source by."""
        content = json.dumps([[task.digests, [str(t) for t in task.targets]] for task in self.tasks])
        return {
            "kind": "SavedTasks", "tasks": len(self.tasks), "mixed": self.mixed, "ways": self.ways,
            "queries": self.queries, "content": hashlib.sha256(content.encode()).hexdigest()[:16],
        }  # fmt: skip


def _classes(task: SavedExamples) -> dict[str, list[int]]:
    """Places of the examples of each class that has enough of them."""
    members: dict[str, list[int]] = {}
    for place, target in enumerate(task.targets):
        members.setdefault(str(target), []).append(place)
    return {label: own for label, own in members.items() if len(own) >= _FEWEST}


def _trainable(found: Sequence[SavedExamples]) -> None:
    """Only classes, and one kind of input."""
    others = [task for task in found if task.space.kind != Classes.kind]
    if others:
        raise DataError(
            f"{others[0].path} answers with {others[0].space.kind} ({len(others)} of {len(found)} tasks do so); a base "
            "learns on from tasks with classes: take the others out of the folder"
        )
    kinds = sorted({task.modality for task in found})
    if len(kinds) > 1:
        odd = next(task for task in found if task.modality != kinds[0])
        raise DataError(
            f"the tasks take {' and '.join(kinds)} inputs (for example {odd.path}); put each kind into a folder"
        )


def _fit(found: Sequence[SavedExamples], base: Learner, any_base: bool) -> None:
    wrong = [task for task in found if task.modality != base.encoder.modality]
    if wrong:
        raise DataError(
            f"{wrong[0].path} takes {wrong[0].modality} inputs, the base {base.encoder.modality} inputs; choose a base of "
            "the same kind"
        )
    own = fingerprint(base)
    strange = [] if any_base else [task for task in found if task.base != own]
    if strange:
        raise DataError(
            f"{strange[0].path} belongs to another base ({strange[0].base[:12]}, not {own[:12]}; {len(strange)} of "
            f"{len(found)} tasks do so); move them to this base first (task.rebase), or allow it with any_base=True"
        )


def _groups(tasks: Sequence[SavedExamples], by_label: bool) -> list[list[int]]:
    """Places of tasks that share a class, directly or through others, together."""
    root = list(range(len(tasks)))

    def top(place: int) -> int:
        while root[place] != place:
            place = root[place]
        return place

    owner: dict[str, int] = {}
    for place, task in enumerate(tasks):
        for mark in _marks(task, by_label):
            root[top(place)] = top(owner.setdefault(mark, place))
    groups: dict[int, list[int]] = {}
    for place in range(len(tasks)):
        groups.setdefault(top(place), []).append(place)
    return list(groups.values())


def _marks(task: SavedExamples, by_label: bool) -> Iterator[str]:
    yield from (f"example {digest}" for digest in task.digests)
    if by_label:
        yield from (f"label {target}" for target in task.targets)


def _order(count: int, generator: torch.Generator) -> list[int]:
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order


def _below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
