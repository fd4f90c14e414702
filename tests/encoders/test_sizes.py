"""Settings of encoders: what can be made is made, what cannot is named with its rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kshot.encoders import Encoder, conv4, identity, mlp, pixels, resnet12, torchvision
from kshot.encoders.norms import NORMS, norm_layer
from kshot.errors import SettingError


@pytest.mark.parametrize("channels", [1, 7, 8, 12, 20, 28, 29, 64, 100, 160, 320, 640])
def test_group_norms_divide_any_number_of_channels(channels: int) -> None:
    norm = norm_layer("group", channels)
    assert isinstance(norm, nn.GroupNorm)
    assert channels % norm.num_groups == 0
    assert channels // norm.num_groups >= min(8, channels)
    assert norm(torch.rand(2, channels, 2, 2)).shape == (2, channels, 2, 2)


@pytest.mark.parametrize("channels", [8, 16, 64, 160, 320, 640])
def test_channels_that_eight_divides_are_in_groups_of_eight(channels: int) -> None:
    assert norm_layer("group", channels).num_groups == channels // 8


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: conv4(0), "width is 0; it must be a whole number of at least 1"),
        (lambda: conv4("64"), "width is '64'"),
        (lambda: conv4(2.5, norm="group"), "width is 2.5"),
        (lambda: conv4(True), "width is True"),
        (lambda: conv4(8, blocks=0), "blocks is 0"),
        (lambda: conv4(8, size=28.0), "size is 28.0; it must be a whole number of at least 4"),
        (lambda: conv4(8, size=15), "size 15 is too small for 4 blocks that halve it; use size >= 16"),
        (lambda: conv4(8, norm="bn"), "norm is 'bn'; choose one of batch, group"),
        (
            lambda: conv4(8, channels=3, mean=[0.5, 0.5], std=[0.2, 0.2]),
            r"mean is \[0.5, 0.5\] .* 3 channels",
        ),
        (lambda: conv4(8, mean=[0.5]), r"std \[\] for 1 channels; give both or neither"),
        (lambda: conv4(8, mean=[0.5], std=[0.0]), "with std above 0"),
        (lambda: conv4(8, mean=[float("nan")], std=[1.0]), "a finite number"),
        (lambda: resnet12(()), r"widths is \[\]; give at least one"),
        (lambda: resnet12(64), "widths is 64; give a list"),
        (lambda: resnet12((8, -1)), r"widths\[1\] is -1"),
        (lambda: resnet12((8,) * 4, norm="instance", size=8), "use size >= 9, fewer blocks, or another norm"),
        (lambda: resnet12((8,), norm="none "), "norm is 'none '"),
        (lambda: mlp(3, 8), "hidden is 8; give a list"),
        (lambda: mlp(3, (8, 0)), r"hidden\[1\] is 0"),
        (lambda: mlp(2.5), "inputs is 2.5"),
        (lambda: identity("3"), "inputs is '3'"),
        (lambda: pixels(3), "size is 3"),
        (lambda: torchvision("alexnet", 62), "size is 62; alexnet needs at least 63 pixels"),
    ],
)
def test_settings_that_cannot_be_are_named(make: Callable[[], Encoder], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        make()


@pytest.mark.parametrize("norm", NORMS)
def test_the_smallest_sizes_train(norm: str) -> None:
    assert conv4(12, norm=norm, size=16)(torch.rand(2, 1, 16, 16)).shape == (2, 12)
    assert resnet12((4, 8, 28, 29), norm=norm, size=9)(torch.rand(2, 3, 9, 9)).shape == (2, 29)


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    settings: dict[str, Any] = conv4(np.int64(8), size=np.int32(16), blocks=np.int8(2)).config()
    assert settings == conv4(8, size=16, blocks=2).config()
    assert all(type(settings[name]) is int for name in ("width", "size", "blocks"))
    assert mlp(np.int64(3), np.array([8, 5])).config()["hidden"] == [8, 5]


def test_no_hidden_layer_is_a_choice() -> None:
    assert mlp(3, ()).features == 3
