"""Crops and flips of photographs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from kshot.errors import SettingError
from kshot.vision import CentreCrop, TrainingCrop


def gradient(height: int, width: int) -> torch.Tensor:
    """A picture whose red is its column and whose green is its row."""
    x = torch.linspace(0, 255, width).expand(height, width)
    y = torch.linspace(0, 255, height).unsqueeze(1).expand(height, width)
    return torch.stack([x, y, torch.zeros_like(x)]).to(torch.uint8)


def test_the_centre_crop_is_torchvisions() -> None:
    for height, width in ((300, 400), (90, 70), (64, 64), (33, 200)):
        picture = gradient(height, width)
        expected = v2.Compose([v2.Resize(64, antialias=True), v2.CenterCrop(56)])(picture)
        assert torch.equal(CentreCrop(56)([picture])[0], expected)


def test_training_crops_differ_repeat_by_generator_and_are_as_torchvision_draws_them() -> None:
    picture, crop = gradient(120, 160), TrainingCrop(32)
    first = crop([picture] * 400, torch.Generator().manual_seed(0))
    assert first.shape == (400, 3, 32, 32)
    assert torch.equal(first, crop([picture] * 400, torch.Generator().manual_seed(0)))
    assert len({image.numpy().tobytes() for image in first}) == 400
    mirrored = (first[:, 0, :, 0] > first[:, 0, :, -1]).all(1)
    assert 0.42 < float(mirrored.float().mean()) < 0.58
    torch.manual_seed(0)
    theirs = torch.stack([v2.RandomResizedCrop(32, antialias=True)(picture) for _ in range(400)])
    for channel in (0, 1):  # the spread of colours in a crop tells its size
        ours, known = [
            (x[:, channel].amax((1, 2)) - x[:, channel].amin((1, 2))).float() for x in (first, theirs)
        ]
        assert abs(float(ours.mean() - known.mean())) < 12
        assert abs(float(ours.std() - known.std())) < 12


def test_no_flip_and_the_whole_picture_give_the_plain_resize() -> None:
    picture = gradient(64, 64)
    whole = TrainingCrop(16, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
    assert torch.equal(whole([picture], torch.Generator())[0], v2.Resize(16, antialias=True)(picture))


@pytest.mark.parametrize("crop", [CentreCrop(16), TrainingCrop(16)])
def test_pictures_of_every_kind_become_one_colour_batch(crop: Any) -> None:
    pictures = [
        gradient(20, 30),
        torch.zeros(1, 9, 50, dtype=torch.uint8),
        Image.new("RGBA", (10, 10), (9, 9, 9, 0)),
        Image.fromarray(np.zeros((40, 7), np.uint8)),
    ]
    seen = crop(pictures, torch.Generator())
    assert seen.shape == (4, 3, 16, 16)
    assert seen.dtype == torch.uint8
    assert int(seen[2].min()) == 255
    assert crop([], torch.Generator()).shape == (0, 3, 16, 16)


def test_settings_outside_their_range_are_named() -> None:
    with pytest.raises(SettingError, match="size is 2"):
        CentreCrop(2)
    with pytest.raises(SettingError, match=r"scale is \(0\.5, 0\.2\)"):
        TrainingCrop(8, scale=(0.5, 0.2))
    with pytest.raises(SettingError, match="share is 0"):
        CentreCrop(8, share=0)
