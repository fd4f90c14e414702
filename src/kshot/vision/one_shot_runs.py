"""The official one-shot runs of Omniglot: 20 runs of 20-way one-shot within an alphabet.

Lake, Salakhutdinov, Tenenbaum (2015); people err 4.5 % of the time, the demo's modified Hausdorff
distance 38.8 %.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.encoders.pictures import read_picture
from kshot.errors import DataError
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Classes
from kshot.vision.omniglot import resized

RUNS = 20

Answer = Callable[[Examples, Tensor], Any]
"""Support, and query images [n, size, size], to n labels."""


class OneShotRuns:
    """The 20 runs as tasks, in order; images are uint8 [20, size, size], ink bright on black.

    Args:
        path: all_runs.zip, the folder it was unpacked to, or a folder that holds either.
        size: side in pixels; drawings are 105 x 105.

    Raises:
        DataError: not all 20 runs are there, or a file is damaged.
    """

    def __init__(self, path: str | Path, *, size: int = 105) -> None:
        files = _read(_locate(Path(path)))
        self.tasks = [_task(files, f"run{number:02d}", size) for number in range(1, RUNS + 1)]

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __getitem__(self, place: int) -> Task:
        return self.tasks[place]

    def sample(self, generator: torch.Generator) -> Task:
        """One of the runs."""
        return self.tasks[int(torch.randint(len(self.tasks), (), generator=generator))]

    def errors(self, answer: Answer) -> list[float]:
        """The share of wrong labels in each run; for a learner: `lambda s, x: learner.adapt(s).predict(x).labels`."""
        shares = []
        for task in self.tasks:
            assert task.support is not None
            assert task.query is not None
            given = list(answer(task.support, task.query.inputs))
            wrong = sum(a != b for a, b in zip(given, task.query.targets, strict=True))
            shares.append(wrong / len(given))
        return shares


def hausdorff(support: Examples, images: Tensor) -> list[Any]:
    """Labels of the nearest support image by modified Hausdorff distance (Dubuisson and Jain 1994).

    Images are points of ink around their centroid; the distance of two is the larger of the two mean
    distances to the nearest point of the other. As in the demo of the official runs.
    """
    known = [_ink(image) for image in support.inputs]
    return [support.targets[_nearest(_ink(image), known)] for image in images]


def _ink(image: Tensor) -> tuple[np.ndarray, Any]:
    """Centred points of ink [points, 2], and a tree to find the nearest of them."""
    from scipy.spatial import cKDTree  # type: ignore[import-untyped]  # comes with scikit-learn; slow to import

    points = np.argwhere(image.numpy() > 127).astype(np.float64)
    centred = points - points.mean(0)
    return centred, cKDTree(centred)


def _nearest(image: tuple[np.ndarray, Any], known: list[tuple[np.ndarray, Any]]) -> int:
    place, least = 0, math.inf
    for number, other in enumerate(known):
        distance = _one_way(image, other)
        if distance < least:  # else the larger of the two is no smaller
            distance = max(distance, _one_way(other, image))
        if distance < least:
            place, least = number, distance
    return place


def _one_way(a: tuple[np.ndarray, Any], b: tuple[np.ndarray, Any]) -> float:
    return float(b[1].query(a[0])[0].mean())


def _locate(path: Path) -> Path:
    for candidate in (path / "all_runs.zip", path / "original" / "all_runs.zip", path / "all_runs", path):
        if candidate.is_file() or (candidate / "run01").is_dir():
            return candidate
    raise DataError(f"{path} holds neither all_runs.zip nor run01 ... run20; give the official one-shot runs")


def _read(place: Path) -> dict[str, bytes]:
    """Contents by name from run01 downwards."""
    if place.is_dir():
        found = [p for p in place.rglob("*") if p.is_file() and p.suffix in (".png", ".txt")]
        return {p.relative_to(place).as_posix(): p.read_bytes() for p in found}
    try:
        with zipfile.ZipFile(place) as archive:
            return {_inner(n): archive.read(n) for n in archive.namelist() if n.endswith((".png", ".txt"))}
    except (zipfile.BadZipFile, OSError, EOFError) as cause:
        raise DataError(f"{place} is not a whole zip file ({cause}); download it again") from None


def _inner(name: str) -> str:
    parts = PurePosixPath(name).parts
    start = next((i for i, part in enumerate(parts) if part.startswith("run")), 0)
    return "/".join(parts[start:])


def _task(files: dict[str, bytes], run: str, size: int) -> Task:
    text = files.get(f"{run}/class_labels.txt")
    if text is None:
        raise DataError(f"{run}/class_labels.txt is missing; the official archive holds run01 to run{RUNS}")
    pairs = [line.split() for line in text.decode("utf-8").splitlines() if line.strip()]
    classes = sorted({shown for _, shown in pairs})
    labels = [PurePosixPath(name).stem for name in classes]
    support = Examples(_images(files, classes, size), labels)
    query = Examples(
        _images(files, [item for item, _ in pairs], size), [PurePosixPath(c).stem for _, c in pairs]
    )
    return Task(Classes(tuple(labels)), support, query, name=run)


def _images(files: dict[str, bytes], names: list[str], size: int) -> Tensor:
    missing = [name for name in names if name not in files]
    if missing:
        raise DataError(f"{missing[0]} is missing ({len(missing)} files); fetch the official archive again")
    pictures = [255 - read_picture(io.BytesIO(files[name]), name)[0] for name in names]
    return resized(torch.stack(pictures), size)
