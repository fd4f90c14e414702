"""CSV and JSON-lines tables: a column of picture paths, numbers or texts beside a column of labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kshot.data.pool import Pool
from kshot.data.table_files import Row, csv_rows, json_rows
from kshot.data.table_values import is_number, labels_of, number_in, values_of
from kshot.errors import DataError, SettingError

KINDS = ("auto", "path", "numbers", "text")
_INPUTS = ("input", "path", "file", "filename", "image", "text", "x")
_TEXTS = ("message", "sentence", "utterance", "question", "query")
_LABELS = ("label", "class", "target", "intent", "category", "y")


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
        rows, names = json_rows(file) if ".jsonl" in file.suffixes else csv_rows(file, delimiter)
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
            name for name in others if all(is_number(values.get(name)) for _, values in self.rows)
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
            return values_of(self.file, self.rows, columns[0], kind)
        return torch.tensor([[number_in(self.file, line, v, c) for c in columns] for line, v in self.rows])

    def labels(self, label: str | None = None) -> list[Any]:
        """The label of each row; whole numbers are numbers. Raises DataError."""
        return labels_of(self.file, self.rows, self._column(label, _LABELS, "label"))

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
    rows, names = json_rows(Path(path))
    if not rows:
        raise DataError(f"{path} holds 0 rows; give one object per line")
    return Table(Path(path), tuple(names), rows).pool(input, label, kind)


def _plain(name: str) -> str:
    """A column's name in small letters; single letters stay, so that X beside Y is no column of inputs."""
    return name if len(name) == 1 else name.lower()
