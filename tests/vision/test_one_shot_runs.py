"""The official one-shot runs, and the known error of a known method on them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import kshot
from kshot.errors import DataError
from kshot.tasks import Examples
from kshot.vision import OneShotRuns, hausdorff


def test_modified_hausdorff_errs_in_exactly_38_8_percent(real_data: Callable[[str], Path]) -> None:
    """The figure that the archive's own demo prints: 155 of 400."""
    errors = OneShotRuns(real_data("omniglot") / "original" / "all_runs.zip").errors(hausdorff)
    assert len(errors) == 20
    assert sum(round(20 * error) for error in errors) == 155
    assert f"{100 * sum(errors) / 20:.1f}" in ("38.8", "38.7")  # 38.75, written as 38.8


def test_zip_folder_and_parent_give_the_same_runs(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    root = real_data("omniglot")
    with zipfile.ZipFile(root / "original" / "all_runs.zip") as archive:
        archive.extractall(tmp_path / "all_runs")
    runs = [OneShotRuns(p, size=28) for p in (root, tmp_path)]
    for tasks in zip(*runs, strict=True):
        first = tasks[0]
        assert first.support is not None
        assert first.query is not None
        assert first.space.size == len(first.support) == len(first.query) == 20
        assert sorted(first.query.targets) == sorted(first.support.targets)
        assert first.support.inputs.shape == (20, 28, 28)
        for other in tasks[1:]:
            assert other.support is not None
            assert torch.equal(other.support.inputs, first.support.inputs)
    assert runs[0].sample(torch.Generator()).name.startswith("run")


def test_a_learner_is_measured_by_adapt_and_predict(real_data: Callable[[str], Path]) -> None:
    runs = OneShotRuns(real_data("omniglot"), size=28)
    learner = kshot.learners.ProtoNet(kshot.encoders.pixels(28))
    errors = runs.errors(lambda support, images: learner.adapt(support).predict(images).labels)
    assert 0.5 < sum(errors) / 20 < 0.95  # raw pixels know little, and more than chance


def test_hausdorff_sees_shapes_wherever_they_stand() -> None:
    page = torch.zeros(4, 40, 40, dtype=torch.uint8)
    page[0, 5:15, 5] = page[1, 5, 5:15] = page[2, 20:30, 33] = page[3, 30, 20:30] = 255
    assert hausdorff(Examples(page[:2], ["bar", "dash"]), page[2:]) == ["bar", "dash"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither all_runs\.zip nor run01"):
        OneShotRuns(tmp_path)
    (tmp_path / "run01").mkdir()
    with pytest.raises(DataError, match=r"run01/class_labels\.txt is missing"):
        OneShotRuns(tmp_path)
    (tmp_path / "run01" / "class_labels.txt").write_text("run01/test/item01.png run01/training/class01.png\n")
    with pytest.raises(DataError, match=r"run01/training/class01\.png is missing \(1 files\)"):
        OneShotRuns(tmp_path)
    (tmp_path / "all_runs.zip").write_bytes(b"PK no zip")
    with pytest.raises(DataError, match="is not a whole zip file"):
        OneShotRuns(tmp_path)
