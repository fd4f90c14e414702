"""Arrays in memory, and any data set with a length and items (x, y), as pools."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.data.pool import Pool
from kshot.errors import DataError

_PAIRS = (("x", "y"), ("images", "labels"), ("inputs", "labels"), ("inputs", "targets"), ("data", "target"))


def arrays(x: Any, y: Any, name: str = "") -> Pool:
    """A pool from NumPy arrays or torch tensors held in memory.

    Args:
        x: n inputs: rows [n, features], or images (see `kshot.encoders.ImageEncoder`).
        y: n labels, of any one kind: strings, whole numbers, NumPy or torch scalars.

    Raises:
        DataError: unequal lengths, labels that are not one per input, NaN or infinite numbers.

    >>> pool = arrays(np.eye(4), np.array([30, 10, 30, 10]))
    >>> pool.classes, pool.sizes
    ((10, 30), [2, 2])
    """
    inputs = _numbers(x)
    shape = getattr(y, "shape", (len(y),))
    if len(shape) != 1:
        raise DataError(
            f"y has shape {list(shape)}; give one label per input, [n], not rows or one-hot vectors"
        )
    return Pool(inputs, y, name)


def npz(path: str | os.PathLike[str], x: str | None = None, y: str | None = None) -> Pool:
    """A pool from the arrays `x` and `y` of a .npz file (found by their usual names if not given).

    Raises:
        DataError: no such file or array, or arrays that are Python objects (they are never unpickled).
    """
    try:
        with zipfile.ZipFile(path):  # anything else might be a pickle, which NumPy would try
            pass
        with np.load(path, allow_pickle=False) as found:
            names = [x, y] if x and y else _guess(list(found), str(path))
            return arrays(found[names[0]], found[names[1]], Path(path).stem)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except KeyError as cause:
        raise DataError(
            f"{path} has no array {cause}; name the inputs with x= and the labels with y="
        ) from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as cause:
        if isinstance(cause, DataError):
            raise
        raise DataError(
            f"{path} cannot be read as .npz of plain arrays ({cause}); save it with numpy.savez"
        ) from None


def dataset(items: Any, labels: Sequence[Any] | None = None, name: str = "") -> Pool:
    """A pool from any map-style data set: it has a length, and its items are (x, y).

    Every torchvision data set is one. Items stay where they are and are fetched on access; labels
    are taken from `.targets`, `.labels` or `.samples` where there are any, so no image is read for
    them, and named by `.classes`.

    Args:
        labels: n labels, where the data set cannot say them quickly.

    Raises:
        DataError: the data set has no length, or its items are not pairs.

    >>> pool = dataset([(torch.zeros(2), "a"), (torch.ones(2), "b")])
    >>> pool.classes, pool.inputs[1]
    (('a', 'b'), tensor([1., 1.]))
    """
    if not hasattr(items, "__len__") or not hasattr(items, "__getitem__"):
        raise DataError(f"{type(items).__name__} has no length or no items; give a map-style data set")
    known = labels if labels is not None else _labels(items)
    return Pool(
        First(items), [_pair(items, i)[1] for i in range(len(items))] if known is None else known, name
    )


class First(Sequence[Any]):
    """The inputs of a data set of pairs, fetched on access."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return _pair(self.items, place)[0]


def _pair(items: Any, place: int) -> Any:
    item = items[place]
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise DataError(
            f"item {place} of {type(items).__name__} is a {type(item).__name__}; items must be pairs (x, y): "
            "wrap the data set, or use data.arrays"
        )
    return item


def _labels(items: Any) -> list[Any] | None:
    """Labels without touching any item; None where the data set keeps none."""
    if isinstance(items, torch.utils.data.Subset):
        whole = _labels(items.dataset)
        return None if whole is None else [whole[i] for i in items.indices]
    change: Callable[[Any], Any] | None = getattr(items, "target_transform", None)
    raw = next((getattr(items, a) for a in ("targets", "labels", "_labels") if _fits(items, a)), None)
    if raw is None:
        if not _fits(items, "samples"):
            return None
        raw = [pair[1] for pair in items.samples]
    found = [value.item() if isinstance(value, Tensor | np.generic) else value for value in raw]
    if change is not None:
        return [change(value) for value in found]
    return _named(found, getattr(items, "classes", None))


def _fits(items: Any, attribute: str) -> bool:
    values = getattr(items, attribute, None)
    return isinstance(values, list | tuple | np.ndarray | Tensor) and len(values) == len(items)


def _named(found: list[Any], classes: Any) -> list[Any]:
    """Class numbers by their names, where the data set names every class once."""
    if not isinstance(classes, list | tuple) or len(set(map(str, classes))) != len(classes):
        return found
    inside = all(isinstance(value, int) and 0 <= value < len(classes) for value in found)
    return [str(classes[value]) for value in found] if inside else found


def _numbers(x: Any) -> Tensor:
    if isinstance(x, np.ndarray) and x.dtype.kind not in "biuf":
        raise DataError(
            f"x has type {x.dtype}; give an array of numbers, or use data.csv for texts and paths"
        )
    try:
        inputs = x if isinstance(x, Tensor) else torch.from_numpy(np.ascontiguousarray(x))
    except (TypeError, ValueError) as cause:
        raise DataError(
            f"x cannot be one array ({cause}); give rows of equal length in one number type"
        ) from None
    if inputs.ndim < 2:
        raise DataError(
            f"x has shape {list(inputs.shape)}; give one row per example: [n, features] or images"
        )
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        rows = (~torch.isfinite(inputs.flatten(1)).all(1)).nonzero().flatten().tolist()
        raise DataError(
            f"x has NaN or infinite numbers in {len(rows)} of {len(inputs)} rows ({rows[:5]}); every number must be "
            "finite: fill them in or leave those rows out"
        )
    return inputs


def _guess(names: list[str], path: str) -> list[str]:
    for pair in _PAIRS:
        if set(pair) <= set(names):
            return list(pair)
    raise DataError(
        f"{path} holds {names}; none of the usual pairs {_PAIRS[:3]}: name the arrays with x= and y="
    )
