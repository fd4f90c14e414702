"""Rows of table files as they stand there: CSV, TSV and JSON lines, in UTF-8, also compressed."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from csv import DictReader
from pathlib import Path
from typing import Any

from kshot.errors import DataError

_DELIMITERS = ",;\t|"

Row = tuple[int, dict[str, Any]]
"""Line number and values of a row."""


def csv_rows(file: Path, delimiter: str | None) -> tuple[list[Row], list[str]]:
    """Rows of a CSV file and the names of its columns; the delimiter is found where it is None.

    Raises:
        DataError: no such file, not UTF-8, or a line that does not fit its header.
    """
    text = _text(file)
    reader = DictReader(io.StringIO(text, newline=""), delimiter=delimiter or _delimiter(file, text))
    rows = [(reader.line_num, values) for values in reader]
    for line, values in rows:
        if None in values or None in values.values():
            raise DataError(
                f"{file}, line {line} has another number of columns than the header; mend that line"
            )
    return rows, list(reader.fieldnames or [])


def json_rows(file: Path) -> tuple[list[Row], list[str]]:
    """Objects of a file of JSON lines, and the names that occur in them.

    Raises:
        DataError: no such file, not UTF-8, or a line that is no object.
    """
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
