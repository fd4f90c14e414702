"""Features that lie in groups come back bit by bit, and give the products of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kshot.heads.grouped_rows import GroupedRows
from kshot.serving.grouping import pack_groups, read_groups
from kshot.serving.packing import pack_features, read_features, unpack_features

SHAPES = [
    (1, 1),
    (3, 5),
    (2, 256),
    (7, 257),
    (25, 384),
    (4, 1024),
    (3, 1025),
    (300, 700),
    (5, 8192),
    (2, 65_536),
]


def few_values(shape: tuple[int, int], share: float) -> np.ndarray:
    """Nine different numbers, so much of which is not zero; the first row is all zero."""
    rng = np.random.default_rng(0)
    found = (rng.integers(-4, 5, shape) * (rng.random(shape) < share)).astype(np.float16)
    found[:1] *= shape[0] == 1
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
def test_groups_come_back_and_give_the_same_products(shape: tuple[int, int], share: float) -> None:
    features = few_values(shape, share)
    packed = pack_groups(features, features.reshape(-1) != 0)
    assert packed is not None
    for shift in (0, 1):  # as it lies where it was unsealed, at an odd place
        rows = read_groups(b"." * shift + packed, shift, shape)
        whole = np.asarray(rows)
        assert whole.dtype == np.float32
        assert np.array_equal(whole, features)
    for count in (1, 3, 9):
        queries = np.random.default_rng(1).standard_normal((count, shape[1])).astype(np.float32)
        expected = queries.astype(np.float64) @ features.T.astype(np.float64)
        assert np.allclose(rows.products(queries), expected, rtol=1e-5, atol=1e-3)


def test_the_smallest_of_three_ways_is_taken_and_all_are_read() -> None:
    rng = np.random.default_rng(2)
    few, many = few_values((25, 384), 0.3), rng.standard_normal((25, 384)).astype(np.float16)
    half = many * (rng.random(many.shape) < 0.3)
    sizes = []
    for features, kind in ((few, GroupedRows), (half, np.ndarray), (many, np.ndarray)):
        tensor = torch.from_numpy(features.astype(np.float16))
        packed = pack_features(range(25), tensor)
        sizes.append(len(packed))
        numbers, told = read_features(memoryview(bytearray(packed)))
        assert isinstance(told, kind)
        assert numbers == tuple(range(25))
        assert np.array_equal(np.asarray(told), features)
        assert torch.equal(unpack_features(packed)[1], tensor)
    assert sizes[0] < 0.25 * many.nbytes < sizes[1] < 0.5 * many.nbytes < sizes[2]


def test_odd_numbers_come_back() -> None:
    """Both zeros, the smallest and the largest of float16."""
    features = torch.zeros(3, 300, dtype=torch.float16)
    features[0, [0, 255, 256, 299]] = torch.tensor([-0.0, 6e-8, 65_504, -65_504], dtype=torch.float16)
    packed = pack_groups(features.numpy(), features.numpy().reshape(-1) != 0)
    assert packed is not None
    assert np.array_equal(np.asarray(read_groups(packed, 0, (3, 300))), features.float().numpy())


def test_other_axes_and_wide_rows_are_left() -> None:
    for shape in ((2, 3, 4), (2, 65_537)):
        features = np.zeros(shape, np.float16)
        assert pack_groups(features, features.reshape(-1) != 0) is None
    for shape in ((2, 3, 400), (2, 70_000), (0, 384)):
        zeros = torch.zeros(shape, dtype=torch.float16)
        assert unpack_features(pack_features(range(shape[0]), zeros))[1].shape == shape
