"""The ImageNet-style run on real JPEGs: streamed from disk, cropped, flipped, normalised, judged on unseen classes."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import kshot

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_image_folder.py"
UNSEEN = ["cat", "horse", "ship", "truck"]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_image_folder", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def photos(archives: Path, folder: Path, each: int) -> Path:
    """A folder per class with `each` JPEGs of CIFAR-10's training part."""
    with zipfile.ZipFile(next(archives.glob("*.zip"))) as archive:
        for name in archive.namelist():
            part, label, file = name.split("/")
            if part == "train" and int(file[:4]) < each:
                target = folder / label / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    return folder


def options(data: Path, **changes: object) -> list[str]:
    pairs = [f"--{name.replace('_', '-')}={value}" for name, value in changes.items()]
    return [str(data), *pairs, "--validation", *UNSEEN]


def test_a_folder_of_jpegs_trains_a_torchvision_network(
    example: ModuleType, real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    data = photos(real_data("cifar10_jpg"), tmp_path / "photos", 4)
    arguments = options(
        data, out=tmp_path / "run", encoder="resnet18", size=32, steps=2, every=1, tasks=5, pictures=4, ways=3,
        queries=1, workers=1,
    )  # fmt: skip
    before, run = example.main(arguments)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert before.values != run.best.values
    loaded = kshot.load(tmp_path / "run" / "learner.kshot")
    assert loaded.encoder.config()["name"] == "resnet18"
    _, again = example.main(arguments)  # the run is there already
    assert again.history == run.history


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("encoder", "size"), [("resnet18", 32), ("resnet50", 64)])
def test_accuracy_on_unseen_classes_rises(
    example: ModuleType, real_data: Callable[[str], Path], tmp_path: Path, encoder: str, size: int
) -> None:
    data = photos(real_data("cifar10_jpg"), tmp_path / "photos", 600)
    before, run = example.main(
        options(
            data, encoder=encoder, size=size, least_crop=0.3, ways=6, shots=5, queries=5, steps=60, every=20, tasks=300,
            pictures=60, workers=1,
        )
    )  # fmt: skip
    assert run.best.interval.low > before.interval.high


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_resnet50_at_224_runs(example: ModuleType, real_data: Callable[[str], Path], tmp_path: Path) -> None:
    data = photos(real_data("cifar10_jpg"), tmp_path / "photos", 6)
    _, run = example.main(
        options(data, encoder="resnet50", size=224, ways=3, queries=1, steps=2, every=1, tasks=10, pictures=4)
    )
    assert [entry["step"] for entry in run.history] == [1.0, 2.0]
