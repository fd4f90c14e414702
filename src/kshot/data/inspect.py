"""What data are, what is wrong with them, and which tasks can be made from them: `kshot check DATA`."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from torch import Tensor

from kshot.data.arrays import npz
from kshot.data.folder import Pictures, folder
from kshot.data.pool import Lazy, Pool
from kshot.data.tables import csv, jsonl
from kshot.encoders.pictures import open_picture, picture_tensor
from kshot.errors import DataError, TaskError
from kshot.tasks import NWayKShot

SHARES = (0.6, 0.2, 0.2)
"""Shares of the classes that training, validation and test get when nothing else is said."""

_GRID = ((2, 1), (5, 1), (5, 5), (10, 1), (20, 1), (20, 5))
_QUERIES = 15
_SHOWN = 10


@dataclass(frozen=True)
class Verdict:
    """Whether tasks of this form can be made from all classes, and why not."""

    ways: int
    shots: int
    queries: int
    possible: bool
    why: str = ""


@dataclass(frozen=True)
class Findings:
    """What `inspect` found.

    Attributes:
        kind: images, texts, rows or other. examples, classes: how many.
        per_class: smallest, median and largest number of examples of a class.
        smallest: the smallest classes, with their sizes.
        sizes: "width x height" of images (or the shape of rows), and how many have it. modes: likewise.
        unreadable: file and reason. duplicates: groups of equal inputs of one class.
        contradictions: equal inputs with different labels: (places or files, their labels).
        verdicts: usual tasks, possible or not. works: settings that can be made, {} if none.
        splits: classes of training, validation and test when split, and the most ways each allows.
    """

    name: str
    kind: str
    examples: int
    classes: int
    per_class: Mapping[str, float]
    smallest: Mapping[str, int]
    sizes: Mapping[str, int] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    duplicates: Sequence[Sequence[str]] = ()
    contradictions: Sequence[tuple[Sequence[str], Sequence[str]]] = ()
    verdicts: Sequence[Verdict] = ()
    works: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, int] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Some task can be made, every file can be read, and no label contradicts another."""
        return bool(self.works) and not self.unreadable and not self.contradictions

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, with `usable`."""
        return {**asdict(self), "usable": self.usable}

    def __str__(self) -> str:
        return "\n".join([*self._what(), *self._wrong(), *self._settings()])

    def _what(self) -> list[str]:
        few, middle, many = (f"{self.per_class[k]:g}" for k in ("min", "median", "max"))
        lines = [
            f"{self.name or 'data'}: {self.examples} {self.kind} in {self.classes} classes, "
            f"{few} to {many} a class (median {middle})"
        ]
        if self.sizes:
            lines.append(
                f"sizes: {_counts(self.sizes)}" + (f"; modes: {_counts(self.modes)}" if self.modes else "")
            )
        return lines

    def _wrong(self) -> list[str]:
        lines = []
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} files cannot be read:")
            lines += [f"  {why}" for why in list(self.unreadable.values())[:_SHOWN]]
        if self.contradictions:
            lines.append(
                f"{len(self.contradictions)} inputs occur with different labels; keep one label each:"
            )
            lines += [f"  {', '.join(p)}: {', '.join(labels)}" for p, labels in self.contradictions[:_SHOWN]]
        if self.duplicates:
            extra = sum(len(group) - 1 for group in self.duplicates)
            lines.append(
                f"{extra} inputs repeat another of their class (support and query may then share one):"
            )
            lines += [f"  {', '.join(group[:4])}" for group in self.duplicates[:_SHOWN]]
        return lines

    def _settings(self) -> list[str]:
        lines = [
            f"{v.ways}-way {v.shots}-shot, {v.queries} queries: "
            + ("possible" if v.possible else f"impossible: {v.why}")
            for v in self.verdicts
        ]
        if self.splits:
            parts = ", ".join(f"{name} {count}" for name, count in self.splits.items())
            few = min(self.splits.values()) < 2
            lines.append(
                f"classes when split: {parts}; "
                + (
                    "too few to train on some and judge on others: adapt a ready base instead"
                    if few
                    else "no part can have more ways than classes"
                )
            )
        works = ", ".join(f"{name}={value}" for name, value in self.works.items())
        return [
            *lines,
            f"settings that work: {works}" if works else "no setting works: add classes or examples",
        ]


def inspect(data: Pool | str | os.PathLike[str], **columns: Any) -> Findings:
    """Look at every example of a pool, or of a folder, .csv, .tsv, .jsonl or .npz file.

    Args:
        columns: for files, as `data.csv` and its like take them (input=, label=).

    Raises:
        DataError: the data cannot be opened at all. Single unreadable files are findings.

    >>> import torch
    >>> found = inspect(Pool(torch.eye(12), [i // 2 for i in range(12)]))
    >>> found.works, found.verdicts[0].possible
    ({'ways': 5, 'shots': 1, 'queries': 1}, False)
    """
    pool = data if isinstance(data, Pool) else read(data, **columns)
    seen = _look(pool)
    sizes = pool.sizes
    order = sorted(range(len(sizes)), key=lambda c: sizes[c])[:5]
    duplicates, contradictions = _repeats(pool, seen)
    return Findings(
        name=pool.name,
        kind=kind_of(pool.inputs),
        examples=len(pool),
        classes=len(sizes),
        per_class={"min": min(sizes), "median": float(median(sizes)), "max": max(sizes)},
        smallest={str(pool.classes[c]): sizes[c] for c in order},
        sizes=_common(s.size for s in seen if s.size),
        modes=_common(s.mode for s in seen if s.mode),
        unreadable={s.place: s.problem for s in seen if s.problem},
        duplicates=duplicates,
        contradictions=contradictions,
        verdicts=[_verdict(sizes, ways, shots) for ways, shots in _GRID],
        works=_works(sizes),
        splits=_splits(len(sizes)),
    )


def read(path: str | os.PathLike[str], **columns: Any) -> Pool:
    """A pool from a path of any kind: a folder of class folders, .csv, .tsv, .jsonl (.gz) or .npz.

    Raises:
        DataError: nothing is there, or its kind is not known.
    """
    file = Path(path)
    if not file.exists():
        raise DataError(f"{file} does not exist; check the path")
    if file.is_dir():
        return folder(file, **columns)
    readers: dict[str, Callable[..., Pool]] = {".csv": csv, ".tsv": csv, ".jsonl": jsonl, ".npz": npz}
    for suffix in reversed(file.suffixes):
        if suffix.lower() in readers:
            return readers[suffix.lower()](file, **columns)
    raise DataError(
        f"{file.name} is of no known kind; give a folder of class folders, or one of {', '.join(readers)}"
    )


@dataclass(frozen=True)
class _Seen:
    place: str
    size: str = ""
    mode: str = ""
    digest: str = ""
    problem: str = ""


def _look(pool: Pool) -> list[_Seen]:
    """Every example once, read by threads so that a slow disk does not wait for the processor."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(lambda place: _one(pool.inputs, place), range(len(pool))))


def _one(inputs: Any, place: int) -> _Seen:
    while isinstance(inputs, Lazy):
        inputs, place = inputs.base, inputs.places[place]
    if isinstance(inputs, Pictures):
        return _picture(inputs.paths[place])
    try:
        return _value(inputs[place], str(place))
    except (DataError, OSError, ValueError) as cause:
        return _Seen(str(place), problem=f"example {place}: {cause}")


def _picture(path: str) -> _Seen:
    try:
        picture = open_picture(path, path)
        return _image(picture, path)
    except DataError as cause:
        return _Seen(path, problem=str(cause))


def _image(picture: Any, place: str) -> _Seen:
    pixels = picture_tensor(picture, place)
    return _Seen(
        place, f"{picture.width} x {picture.height}", picture.mode, _digest(pixels.contiguous().numpy())
    )


def _value(value: Any, place: str) -> _Seen:
    if hasattr(value, "convert"):
        return _image(value, place)
    if isinstance(value, Tensor | np.ndarray):
        array = np.ascontiguousarray(value)
        return _Seen(place, " x ".join(map(str, array.shape)), str(array.dtype), _digest(array))
    return _Seen(place, digest=hashlib.sha256(repr(value).encode()).hexdigest())


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()


def _repeats(pool: Pool, seen: list[_Seen]) -> tuple[list[list[str]], list[tuple[list[str], list[str]]]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(seen):
        if one.digest:
            groups[one.digest].append(place)
    same, clash = [], []
    for places in (p for p in groups.values() if len(p) > 1):
        labels = sorted({str(pool.classes[int(pool.targets[p])]) for p in places})
        names = [seen[p].place for p in places]
        if len(labels) > 1:
            clash.append((names, labels))
        else:
            same.append(names)
    return same, clash


def kind_of(inputs: Any) -> str:
    """What the inputs of a pool are: "images", "rows", "texts", or "examples" where nobody can tell.

    >>> import torch
    >>> kind_of(torch.zeros(4, 3)), kind_of(["hello"])
    ('rows', 'texts')
    """
    while isinstance(inputs, Lazy):
        inputs = inputs.base
    if isinstance(inputs, Tensor):
        return "images" if inputs.ndim > 2 else "rows"
    if isinstance(inputs, Pictures):
        return "images"
    try:
        first = inputs[0]
    except (DataError, OSError, ValueError):
        return "examples"
    if isinstance(first, Tensor | np.ndarray):
        return "images" if first.ndim > 1 else "rows"
    return "images" if hasattr(first, "convert") else "texts" if isinstance(first, str) else "examples"


def _common(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common(_SHOWN))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{value} ({count})" for value, count in counts.items())


def _verdict(sizes: list[int], ways: int, shots: int) -> Verdict:
    try:
        NWayKShot(ways, shots, _QUERIES).check(sizes)
    except TaskError as cause:
        return Verdict(ways, shots, _QUERIES, False, str(cause))
    return Verdict(ways, shots, _QUERIES, True)


def _works(sizes: list[int]) -> dict[str, int]:
    """At most 5 ways that every part of a split still has, 1 or 5 shots, and the queries that the smallest class
    leaves; of all classes where there are too few to split."""
    least, part = min(sizes), min(_splits(len(sizes)).values())
    if len(sizes) < 2 or least < 2:
        return {}
    shots = 5 if least >= 10 else 1
    ways = min(5, part if part >= 2 else len(sizes))
    return {"ways": ways, "shots": shots, "queries": min(_QUERIES, least - shots)}


def _splits(classes: int) -> dict[str, int]:
    """Classes of each part, as `Pool.split` rounds them."""
    edges = [round(classes * sum(SHARES[:k]) / sum(SHARES)) for k in range(len(SHARES) + 1)]
    return {name: edges[k + 1] - edges[k] for k, name in enumerate(("train", "validation", "test"))}
