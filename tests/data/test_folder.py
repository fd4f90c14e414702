"""Image folders: lazy, and plain about files that cannot be read."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import kshot
from kshot import data
from kshot.errors import DataError, InputWarning
from kshot.tasks import NWayKShot


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of three noise pictures; one deeper, one with an odd suffix, and things that are no pictures."""
    noise = np.random.default_rng(0)
    for label in ("Łódź", "b c", "a"):
        for number in range(3):
            file = (
                tmp_path / label / ("deep" if number == 2 else "") / f"{number}.{'JPG' if number else 'png'}"
            )
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.integers(0, 255, (20 + number, 24, 3), np.uint8)).save(file)
        (tmp_path / label / "notes.txt").write_text("no picture")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def test_labels_are_folder_names_and_pictures_are_read_on_access(photos: Path) -> None:
    pool = data.folder(photos)
    assert pool.classes == ("a", "b c", "Łódź")
    assert pool.sizes == [3, 3, 3]
    assert not pool.in_memory
    assert pool.inputs[0].shape == (3, 20, 24)
    (photos / "a" / "0.png").unlink()
    assert pool.inputs[1].dtype == torch.uint8
    with pytest.raises(DataError, match=r"0\.png does not exist.*1 of 9 files cannot be read"):
        pool.inputs[0]


def test_a_bad_file_is_named_and_counted_and_left_out_only_when_asked(photos: Path) -> None:
    whole = (photos / "a" / "1.JPG").read_bytes()
    (photos / "a" / "1.JPG").write_bytes(whole[: len(whole) // 2])
    (photos / "b c" / "0.png").write_text("text")
    source = data.Episodes(data.folder(photos), NWayKShot(3, 1, 2))
    with pytest.raises(
        DataError, match=r"(1\.JPG|0\.png) cannot be read.*2 of 9 files cannot be read .*skip_unreadable"
    ):
        source.sample(torch.Generator().manual_seed(0))
    with pytest.warns(InputWarning, match=r"2 of 9 files cannot be read and are left out: .*1\.JPG.*0\.png"):
        pool = data.folder(photos, skip_unreadable=True)
    assert pool.sizes == [2, 2, 3]


def test_a_class_folder_without_pictures_is_left_out_loudly(photos: Path) -> None:
    (photos / "empty").mkdir()
    with pytest.warns(InputWarning, match=r"1 of 4 class folders .*\['empty'\]"):
        assert len(data.folder(photos).classes) == 3


def test_folders_that_hold_no_class_say_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        data.folder(tmp_path / "nowhere")
    Image.new("L", (8, 8)).save(tmp_path / "1.png")
    with pytest.raises(DataError, match=r"no subfolder \(1 pictures lie in it directly\)"):
        data.folder(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.warns(InputWarning), pytest.raises(DataError, match="holds no readable picture"):
        data.folder(tmp_path)


def test_splits_of_a_folder_stay_lazy_and_share_no_class(photos: Path) -> None:
    first, second = data.folder(photos).split(2, 1, seed=3)
    assert not set(first.classes) & set(second.classes)
    assert len(first.classes) + len(second.classes) == 3
    for file in (photos / str(first.classes[0])).rglob("*.*"):
        os.unlink(file)
    assert [second.inputs[i].shape[0] for i in range(3)] == [3, 3, 3]


def test_a_learner_adapts_to_real_jpegs_of_a_folder(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(next(real_data("cifar10_jpg").glob("*.zip"))) as archive:
        names = [n for n in archive.namelist() if n.endswith(".jpg") and "/train/" in f"/{n}"]
        for name in [n for n in names if int(Path(n).stem) % 50 == 0][:60]:
            file = tmp_path / Path(name).parent.name / Path(name).name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(archive.read(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool = data.folder(tmp_path, skip_unreadable=True)
    source = data.Episodes(pool, NWayKShot(3, 2, 2))
    report = kshot.evaluate(kshot.learners.ProtoNet(kshot.encoders.pixels(32, 3)), source, tasks=5)
    assert len(report.values) == 5
