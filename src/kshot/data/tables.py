"""CSV and JSON-lines tables: a column of picture paths, numbers or texts beside a column of labels."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from csv import DictReader
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from kshot.data.folder import SUFFIXES, Pictures
from kshot.data.pool import Pool
from kshot.errors import DataError, SettingError

KINDS = ("auto", "path", "numbers", "text")
_INPUTS = ("input", "path", "file", "filename", "image", "text", "x")
_TEXTS = ("message", "sentence", "utterance", "question", "query")
_LABELS = ("label", "class", "target", "intent", "category", "y")
_DELIMITERS = ",;\t|"

Row = tuple[int, dict[str, Any]]
"""Line number and values of a row."""


@dataclass(frozen=True)
class Table:
    """A table as it stands in its file: rows that have values by column, all of them still text (CSV) or JSON.

    Make one with `Table.read(path)`.
    """

    file: Path
    names: tuple[str, ...]
    rows: list[Row] = field(repr=False)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, delimiter: str | None = None) -> Table:
        """A CSV or TSV file with a header line, or JSON lines (UTF-8; .gz too), by the file's ending.

        Raises:
            DataError: no such file, a line that does not fit, or no rows.
        """
        file = Path(path)
        rows, names = _json_rows(file) if ".jsonl" in file.suffixes else _csv_rows(file, delimiter)
        if not rows:
            raise DataError(f"{file} holds 0 rows; give a header line and at least one row below it")
        return cls(file, tuple(names), rows)

    def columns(self, input: str | Sequence[str] | None = None, label: str | None = None) -> tuple[str, ...]:
        """The columns that make an input: those asked for, else one of a usual name, else all columns of numbers.

        Columns of labels (`label`, or of a usual name) are none of them.

        Raises:
            DataError: a column that is not there, or none that could be an input.
        """
        if input is not None:
            asked = [input] if isinstance(input, str) else list(input)
            return tuple(self._column(name, (), "input") for name in asked)
        usual = self._usual((*_INPUTS, *_TEXTS), label)
        if usual is not None:
            return (usual,)
        others = [name for name in self.names if name != label and _plain(name) not in _LABELS]
        numbers = tuple(
            name for name in others if all(_is_number(values.get(name)) for _, values in self.rows)
        )
        return numbers or (self._column(None, (), "input"),)

    def inputs(
        self, input: str | Sequence[str] | None = None, label: str | None = None, kind: str = "auto"
    ) -> Any:
        """Inputs of all rows: `Pictures`, numbers as a tensor [n, features], or a list of texts.

        Arguments as for `csv`. Raises DataError.
        """
        if kind not in KINDS:
            raise SettingError(f"kind is {kind!r}; choose one of {', '.join(KINDS)}")
        columns = self.columns(input, label)
        if len(columns) == 1 and (input is None or isinstance(input, str)):
            return _single(self.file, self.rows, columns[0], kind)
        return torch.tensor([[_number(self.file, line, v, c) for c in columns] for line, v in self.rows])

    def labels(self, label: str | None = None) -> list[Any]:
        """The label of each row; whole numbers are numbers. Raises DataError."""
        return _labels(self.file, self.rows, self._column(label, _LABELS, "label"))

    def pool(
        self, input: str | Sequence[str] | None = None, label: str | None = None, kind: str = "auto"
    ) -> Pool:
        """A pool of all rows. Arguments as for `csv`."""
        labels = self.labels(label)
        inputs = self.inputs(input, label, kind)
        if isinstance(inputs, list):
            self._refuse_blank(inputs, self.columns(input, label)[0])
        return Pool(inputs, labels, self.file.name.split(".")[0])

    def _refuse_blank(self, texts: list[str], column: str) -> None:
        blank = [line for (line, _), text in zip(self.rows, texts, strict=True) if not text.strip()]
        if blank:
            raise DataError(
                f"{self.file}: {len(blank)} of {len(texts)} rows have no {column!r} (lines {blank[:5]}); every row needs "
                "a text: fill it in or delete the row"
            )

    def _usual(self, usual: Sequence[str], taken: str | None = None) -> str | None:
        """The first usual name that is there, in small or capital letters, and is not `taken`."""
        own = {_plain(name): name for name in reversed(self.names) if name != taken}
        return next((own[name] for name in usual if name in own), None)

    def _column(self, wanted: str | None, usual: Sequence[str], what: str) -> str:
        if wanted is not None and wanted in self.names:
            return wanted
        found = self._usual(usual)
        if wanted is None and found is not None:
            return found
        raise DataError(
            f"{self.file} has no column {wanted or what!r}; it has {list(self.names[:20])}: name one of them with "
            f"{what}=..., on the command line --{what}"
        )


def csv(
    path: str | os.PathLike[str],
    input: str | Sequence[str] | None = None,
    label: str | None = None,
    *,
    kind: str = "auto",
    delimiter: str | None = None,
) -> Pool:
    """A pool from a table in CSV (UTF-8, a header line; .gz too).

    Args:
        input: the column of the inputs, or several columns of numbers that make a row [features]; by default
            the column of a usual name ("input", "path", "text", ...), or all columns of numbers but the label.
        label: the column of the labels; whole numbers become numbers.
        kind: "path" (pictures, relative to the file), "numbers", "text", or "auto": pictures where
            the first value ends as a picture file does, numbers where every value is one, else text.
        delimiter: between columns; by default a tab for .tsv, else which of comma, semicolon, tab and | the header line
            has most of (spreadsheets write semicolons in many countries).

    Raises:
        DataError: no such file or column, a short line, an empty label, a picture that is not there.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "sizes.csv"
    >>> _ = file.write_text("width,height,label\\n1,2,small\\n10,12,large\\n")
    >>> csv(file).inputs
    tensor([[ 1.,  2.],
            [10., 12.]])
    """
    return Table.read(path, delimiter=delimiter).pool(input, label, kind)


def jsonl(
    path: str | os.PathLike[str],
    input: str | Sequence[str] | None = None,
    label: str | None = None,
    *,
    kind: str = "auto",
) -> Pool:
    """A pool from JSON lines: one object per line (UTF-8; .gz too). Arguments as in `csv`.

    An input may also be a list of numbers.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "intents.jsonl"
    >>> _ = file.write_text('{"text": "hi there", "label": "greet"}\\n{"text": "bye", "label": "leave"}\\n')
    >>> jsonl(file).inputs
    ['hi there', 'bye']
    """
    rows, names = _json_rows(Path(path))
    if not rows:
        raise DataError(f"{path} holds 0 rows; give one object per line")
    return Table(Path(path), tuple(names), rows).pool(input, label, kind)


def _csv_rows(file: Path, delimiter: str | None) -> tuple[list[Row], list[str]]:
    text = _text(file)
    reader = DictReader(io.StringIO(text, newline=""), delimiter=delimiter or _delimiter(file, text))
    rows = [(reader.line_num, values) for values in reader]
    for line, values in rows:
        if None in values or None in values.values():
            raise DataError(
                f"{file}, line {line} has another number of columns than the header; mend that line"
            )
    return rows, list(reader.fieldnames or [])


def _json_rows(file: Path) -> tuple[list[Row], list[str]]:
    rows = list(_objects(file))
    return rows, list(dict.fromkeys(name for _, values in rows for name in values))


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
        data = gzip.decompress(data) if file.suffix == ".gz" else data
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{file} does not exist; check the path") from None
    except UnicodeDecodeError as cause:
        raise DataError(f"{file} is not UTF-8 (byte {cause.start}); save it as UTF-8") from None
    except (OSError, EOFError) as cause:
        raise DataError(f"{file} cannot be read ({cause}); check the file") from None


def _delimiter(file: Path, text: str) -> str:
    """What is between columns: of .tsv files tabs, else what the header has most of outside of quotes.

    `csv.Sniffer` finds none where there is one column, and takes the comma of "text;label;remark, short".
    """
    header = "".join(text.split("\n", 1)[0].split('"')[::2])
    return "\t" if ".tsv" in file.suffixes else max(_DELIMITERS, key=header.count)


def _plain(name: str) -> str:
    """A column's name in small letters; single letters stay, so that X beside Y is no column of inputs."""
    return name if len(name) == 1 else name.lower()


