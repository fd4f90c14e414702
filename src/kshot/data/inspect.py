"""What data are, what is wrong with them, and which tasks can be made from them: `kshot check DATA`."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from torch import Tensor

from kshot.data.arrays import npz
from kshot.data.findings import SHOWN, Findings, Verdict
from kshot.data.folder import Pictures, folder
from kshot.data.pool import Lazy, Pool, part_sizes
from kshot.data.tables import csv, jsonl
from kshot.encoders.pictures import open_picture, picture_tensor
from kshot.errors import DataError, TaskError
from kshot.tasks import NWayKShot

SHARES = (0.6, 0.2, 0.2)
"""Shares of the classes that training, validation and test get when nothing else is said."""

_GRID = ((2, 1), (5, 1), (5, 5), (10, 1), (20, 1), (20, 5))
_QUERIES = 15


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
        verdicts=[_verdict(pool, ways, shots) for ways, shots in _GRID],
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
    return dict(Counter(values).most_common(SHOWN))


def _verdict(pool: Pool, ways: int, shots: int) -> Verdict:
    try:
        NWayKShot(ways, shots, _QUERIES).check(pool.sizes, pool.names)
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
    """Classes of each part, as `Pool.split` makes them."""
    return dict(zip(("train", "validation", "test"), part_sizes(classes, SHARES), strict=True))
