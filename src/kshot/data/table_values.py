"""Values of a table's columns: labels, and inputs as paths of pictures, numbers or texts, by what they look like."""

from __future__ import annotations

import math
import os
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from kshot.data.folder import SUFFIXES, Pictures
from kshot.data.table_files import Row
from kshot.errors import DataError


def labels_of(file: Path, rows: list[Row], column: str) -> list[Any]:
    """Labels in a column; whole numbers where all are.

    Raises:
        DataError: a row without one; says which.
    """
    found = [values.get(column) for _, values in rows]
    empty = [line for (line, _), value in zip(rows, found, strict=True) if value is None or value == ""]
    if empty:
        raise DataError(
            f"{file}: {len(empty)} of {len(rows)} rows have no {column!r} (lines {empty[:5]}); every row needs "
            "a label: fill it in or delete the row"
        )
    numbers = all(_is_whole(value) for value in found)
    return [int(str(value)) for value in found] if numbers else found


def _is_whole(value: Any) -> bool:
    digits = value.removeprefix("-") if isinstance(value, str) else ""
    return digits.isascii() and digits.isdecimal() and str(int(value)) == value


def values_of(file: Path, rows: list[Row], column: str, kind: str) -> Any:
    """Inputs in a column: pictures, a tensor [n, numbers] or texts, as `kind` says; "auto": by what they look like.

    Raises:
        DataError: a row without one, a picture that is not there, or no number where one is needed.
    """
    missing = [line for line, values in rows if values.get(column) is None]
    if missing:
        raise DataError(
            f"{file}: {len(missing)} rows have no {column!r} (lines {missing[:5]}); every row needs one"
        )
    chosen = _kind([values[column] for _, values in rows]) if kind == "auto" else kind
    if chosen == "path":
        return _pictures(file, [(line, str(values[column])) for line, values in rows])
    if chosen == "numbers":
        return _numbers(file, rows, column)
    return [str(values[column]) for _, values in rows]


def _kind(values: list[Any]) -> str:
    if isinstance(values[0], str) and os.path.splitext(values[0])[1].lower() in SUFFIXES:
        return "path"
    return "numbers" if all(isinstance(v, list) or is_number(v) for v in values) else "text"


def _pictures(file: Path, values: list[tuple[int, str]]) -> Pictures:
    paths = [_resolve(file.parent, value) for _, value in values]
    missing = [(line, p) for (line, _), p in zip(values, paths, strict=True) if not p.is_file()]
    if missing:
        raise DataError(
            f"{file}, line {missing[0][0]}: {missing[0][1]} does not exist ({len(missing)} of {len(paths)} files are "
            "missing); paths are relative to the table: correct them or delete those rows"
        )
    return Pictures(paths)


def _resolve(folder: Path, value: str) -> Path:
    """A path as written on any system: backslashes separate folders unless a file is so named."""
    path = folder / value
    return folder / PureWindowsPath(value).as_posix() if "\\" in value and not path.is_file() else path


def _numbers(file: Path, rows: list[Row], column: str) -> Tensor:
    values = [v[column] if isinstance(v[column], list) else [v[column]] for _, v in rows]
    try:
        result = torch.tensor(values, dtype=torch.float32) if isinstance(rows[0][1][column], list) else None
    except (ValueError, TypeError) as cause:
        raise DataError(
            f"{file}: column {column!r} is no table of numbers ({cause}); give rows of equal length"
        ) from None
    if result is None:
        result = torch.tensor([[number_in(file, line, v, column)] for line, v in rows])
    if not bool(torch.isfinite(result).all()):
        raise DataError(
            f"{file}: column {column!r} holds NaN or infinite numbers; every number must be finite"
        )
    return result


def number_in(file: Path, line: int, values: dict[str, Any], column: str) -> float:
    """The finite number in a column of one row.

    Raises:
        DataError: it is none.
    """
    value = values.get(column)
    if not is_number(value):
        raise DataError(f"{file}, line {line}: {column!r} is {value!r}; it must be a finite number")
    return float(value)  # type: ignore[arg-type]


def is_number(value: Any) -> bool:
    """Is it a finite number, or text that reads as one?"""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
