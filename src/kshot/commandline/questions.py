"""What a task is asked: pictures, folders of them, tables and arrays; one input at a time, so memory stays flat."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from torch import Tensor

from kshot.commandline.columns import TABLES, Columns, is_table
from kshot.data import Pictures, Table
from kshot.data.folder import SUFFIXES
from kshot.encoders import Encoder, VectorEncoder
from kshot.errors import DataError, SettingError

ARRAYS = (".npy", ".npz")
_USUAL = ("x", "images", "inputs", "data")


TextOption = Annotated[
    list[str] | None, typer.Option("--text", help="A text to ask, as it is; several times for several.")
]


class Question(NamedTuple):
    """One input: its name (the file, or FILE:ROW), and the input in a form that the encoder reads."""

    name: str
    input: Any


def questions(encoder: Encoder, paths: Sequence[Path], columns: Columns) -> Iterator[Question]:
    """The inputs that `paths` hold, in order; folders in the order of their files' names.

    Args:
        encoder: says what an input is: pictures, rows of numbers or texts.
        columns: of tables, which column is the input; of .npz files, which array.

    Raises:
        DataError: a path that is not there, or that holds inputs of another kind.
    """
    for path in paths:
        if not path.exists():
            asked = f": to ask it as a text, write --text {str(path)!r}" if encoder.modality == "text" else ""
            raise DataError(f"{path} does not exist; check the path{asked}")
        if is_table(path):
            yield from _table(encoder, path, columns)
        elif path.suffix.lower() in ARRAYS:
            yield from _array(encoder, path, columns)
        elif encoder.modality != "image":
            raise DataError(
                _rule(encoder, path, "a folder" if path.is_dir() else path.suffix or "no known kind")
            )
        elif path.is_dir():
            yield from (Question(str(file), file) for file in _pictures(path))
        else:
            yield Question(str(path), path)


def all_questions(
    encoder: Encoder, paths: Sequence[Path], texts: Sequence[str], columns: Columns
) -> Iterator[Question]:
    """The texts given on the command line, then the inputs that `paths` hold.

    Raises:
        SettingError: neither was given, or texts for an encoder of other inputs.
    """
    if texts and encoder.modality != "text":
        raise SettingError(f"--text is {texts[0]!r}, but this task takes {takes(encoder)}: give their files")
    if not texts and not paths:
        raise SettingError(
            f"0 inputs were given; this task takes {takes(encoder)}: name files"
            + (", or give --text" if encoder.modality == "text" else "")
        )
    named = [Question(f"text {place}", text) for place, text in enumerate(texts, 1)]
    return itertools.chain(named, questions(encoder, paths, columns))


def one_question(encoder: Encoder, path: Path, row: int | None, columns: Columns) -> Question:
    """The one input of a file, or its `row`, counted from 1.

    Raises:
        DataError: a folder, several inputs and no row named, or a row that is not there.
    """
    if path.is_dir():
        raise DataError(f"{path} is not a file; give one input: a picture, or a table and --row")
    found = list(questions(encoder, [path], columns))
    if row is None and len(found) == 1:
        return found[0]
    if row is None or not 1 <= row <= len(found):
        asked = "" if row is None else f", --row is {row}"
        raise DataError(
            f"{path} holds {len(found)} inputs{asked}; say which one with --row, 1 to {len(found)}"
        )
    return found[row - 1]


def takes(encoder: Encoder) -> str:
    """What an input of this encoder is, for people."""
    if isinstance(encoder, VectorEncoder):
        return f"rows of {encoder.inputs} number{'s' * (encoder.inputs > 1)}"
    return {"image": "pictures", "text": "texts"}.get(encoder.modality, f"{encoder.modality} inputs")


def _rule(encoder: Encoder, path: Path, is_: str) -> str:
    forms = ", ".join((*TABLES, *(ARRAYS if encoder.modality != "text" else ())))
    return f"{path} is {is_}; this task takes {takes(encoder)}: give a file that ends in one of {forms}"


def _pictures(folder: Path) -> list[Path]:
    found = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    ]
    if not found:
        raise DataError(f"{folder} holds no pictures; known endings are {', '.join(sorted(SUFFIXES))}")
    return found


def _table(encoder: Encoder, path: Path, columns: Columns) -> Iterator[Question]:
    table = Table.read(path)
    wanted = columns.of(table)
    inputs = table.inputs(wanted, kind=columns.kind)
    used = ", ".join(table.columns(wanted))
    if isinstance(inputs, Pictures):
        _must_be(encoder, "image", path, used, "paths of pictures")
        yield from (Question(file, Path(file)) for file in inputs.paths)
        return
    if isinstance(inputs, Tensor):
        _must_be(encoder, "vector", path, used, "numbers")
        _must_fit(encoder, inputs.shape[1], f"{path}, columns {used}")
    else:
        _must_be(encoder, "text", path, used, "texts")
    yield from (Question(f"{path}:{row}", item) for row, item in enumerate(inputs, 1))


def _must_be(encoder: Encoder, modality: str, path: Path, used: str, what: str) -> None:
    if encoder.modality != modality:
        raise DataError(
            f"{path} holds {what} in {used}; this task takes {takes(encoder)}: name the right column with --input"
        )


def _must_fit(encoder: Encoder, width: int, what: str) -> None:
    if isinstance(encoder, VectorEncoder) and width != encoder.inputs:
        raise DataError(
            f"{what}: {width} numbers a row; this task takes {takes(encoder)}: name its columns, in its order, "
            "each with --input"
        )


def _array(encoder: Encoder, path: Path, columns: Columns) -> Iterator[Question]:
    array = _open(path, columns)
    if encoder.modality == "vector":
        array = array[None] if array.ndim == 1 else array
        least, form = 2, "[n, numbers]"
    else:
        least, form = 3, "[n, height, width] or [n, height, width, channels]"
    if encoder.modality not in ("vector", "image"):
        raise DataError(_rule(encoder, path, "an array"))
    if array.ndim < least or array.dtype.kind not in "biuf":
        raise DataError(
            f"{path} holds an array {list(array.shape)} of {array.dtype}; this task takes {takes(encoder)}: "
            f"save numbers as {form}"
        )
    _must_fit(encoder, array.shape[1], str(path))
    for row, item in enumerate(array, 1):
        yield Question(f"{path}:{row}", np.array(item))


def _open(path: Path, columns: Columns) -> np.ndarray:
    """The array of a .npy file, left on disk, or one array of a .npz file; never a pickle."""
    try:
        if path.suffix.lower() == ".npy":
            # open_memmap, unlike load, takes nothing but plain arrays
            return np.lib.format.open_memmap(path, mode="r")
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as found:
            return np.asarray(found[_name(list(found), path, columns)])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as cause:
        if isinstance(cause, DataError):
            raise
        raise DataError(
            f"{path} cannot be read as a plain array of numbers ({cause}); save it with numpy.save or numpy.savez"
        ) from None


def _name(names: list[str], path: Path, columns: Columns) -> str:
    asked = columns.input[0] if columns.input else None
    if asked in names:
        return str(asked)
    usual = [name for name in _USUAL if name in names]
    if asked is None and (usual or len(names) == 1):
        return usual[0] if usual else names[0]
    raise DataError(
        f"{path} holds arrays {names}; {f'{asked!r} is not there' if asked else 'none has a usual name'}: name the one "
        "to ask with --input"
    )
