"""An image folder: one subfolder per class. Paths are listed once, pictures are read when asked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kshot.data.pool import Pool
from kshot.encoders.pictures import read_picture
from kshot.errors import DataError, InputWarning, callers_level

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jfif",
        ".png",
        ".bmp",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".ico",
        ".tga",
        ".jp2",
        ".avif",
    ]
)
"""Names of files that are taken for pictures."""

_LOOKED_AT = 5000  # files read to count the bad ones, once one is found


class Pictures(Sequence[Any]):
    """Picture files as a sequence of uint8 tensors [1 or 3, height, width], read on access.

    Raises:
        DataError: on access to an unreadable file; names it and counts the bad ones.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        self.paths = [os.fspath(path) for path in paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Pictures(self.paths[place])
        try:
            return read_picture(self.paths[place])
        except DataError as cause:
            raise DataError(f"{cause}. {self._how_many()}") from None

    def _how_many(self) -> str:
        part = self.paths[:_LOOKED_AT]
        bad = unreadable(part)
        names = ", ".join(list(bad)[:3]) + (", ..." if len(bad) > 3 else "")
        which = (
            f"the first {len(part)} of {len(self.paths)} files"
            if len(part) < len(self)
            else f"{len(part)} files"
        )
        return f"{len(bad)} of {which} cannot be read ({names}): mend them, or leave them out with skip_unreadable=True"


def folder(path: str | os.PathLike[str], *, skip_unreadable: bool = False) -> Pool:
    """A pool from a folder with one subfolder per class; deeper folders belong to their class.

    Pictures stay on disk: only paths are listed here, and an item is read when a task asks for it.

    Args:
        path: its subfolders' names are the labels.
        skip_unreadable: read every file once now and leave out those that cannot be read, with a
            warning that counts and names them.

    Raises:
        DataError: no such folder, no class, or (on access) a file that cannot be read.

    >>> import tempfile, pathlib, numpy, PIL.Image
    >>> root = pathlib.Path(tempfile.mkdtemp())
    >>> for label in ("cat", "dog"):
    ...     (root / label).mkdir()
    ...     PIL.Image.fromarray(numpy.zeros((8, 8), "uint8")).save(root / label / "1.png")
    >>> pool = folder(root)
    >>> pool.classes, pool.sizes, pool.inputs[0].shape
    (('cat', 'dog'), [1, 1], torch.Size([1, 8, 8]))
    """
    root = Path(path)
    found = _list(root)
    if skip_unreadable:
        found = _readable(found)
    empty = [label for label, files in found.items() if not files]
    if empty:
        warnings.warn(
            f"{len(empty)} of {len(found)} class folders of {root} hold no picture and are left out: {empty[:5]}",
            InputWarning,
            stacklevel=callers_level(),
        )
    paths = [file for files in found.values() for file in files]
    if not paths:
        raise DataError(
            f"{root} holds no readable picture in its subfolders; put pictures into one folder per class"
        )
    labels = [label for label, files in found.items() for _ in files]
    return Pool(Pictures(paths), labels, root.name)


def unreadable(paths: Sequence[str]) -> dict[str, str]:
    """Files that cannot be read as pictures, with the reason. Every file is read in full."""
    with ThreadPoolExecutor() as threads:
        return {path: why for path, why in zip(paths, threads.map(_problem, paths), strict=True) if why}


def _problem(path: str) -> str:
    try:
        read_picture(path)
    except DataError as cause:
        return str(cause)
    return ""


def _list(root: Path) -> dict[str, list[str]]:
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give a folder with one subfolder of pictures per class")
    labels = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not _hidden(entry.name))
    if not labels:
        loose = sum(_is_picture(name) for name in os.listdir(root))
        raise DataError(
            f"{root} has no subfolder ({loose} pictures lie in it directly); labels are the names of subfolders: "
            "put the pictures of each class into a folder of their own"
        )
    return {label: _files(root / label) for label in labels}


def _files(top: Path) -> list[str]:
    files: list[str] = []
    for place, folders, names in os.walk(top, followlinks=True):
        folders[:] = sorted(name for name in folders if not _hidden(name))
        files += [os.path.join(place, name) for name in sorted(names) if _is_picture(name)]
    return files


def _is_picture(name: str) -> bool:
    return not _hidden(name) and os.path.splitext(name)[1].lower() in SUFFIXES


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _readable(found: dict[str, list[str]]) -> dict[str, list[str]]:
    paths = [file for files in found.values() for file in files]
    bad = unreadable(paths)
    if bad:
        warnings.warn(
            f"{len(bad)} of {len(paths)} files cannot be read and are left out: {', '.join(list(bad)[:10])}"
            + (", ..." if len(bad) > 10 else ""),
            InputWarning,
            stacklevel=callers_level(),
        )
    return {label: [file for file in files if file not in bad] for label, files in found.items()}
