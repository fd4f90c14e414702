"""`inspect`: what data are, what is wrong with them, and what can be made of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kshot import data
from kshot.data import Episodes, Pool, inspect
from kshot.errors import DataError
from kshot.tasks import NWayKShot


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """Three classes with every kind of trouble."""
    noise = np.random.default_rng(0)
    for label, count in (("a", 6), ("b", 4), ("c", 3)):
        (tmp_path / label).mkdir()
        for i in range(count):
            levels = noise.integers(0, 256, (10, 12 if i else 14, 3), np.uint8)
            Image.fromarray(levels).convert("L" if label == "c" else "RGB").save(
                tmp_path / label / f"{i}.png"
            )
    (tmp_path / "a" / "copy.bmp").write_bytes(b"")
    Image.open(tmp_path / "a" / "1.png").save(tmp_path / "a" / "copy.bmp")  # other bytes, the same pixels
    (tmp_path / "b" / "stolen.png").write_bytes((tmp_path / "a" / "2.png").read_bytes())
    (tmp_path / "b" / "3.png").write_bytes((tmp_path / "b" / "3.png").read_bytes()[:60])
    return tmp_path


def test_a_messy_folder_is_seen_through(messy: Path) -> None:
    found = inspect(messy)
    assert (found.kind, found.classes, found.examples) == ("images", 3, 15)
    assert found.per_class == {"min": 3, "median": 5.0, "max": 7}
    assert found.sizes == {"12 x 10": 11, "14 x 10": 3}
    assert found.modes == {"RGB": 11, "L": 3}
    assert [Path(name).name for name in found.unreadable] == ["3.png"]
    assert [{Path(p).name for p in group} for group in found.duplicates] == [{"1.png", "copy.bmp"}]
    ((places, labels),) = found.contradictions
    assert {Path(p).name for p in places} == {"2.png", "stolen.png"}
    assert labels == ["a", "b"]
    assert not found.usable
    text = str(found)
    for part in ("15 images in 3 classes, 3 to 7 a class (median 5)", "1 files cannot be read", "occur with different labels",
                 "1 inputs repeat", "impossible: class", "settings that work: ways=3, shots=1, queries=2"):  # fmt: skip
        assert part in text
    assert json.loads(json.dumps(found.to_json()))["works"] == {"ways": 3, "shots": 1, "queries": 2}


def test_what_it_says_works_works_and_what_it_says_does_not_does_not() -> None:
    for classes, size in ((2, 2), (3, 6), (7, 12), (30, 21), (100, 20)):
        pool = Pool(torch.rand(classes * size, 3), [i // size for i in range(classes * size)])
        found = inspect(pool)
        Episodes(pool, NWayKShot(**found.works)).sample(torch.Generator())
        for verdict in found.verdicts:
            sampler = NWayKShot(verdict.ways, verdict.shots, verdict.queries)
            assert verdict.possible == (classes >= verdict.ways and size >= verdict.shots + verdict.queries)
            if verdict.possible:
                Episodes(pool, sampler).sample(torch.Generator())
            else:
                assert str(size) in verdict.why or str(classes) in verdict.why
        parts = [] if min(found.splits.values()) < 1 else pool.split(0.6, 0.2, 0.2)
        assert [len(part.classes) for part in parts] in ([], list(found.splits.values()))
        if min(found.splits.values()) >= 2:
            assert min(len(part.classes) for part in parts) >= found.works["ways"]


@pytest.mark.parametrize("sizes", [[5], [1, 1, 1]])
def test_data_that_make_no_task_have_no_settings(sizes: list[int]) -> None:
    labels = [c for c, size in enumerate(sizes) for _ in range(size)]
    found = inspect(Pool(torch.rand(len(labels), 2), labels))
    assert found.works == {}
    assert not found.usable
    assert "no setting works" in str(found)


def test_tables_texts_and_arrays_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "hi", "label": "a"}\n{"text": "hi", "label": "b"}\n')
    texts = inspect(tmp_path / "t.jsonl")
    assert texts.kind == "texts"
    assert texts.contradictions == [(["0", "1"], ["a", "b"])]
    (tmp_path / "t.csv").write_text("w,h,size\n1,2,s\n3,4,l\n")
    assert inspect(tmp_path / "t.csv", input=["w", "h"], label="size").kind == "rows"
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 4, 4), np.uint8), y=np.arange(2))
    images = inspect(tmp_path / "a.npz")
    assert (images.kind, images.sizes, len(images.contradictions)) == ("images", {"4 x 4": 2}, 1)


def test_paths_that_cannot_be_opened_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        inspect(tmp_path / "no")
    (tmp_path / "a.xls").write_text("x")
    with pytest.raises(DataError, match=r"a\.xls is of no known kind"):
        inspect(tmp_path / "a.xls")


def test_real_kanji_have_the_counts_their_card_says(real_data: Callable[[str], Path]) -> None:
    file = next(real_data("kuzushiji_kanji").glob("*.npz"))
    with np.load(file, allow_pickle=False) as found:
        images = next(found[k] for k in found if found[k].ndim == 3)
        labels = next(
            found[k] for k in found if found[k].shape == (len(images),) and found[k].dtype.kind in "iu"
        )
    seen = inspect(data.arrays(images, labels))
    assert (seen.classes, seen.examples, seen.per_class["min"]) == (714, 14280, 20)
    assert seen.sizes == {"32 x 32": 14280}
    assert seen.works == {"ways": 5, "shots": 5, "queries": 15}
