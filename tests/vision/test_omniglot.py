"""Omniglot in each of its layouts gives the same tasks."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from kshot.errors import DataError, TaskError
from kshot.vision import Splits, omniglot
from kshot.vision.omniglot import SPLIT_FILE

SETS = {
    "background": {"Greek": 3, "Latin": 4, "Runes": 2, "Tifinagh": 2},
    "evaluation": {"Angelic": 3, "Oriya": 2},
}
Drawings = dict[str, Tensor]


def drawings() -> Drawings:
    """Ink [20, 105, 105] of every character: a bar of its own at a place of its own, another per drawer."""
    found = {}
    for names in SETS.values():
        for alphabet, count in names.items():
            for number in range(1, count + 1):
                ink = torch.zeros(20, 105, 105, dtype=torch.uint8)
                for drawer in range(20):
                    at = 6 * len(found) + drawer % 5
                    ink[drawer, 4 * number : 4 * number + 5, at : at + 15] = 255
                found[f"{alphabet}/character{number:02d}"] = ink
    return found


def in_set(name: str) -> str:
    return next(s for s, alphabets in SETS.items() if name.split("/")[0] in alphabets)


def lay_out(root: Path, found: Drawings) -> Path:
    """The original folders: images_background/Alphabet/characterNN/NNNN_DD.png, black ink on white."""
    for number, (name, ink) in enumerate(found.items()):
        folder = root / f"images_{in_set(name)}" / name
        folder.mkdir(parents=True)
        for drawer, image in enumerate(ink.numpy(), 1):
            Image.fromarray(255 - image).convert("1").save(folder / f"{number:04d}_{drawer:02d}.png")
    strokes = root / "images_background" / "strokes_background" / "x"
    strokes.mkdir(parents=True)
    (strokes / "0001_01.png").write_text("no drawing")
    return root


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("omniglot"), drawings())


def zipped(original: Path, root: Path) -> Path:
    for part in SETS:
        with zipfile.ZipFile(root / f"images_{part}.zip", "w") as archive:
            for file in (original / f"images_{part}").rglob("*.png"):
                archive.write(file, file.relative_to(original))
            archive.writestr(f"__MACOSX/images_{part}/A/b/._1.png", "no drawing")
    return root


def as_npz(root: Path) -> Path:
    found = drawings()
    bits = np.packbits((torch.cat(list(found.values())).flatten(1) > 0).numpy(), axis=1)
    names = [name.split("/") for name in found]
    np.savez(
        root / "omniglot_105x105_bits.npz",
        bits=bits,
        char_index=np.arange(len(found)).repeat(20),
        char_set=np.array([in_set(name) for name in found]),
        char_alphabet=np.array([a for a, _ in names]),
        char_name=np.array([c for _, c in names]),
    )
    return root


def equal(a: Splits, b: Splits) -> bool:
    pairs = [(a.train, b.train), (a.validation, b.validation), (a.test, b.test)]
    return all(
        x.pool.classes == y.pool.classes and torch.equal(_sorted(x.pool), _sorted(y.pool)) for x, y in pairs
    )


def _sorted(pool: object) -> Tensor:
    return torch.cat([pool.inputs[m] for m in pool.members])  # type: ignore[attr-defined]


@pytest.mark.parametrize("layout", ["torchvision", "repository", "zips", "zips in python", "npz"])
def test_every_layout_gives_the_same_splits(original: Path, tmp_path: Path, layout: str) -> None:
    expected = omniglot(original, queries=5)
    if layout == "torchvision":
        shutil.copytree(original, tmp_path / "omniglot-py")
    elif layout == "repository":
        shutil.copytree(original, tmp_path / "python")
    elif layout == "npz":
        as_npz(tmp_path)
    else:
        (tmp_path / "python").mkdir()
        zipped(original, tmp_path / "python" if "in" in layout else tmp_path)
    assert equal(omniglot(tmp_path, queries=5), expected)


def test_images_are_bright_ink_turned_four_ways(original: Path) -> None:
    pool = omniglot(original).test.pool
    assert len(pool.classes) == 4 * 5
    assert pool.sizes == [20] * 20
    assert pool.inputs.shape == (400, 28, 28)
    assert pool.inputs.dtype == torch.uint8
    assert 0 < float(pool.inputs.float().mean()) < 30
    upright = pool.inputs[pool.members[pool.classes.index("Oriya/character02@0")][0]]
    turned = pool.inputs[pool.members[pool.classes.index("Oriya/character02@90")][0]]
    assert torch.equal(torch.rot90(upright), turned)
    assert omniglot(original, rotate=False, ways=2, size=105).test.pool.inputs.shape == (100, 105, 105)


def test_without_a_file_validation_is_whole_background_alphabets_by_seed(original: Path) -> None:
    parts = omniglot(original, rotate=False, ways=2)
    alphabets = [
        {str(c).split("/")[0] for c in part.pool.classes}
        for part in (parts.train, parts.validation, parts.test)
    ]
    assert alphabets[0] | alphabets[1] == set(SETS["background"])
    assert not alphabets[0] & alphabets[1]
    assert alphabets[2] == set(SETS["evaluation"])
    assert equal(parts, omniglot(original, rotate=False, ways=2))
    others = [omniglot(original, rotate=False, ways=2, seed=s).validation.pool.classes for s in range(1, 9)]
    assert any(classes != parts.validation.pool.classes for classes in others)


def test_a_split_file_is_used_where_it_lies_and_can_be_set_aside(original: Path, tmp_path: Path) -> None:
    root = as_npz(tmp_path)
    lists = {
        "train": ["Greek/character01", "Oriya/character01"],
        "val": ["Runes/character01"],
        "test": ["Runes/character02"],
    }
    (root / SPLIT_FILE).write_text(json.dumps({"classes": lists}))
    with pytest.raises(TaskError, match="classes; 5-way"):
        omniglot(root, rotate=False)
    assert set(omniglot(root, ways=2).train.pool.classes) == {
        f"{n}@{t}" for n in lists["train"] for t in (0, 90, 180, 270)
    }
    assert equal(omniglot(root, split="background", ways=2), omniglot(original, ways=2))
    assert equal(omniglot(original, ways=2, split=root / SPLIT_FILE), omniglot(root, ways=2))


def test_what_is_missing_or_damaged_is_named(original: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has neither images_background"):
        omniglot(tmp_path)
    root = zipped(original, tmp_path)
    with pytest.raises(DataError, match=f"{SPLIT_FILE} does not exist"):
        omniglot(root, split="vinyals")
    (root / "other.json").write_text("[]")
    with pytest.raises(DataError, match="is no split file"):
        omniglot(root, split=root / "other.json")
    whole = (root / "images_evaluation.zip").read_bytes()
    (root / "images_evaluation.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"images_evaluation\.zip is not a whole zip file"):
        omniglot(root)


def test_real_drawings_resize_to_the_published_28_pixels(
    real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Real strokes through the original layout equal the ready arrays, but for a grey level here and there."""
    folder = real_data("omniglot")
    with (
        np.load(folder / "omniglot_28x28_uint8.npz") as small,
        np.load(folder / "omniglot_105x105_bits.npz") as large,
    ):
        characters = [c + d for c in range(0, 1600, 200) for d in (0, 1)]
        rows = np.isin(large["char_index"], characters)
        bits = np.unpackbits(large["bits"][rows], axis=1)[:, : 105 * 105].reshape(-1, 105, 105)
        ready = torch.from_numpy(small["images"][rows])
        names = [f"{a}/{c}" for a, c in zip(large["char_alphabet"], large["char_name"], strict=True)]
        sets = large["char_set"]
    for place, character in enumerate(characters):
        where = tmp_path / f"images_{sets[character]}" / names[character]
        where.mkdir(parents=True)
        for drawer in range(20):
            Image.fromarray(255 - 255 * bits[20 * place + drawer]).convert("1").save(
                where / f"{character:04d}_{drawer + 1:02d}.png"
            )
    parts = omniglot(tmp_path, rotate=False, ways=2, split="background", queries=1)
    seen = {}
    for part in (parts.train, parts.validation, parts.test):
        for c, members in zip(part.pool.classes, part.pool.members, strict=True):
            seen[c] = part.pool.inputs[members]
    for place, character in enumerate(characters):
        gap = seen[names[character]].int() - ready[20 * place : 20 * place + 20].int()
        assert int(gap.abs().sum()) <= 1  # torch and Pillow round 19 of the 32,460 drawings apart, by 1


def test_the_real_npz_has_the_published_sizes(real_data: Callable[[str], Path]) -> None:
    folder = real_data("omniglot")
    parts = omniglot(folder, rotate=False)
    assert [len(p.pool.classes) for p in (parts.train, parts.validation, parts.test)] == [1028, 172, 423]
    sets = omniglot(folder, rotate=False, split="background")
    assert len(sets.train.pool.classes) + len(sets.validation.pool.classes) == 964
    assert len(sets.test.pool.classes) == 659