def _objects(file: Path) -> Iterator[Row]:
    for line, text in enumerate(_text(file).split("\n"), 1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except ValueError as cause:
            raise DataError(f"{file}, line {line} is not JSON ({cause}); give one object per line") from None
        if not isinstance(values, dict):
            raise DataError(f"{file}, line {line} is a {type(values).__name__}; give one object per line")
        yield line, values


def _labels(file: Path, rows: list[Row], column: str) -> list[Any]:
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


def _single(file: Path, rows: list[Row], column: str, kind: str) -> Any:
    missing = [line for line, values in rows if values.get(column) is None]
    if missing:
        raise DataError(
            f"{file}: {len(missing)} rows have no {column!r} (lines {missing[:5]}); every row needs one"
        )
    chosen = _kind([values[column] for _, values in rows]) if kind == "auto" else kind
    if chosen == "path":
        return _pictures(file, [(line, str(values[column])) for line, values in rows])
    if chosen == "numbers":
        return _rows(file, rows, column)
    return [str(values[column]) for _, values in rows]


def _kind(values: list[Any]) -> str:
    if isinstance(values[0], str) and os.path.splitext(values[0])[1].lower() in SUFFIXES:
        return "path"
    return "numbers" if all(isinstance(v, list) or _is_number(v) for v in values) else "text"


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


def _rows(file: Path, rows: list[Row], column: str) -> Tensor:
    values = [v[column] if isinstance(v[column], list) else [v[column]] for _, v in rows]
    try:
        result = torch.tensor(values, dtype=torch.float32) if isinstance(rows[0][1][column], list) else None
    except (ValueError, TypeError) as cause:
        raise DataError(
            f"{file}: column {column!r} is no table of numbers ({cause}); give rows of equal length"
        ) from None
    if result is None:
        result = torch.tensor([[_number(file, line, v, column)] for line, v in rows])
    if not bool(torch.isfinite(result).all()):
        raise DataError(
            f"{file}: column {column!r} holds NaN or infinite numbers; every number must be finite"
        )
    return result


def _number(file: Path, line: int, values: dict[str, Any], column: str) -> float:
    value = values.get(column)
    if not _is_number(value):
        raise DataError(f"{file}, line {line}: {column!r} is {value!r}; it must be a finite number")
    return float(value)  # type: ignore[arg-type]


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
