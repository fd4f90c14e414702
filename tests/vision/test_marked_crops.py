"""Crops that a detector is tuned on: each label as often as the others, with boxes where their things are."""

from __future__ import annotations

import torch
from torch import Tensor

from kshot.seeds import generator
from kshot.vision import Crops
from kshot.vision.detection import untrained
from kshot.vision.marked_crops import MarkedCrops, names_of

ROWS = [
    torch.tensor([[4.0, 4.0, 20.0, 20.0, 0.0]] * 6),
    torch.tensor([[10.0, 10.0, 30.0, 30.0, 1.0]]),
    torch.zeros(0, 5),
]


def crops(seed: int = 0, side: int = 96) -> MarkedCrops:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = untrained(48, features=8, tower=8, vector=8).encoder
    pictures = torch.rand(3, 1, side, side, generator=generator(0, "pictures"))
    return MarkedCrops(encoder, list(pictures), ROWS, Crops(48), generator(seed, "marked crops"))  # type: ignore[arg-type]


def test_places_are_grouped_by_label_and_pictures_without_boxes_are_one_more() -> None:
    groups = crops().groups(range(3))
    assert groups == [[(0, row) for row in range(6)], [(1, 0)], [(2, None)]]
    assert crops().groups([1]) == [[(1, 0)]]


def test_a_rare_label_is_drawn_as_often_as_a_common_one() -> None:
    made = crops()
    pictures, boxes = made.many(made.groups([0, 1]), 200)
    assert len(pictures) == len(boxes) == 200
    rare = sum(bool((own[:, 4] == 1).any()) for own in boxes)
    assert 70 <= rare <= 130


def test_boxes_are_those_of_the_resized_picture() -> None:
    """The encoder's 48 pixels are half the picture's 96."""
    made = crops()
    assert torch.equal(made.boxes[1], torch.tensor([[5.0, 5.0, 15.0, 15.0, 1.0]]))


def test_shaken_boxes_stay_boxes_and_keep_their_labels() -> None:
    boxes = torch.tensor([[10.0, 10.0, 30.0, 50.0, 2.0], [0.0, 0.0, 1.0, 1.0, 3.0]])
    moved = torch.stack([crops(seed).shaken(boxes) for seed in range(50)])
    assert torch.equal(moved[..., 4], boxes[:, 4].expand(50, 2))
    assert bool((moved[..., 2:4] > moved[..., :2]).all())
    spread = (moved[:, 0, :4] - boxes[0, :4]).std(0)
    assert 0.5 < float(spread[0] / (0.08 * 20)) < 1.5
    assert 0.5 < float(spread[3] / (0.08 * 40)) < 1.5


def test_columns_of_names() -> None:
    others: Tensor = torch.zeros(2, 8)
    assert names_of([ROWS[0][:1], ROWS[1]], others).tolist() == [1, 2, 0, 0]
