"""Data that the command line meta-trains on."""

from __future__ import annotations

from pathlib import Path

import pytest

from kshot.commandline.sources import parts
from kshot.errors import TaskError


def table(folder: Path, classes: int) -> str:
    file = folder / "t.csv"
    rows = [f"{k}.{place},{place},c{k}" for k in range(classes) for place in range(3)]
    file.write_text("x,y,label\n" + "\n".join(rows) + "\n")
    return str(file)


@pytest.mark.parametrize("classes", [5, 8])
def test_a_part_of_one_class_is_refused(tmp_path: Path, classes: int) -> None:
    """Of eight classes validation would get one, which makes no task."""
    with pytest.raises(TaskError, match=f"has {classes} classes"):
        parts(table(tmp_path, classes))


def test_every_part_has_two_classes_or_more(tmp_path: Path) -> None:
    found = parts(table(tmp_path, 10))
    assert [len(pool.classes) for pool in (found.train, found.validation, found.test)] == [6, 2, 2]
