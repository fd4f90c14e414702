"""CSV and JSON lines, right and wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kshot import data
from kshot.errors import DataError, SettingError


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    raw = text.encode()
    file.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return file


def test_pictures_are_found_beside_the_table_whatever_the_slashes(tmp_path: Path) -> None:
    (tmp_path / "img" / "ü").mkdir(parents=True)
    for number in range(4):
        Image.fromarray(np.full((8, 9), number, np.uint8)).save(tmp_path / "img" / "ü" / f"{number}.png")
    absolute = tmp_path / "img" / "ü" / "3.png"
    text = f'path,label\nimg/ü/0.png,x\n"img\\ü\\1.png",y\n./img/ü/2.png,x\n{absolute},y\n'
    pool = data.csv(write(tmp_path, "t.csv", "\ufeff" + text))
    assert [int(pool.inputs[i][0, 0, 0]) for i in range(4)] == [0, 1, 2, 3]
    assert not pool.in_memory
    assert pool.classes == ("x", "y")


def test_missing_pictures_are_counted_with_their_line(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "1.png")
    file = write(tmp_path, "t.csv", "path,label\n1.png,a\n2.png,a\n3.png,b\n")
    with pytest.raises(DataError, match=r"line 3: .*2\.png does not exist \(2 of 3 files are missing\)"):
        data.csv(file)


def test_columns_of_numbers_become_rows_and_whole_labels_numbers(tmp_path: Path) -> None:
    pool = data.csv(write(tmp_path, "t.tsv", "w\th\tkind\n1\t2\t10\n3\t4.5\t9\n"), ["h", "w"], "kind")
    assert pool.inputs.tolist() == [[2.0, 1.0], [4.5, 3.0]]
    assert pool.classes == (9, 10)
    padded = data.csv(write(tmp_path, "p.csv", "x,label\n1,007\n2,7\n"))
    assert padded.classes == ("007", "7")
    assert padded.inputs.tolist() == [[1.0], [2.0]]


def test_json_lines_hold_texts_or_rows_also_compressed(tmp_path: Path) -> None:
    texts = data.jsonl(
        write(
            tmp_path,
            "t.jsonl.gz",
            '{"text": "wie geht\'s", "intent": "ask"}\n\n{"text": "7", "intent": "say"}\n',
        )
    )
    assert texts.inputs == ["wie geht's", "7"]
    assert texts.classes == ("ask", "say")
    rows = data.jsonl(write(tmp_path, "r.jsonl", '{"x": [1, 2], "y": true}\n{"x": [3, 4], "y": false}\n'))
    assert rows.inputs.tolist() == [[1, 2], [3, 4]]
    assert rows.classes == (False, True)
    assert torch.is_floating_point(rows.inputs)


def test_a_kind_can_be_said(tmp_path: Path) -> None:
    file = write(tmp_path, "t.csv", "x,label\n1.png,a\n2.png,b\n")
    assert data.csv(file, kind="text").inputs == ["1.png", "2.png"]
    with pytest.raises(DataError, match=r"line 2: 'x' is '1\.png'; it must be a finite number"):
        data.csv(file, kind="numbers")
    with pytest.raises(SettingError, match="kind is 'picture'"):
        data.csv(file, kind="picture")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("t.csv", "x,label\n", "holds 0 rows"),
        ("t.csv", "", "holds 0 rows"),
        ("t.csv", "a,label\nz,2\n", r"no column 'input'; it has \['a', 'label'\]"),
        ("t.csv", "x,b\n1,2\n", r"no column 'label'; it has \['x', 'b'\]"),
        ("t.csv", "x,label\n1,a\n2\n", "line 3 has another number of columns"),
        ("t.csv", "x,label\n1,a,7\n", "line 2 has another number of columns"),
        ("t.csv", "x,label\n1,a\n2,\n", r"1 of 2 rows have no 'label' \(lines \[3\]\)"),
        ("t.jsonl", '{"x": 1, "y": 2}\n{"x": 1,\n', "line 2 is not JSON"),
        ("t.jsonl", "[1]\n", "line 1 is a list"),
        ("t.jsonl", '{"x": 1, "y": 2}\n{"y": 2}\n', r"1 rows have no 'x' \(lines \[2\]\)"),
        ("t.jsonl", '{"x": 1, "y": 2}\n{"x": 3}\n', "1 of 2 rows have no 'y'"),
        ("t.jsonl", '{"x": [1, 2], "y": 2}\n{"x": [1], "y": 3}\n', "no table of numbers"),
        ("t.jsonl", '{"x": [1, NaN], "y": 2}\n', "holds NaN or infinite"),
    ],
)
def test_a_broken_table_says_where_and_what(tmp_path: Path, name: str, text: str, says: str) -> None:
    file = write(tmp_path, name, text)
    with pytest.raises(DataError, match=says):
        data.csv(file) if name.endswith("csv") else data.jsonl(file)


def test_files_that_are_no_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        data.csv(tmp_path / "no.csv")
    (tmp_path / "latin.csv").write_bytes("x,label\nü,a\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"is not UTF-8 \(byte 8\)"):
        data.csv(tmp_path / "latin.csv")
    (tmp_path / "t.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        data.jsonl(tmp_path / "t.jsonl.gz")


@pytest.mark.parametrize(
    "text",
    [
        'message,intent\nmy card,card\n"the rate; today",rate\n',
        '\ufeffText;Label\r\nmy card;card\r\n"the rate; today";rate\r\n',
        'Number|"Utterance, if any"|Message|Category\n1||my card|card\n2||the rate; today|rate\n',
    ],
)
def test_what_spreadsheets_write_is_read_as_it_is(tmp_path: Path, text: str) -> None:
    found = data.csv(write(tmp_path, "t.csv", text))
    assert found.inputs == ["my card", "the rate; today"]
    assert found.classes == ("card", "rate")


def test_capital_letters_of_coordinates_are_no_usual_names(tmp_path: Path) -> None:
    found = data.csv(write(tmp_path, "t.csv", "X,Y,Label\n1,2,a\n3,4,b\n"))
    assert found.inputs.tolist() == [[1, 2], [3, 4]]


def test_rows_without_a_text_are_named_by_their_lines(tmp_path: Path) -> None:
    file = write(tmp_path, "t.csv", "text,label\nmy card,card\n,card\n  ,rate\n")
    with pytest.raises(DataError, match=r"2 of 3 rows have no 'text' \(lines \[3, 4\]\)"):
        data.csv(file)
