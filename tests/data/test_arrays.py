"""Arrays, .npz files and map-style data sets as pools; splits of pools."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch.utils.data import Dataset, Subset

from kshot import data
from kshot.data import Pool
from kshot.errors import DataError, SettingError


@pytest.mark.parametrize("y", [np.array(["b", "a", "b"]), ["b", "a", "b"], [np.str_("b"), "a", "b"]])
def test_arrays_of_any_library_and_labels_of_any_kind(y: Any) -> None:
    for x in (np.eye(3), torch.eye(3), np.eye(3)[::-1]):
        pool = data.arrays(x, y)
        assert pool.classes == ("a", "b")
        assert pool.in_memory
        assert [pool.targets[i] for i in range(3)] == [1, 0, 1]


@pytest.mark.parametrize("y", [[30, -2, 30], np.array([30, -2, 30], np.int16), torch.tensor([30, -2, 30])])
def test_unsorted_whole_numbers_are_labels(y: Any) -> None:
    assert data.arrays(np.eye(3), y).classes == (-2, 30)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.eye(3), [0, 1], "3 inputs came with 2 labels"),
        (np.array([[1.0, np.nan], [1, 2]]), [0, 1], r"NaN or infinite numbers in 1 of 2 rows \(\[0\]\)"),
        (np.eye(2), np.eye(2), r"y has shape \[2, 2\]"),
        (np.ones(2), [0, 1], r"x has shape \[2\]"),
        ([[1.0, 2.0], [3.0]], [0, 1], "cannot be one array"),
        (np.array([["a"], ["b"]]), [0, 1], "give an array of numbers"),
        (np.eye(2), [0, "a"], "labels mix kinds"),
        (np.eye(2), [0, None], "label None is a NoneType"),
        (np.eye(2), [0.0, float("nan")], "a label is NaN"),
        (np.zeros((0, 2)), [], "0 examples"),
    ],
)
def test_arrays_that_do_not_fit_are_named(x: Any, y: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        data.arrays(x, y)


def test_npz_files_are_read_and_pickles_never(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 4, 4), np.uint8), labels=np.array(["x", "y"]))
    assert data.npz(tmp_path / "a.npz").classes == ("x", "y")
    np.savez(tmp_path / "b.npz", p=np.eye(2), q=np.arange(2))
    assert data.npz(tmp_path / "b.npz", "p", "q").classes == (0, 1)
    with pytest.raises(DataError, match=r"holds \['p', 'q'\]"):
        data.npz(tmp_path / "b.npz")
    with pytest.raises(DataError, match="no array"):
        data.npz(tmp_path / "b.npz", "p", "r")
    np.savez(tmp_path / "c.npz", x=np.array([[{}]], dtype=object), y=np.arange(1))
    with pytest.raises(DataError, match="plain arrays"):
        data.npz(tmp_path / "c.npz")
    (tmp_path / "d.npz").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(DataError, match="plain arrays"):
        data.npz(tmp_path / "d.npz")
    with pytest.raises(DataError, match="does not exist"):
        data.npz(tmp_path / "e.npz")


class _Bomb:
    def __reduce__(self) -> Any:
        return pytest.fail, ("the pickle was run",)


class Counting(Dataset[Any]):
    """Counts how often an item is fetched."""

    def __init__(self, **attributes: Any) -> None:
        self.fetched = 0
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        self.fetched += 1
        return torch.full((2,), float(place)), place % 2


@pytest.mark.parametrize(
    ("attributes", "classes", "fetched"),
    [
        ({}, (0, 1), 4),
        ({"targets": [0, 1, 0, 1]}, (0, 1), 0),
        ({"targets": torch.tensor([0, 1, 0, 1]), "classes": ["cat", "dog"]}, ("cat", "dog"), 0),
        ({"labels": np.array([0, 1, 0, 1])}, (0, 1), 0),
        ({"samples": [("p", 0), ("q", 1), ("r", 0), ("s", 1)], "classes": ["cat", "dog"]}, ("cat", "dog"), 0),
        ({"targets": [0, 1, 0, 1], "target_transform": lambda y: y + 5, "classes": ["c", "d"]}, (5, 6), 0),
        ({"targets": [0, 1]}, (0, 1), 4),
    ],
)
def test_labels_are_taken_without_fetching_items_where_they_are_kept(
    attributes: dict[str, Any], classes: tuple[Any, ...], fetched: int
) -> None:
    items = Counting(**attributes)
    pool = data.dataset(items)
    assert (pool.classes, items.fetched) == (classes, fetched)
    assert pool.inputs[3].tolist() == [3.0, 3.0]
    assert [int(i) for i in pool.members[1]] == [1, 3]


def test_a_subset_keeps_the_labels_of_its_places() -> None:
    pool = data.dataset(Subset(Counting(targets=[0, 1, 0, 1]), [3, 0]))
    assert pool.targets.tolist() == [1, 0]
    assert pool.inputs[0].tolist() == [3.0, 3.0]


def test_torchvision_data_sets_are_pools() -> None:
    fake = torchvision.datasets.FakeData(size=12, image_size=(3, 8, 8), num_classes=2)
    pool = data.dataset(fake)
    assert len(pool) == 12
    assert pool.inputs[0].size == (8, 8)


def test_what_is_no_data_set_of_pairs_is_named() -> None:
    with pytest.raises(DataError, match="item 0 of list is a int"):
        data.dataset([1, 2])
    with pytest.raises(DataError, match="generator has no length"):
        data.dataset(x for x in [1])


def classes_of(parts: list[Pool]) -> list[set[Any]]:
    return [set(part.classes) for part in parts]


def test_splits_are_class_disjoint_repeatable_and_whole() -> None:
    pool = Pool(torch.arange(60.0).reshape(30, 2), [i % 10 for i in range(30)])
    parts = pool.split(0.6, 0.2, 0.2, seed=1)
    assert [len(c) for c in classes_of(parts)] == [6, 2, 2]
    assert set.union(*classes_of(parts)) == set(range(10))
    assert classes_of(parts) == classes_of(pool.split(0.6, 0.2, 0.2, seed=1))
    assert classes_of(parts) != classes_of(pool.split(0.6, 0.2, 0.2, seed=2))
    for part in parts:
        for row, target in zip(part.inputs, part.targets, strict=True):
            assert int(row[0]) // 2 % 10 == part.classes[int(target)]


def test_splits_by_list_hold_those_classes_and_refuse_wrong_lists() -> None:
    pool = Pool(torch.zeros(6, 1), list("aabbcc"))
    assert classes_of(pool.split_by(["c"], ["a", "b"])) == [{"c"}, {"a", "b"}]
    with pytest.raises(DataError, match="label 'd' of list 1 is not in the data"):
        pool.split_by(["a"], ["d"])
    with pytest.raises(DataError, match="label 'a' is in lists 0 and 1"):
        pool.split_by(["a"], ["a"])
    with pytest.raises(SettingError, match="a part would be empty"):
        pool.split(0.9, 0.05, 0.05)


@pytest.mark.parametrize("shares", [(), (0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0)])
def test_shares_that_divide_nothing_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(SettingError, match="share"):
        Pool(torch.zeros(6, 1), list("aabbcc")).split(*shares)


def test_an_empty_list_of_classes_is_refused() -> None:
    with pytest.raises(DataError, match="list 1 names no class"):
        Pool(torch.zeros(6, 1), list("aabbcc")).split_by(["a"], [])
