"""What the image encoders take, and what they say to what they cannot take."""

from __future__ import annotations

from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import kshot
from kshot.encoders import Pixels
from kshot.errors import DataError

GREY = Pixels(size=8, channels=1)
COLOUR = Pixels(size=8, channels=3)


def picture(mode: str, size: tuple[int, int] = (12, 10)) -> Image.Image:
    """A picture with a dark left and a bright right half."""
    levels = np.zeros((size[1], size[0]), np.uint8)
    levels[:, size[0] // 2 :] = 255
    if mode == "I;16":
        return Image.fromarray((levels.astype(np.uint16)) * 257)
    if mode in ("I", "F"):
        return Image.fromarray(levels.astype(np.int32 if mode == "I" else np.float32))
    return Image.fromarray(levels).convert("RGB").convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16"])
def test_every_mode_shows_the_same_picture(mode: str) -> None:
    for encoder in (GREY, COLOUR):
        seen = encoder.prepare(encoder.read([picture(mode)]))
        assert seen.shape == (1, encoder.channels, 8, 8)
        assert float(seen[..., :3].max()) < 0.05
        assert float(seen[..., 5:].min()) > 0.95


def test_mixed_sizes_and_modes_become_one_batch_in_order() -> None:
    modes = [picture("L", (30, 20)), picture("RGBA", (9, 9)), picture("1", (8, 8)), picture("I;16", (5, 7))]
    together = COLOUR.prepare(COLOUR.read(modes))
    alone = torch.cat([COLOUR.prepare(COLOUR.read([one])) for one in modes])
    assert torch.equal(together, alone)


def test_transparency_is_shown_on_white_and_black_stays_black() -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([255, 0, 0] * 256)
    assert float(GREY.prepare(GREY.read([clear])).min()) == 1.0
    assert COLOUR.prepare(COLOUR.read([palette]))[0, :, 0, 0].tolist() == [1.0, 0.0, 0.0]


def test_a_dark_sixteen_bit_picture_stays_dark() -> None:
    dark = Image.fromarray(np.full((8, 8), 200, np.uint16))
    assert float(GREY.prepare(GREY.read([dark])).max()) < 1.5 / 255


def test_a_photograph_is_turned_as_the_camera_was_held(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by a quarter
    picture("L", (8, 8)).save(tmp_path / "phone.png", exif=exif)
    seen = GREY.prepare(GREY.read([tmp_path / "phone.png"]))[0, 0]
    assert seen[0].max() == 0
    assert seen[-1].min() == 1


def test_promised_array_forms_agree() -> None:
    levels = torch.arange(2 * 8 * 8, dtype=torch.uint8).reshape(2, 8, 8)
    forms: list[Any] = [
        levels,
        levels.numpy(),
        levels.unsqueeze(-1),
        levels.unsqueeze(-1).numpy(),
        levels.unsqueeze(1).float() / 255,
        (levels.unsqueeze(1).double() / 255).numpy(),
        list(levels.numpy()),
        [Image.fromarray(one.numpy()) for one in levels],
    ]
    seen = [GREY.prepare(GREY.read(form)) for form in forms]
    assert all(torch.allclose(one, seen[0]) and one.dtype == torch.float32 for one in seen)


def test_colour_arrays_in_both_promised_orders_agree() -> None:
    levels = torch.randint(
        0, 256, (2, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    last = COLOUR.prepare(COLOUR.read(levels.numpy()))
    first = COLOUR.prepare(COLOUR.read(levels.permute(0, 3, 1, 2).float() / 255))
    assert torch.allclose(last, first)


def test_bytes_and_floats_in_one_list_keep_their_scales() -> None:
    white = torch.full((1, 8, 8), 255, dtype=torch.uint8)
    seen = GREY.prepare(GREY.read([white, white.float() / 255]))
    assert torch.equal(seen, torch.ones(2, 1, 8, 8))


@pytest.mark.parametrize("one", [picture("L"), np.zeros((8, 8), np.uint8), torch.zeros(1, 8, 8)])
def test_a_single_image_is_a_batch_of_one(one: Any) -> None:
    assert GREY.prepare(GREY.read(one)).shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (torch.full((2, 1, 8, 8), float("nan")), r"images \[0, 1\] \(2 of 2\) holds NaN"),
        ([np.zeros((8, 8), np.uint8), torch.full((1, 8, 8), float("inf"))], "input 1 holds NaN or infinite"),
        (torch.full((2, 1, 8, 8), 255.0), r"from 255 to 255; floats must lie in 0\.\.1"),
        (torch.full((2, 1, 8, 8), -1.0), r"floats must lie in 0\.\.1"),
        (torch.zeros(2, 7, 8, 8), r"shape \[2, 7, 8, 8\]"),
        (np.zeros((2, 8, 8, 5), np.uint8), r"shape \[2, 8, 8, 5\]"),
        (np.zeros(8, np.uint8), r"shape \[8\]"),
        (np.zeros((2, 0, 8), np.uint8), r"shape \[2, 0, 8\]"),
        (np.zeros((2, 8, 8), np.int64), "type int64"),
        (np.array([["a", "b"]] * 2), "shape|type"),
        (["no such file.png"], r"input 0 \(no such file.png\) does not exist"),
        ([3.5], "input 0 is a float"),
        ({"a": 1}, "came as a dict"),
        (iter([]), "came as a list_iterator"),
    ],
)
def test_what_cannot_be_an_image_is_named(bad: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        COLOUR.read(bad)


def test_a_truncated_and_a_false_file_are_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    Image.effect_noise((64, 64), 50).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:700])
    (tmp_path / "text.jpg").write_text("not a picture")
    for name in ("cut.png", "text.jpg"):
        with pytest.raises(DataError, match=rf"input 1 \(.*{name}\) cannot be read as an image"):
            GREY.read([whole, tmp_path / name])
    with pytest.raises(DataError, match="cannot be read"):
        GREY.read([tmp_path])


@pytest.mark.parametrize("name", ["żółć 字.png", "C:\\pictures\\a b.png", "über#%20?.png"])
def test_unicode_and_windows_names_are_read(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    picture("L").save(file)
    seen = [GREY.read([form])[0] for form in (file, str(file), PurePath(file))]
    assert all(torch.equal(one, seen[0]) for one in seen)
    with pytest.raises(DataError, match="does not exist"):
        GREY.read([PureWindowsPath("D:\\nowhere\\x.png")])


def test_no_image_at_all_is_said_on_adapting_and_answers_nothing_on_predicting() -> None:
    learner = kshot.learners.ProtoNet(GREY)
    with pytest.raises(DataError, match="0 examples"):
        learner.adapt([], [])
    task = learner.adapt([picture("L"), picture("L").rotate(90)], ["a", "b"])
    assert task.predict([]).labels == []


@pytest.mark.parametrize(
    ("labels", "given"),
    [
        (["b", "a"], ["b", "a"]),
        ([30, 7], [30, 7]),
        (np.array([30, 7]), [30, 7]),
        ([np.int64(30), np.int64(7)], [30, 7]),
        (torch.tensor([30, 7]), [30, 7]),
        (np.array(["b", "a"]), ["b", "a"]),
        ([True, False], [True, False]),
    ],
)
def test_labels_of_any_kind_come_back_as_they_were(labels: Any, given: list[Any]) -> None:
    pictures = [picture("L"), picture("L").rotate(180)]
    answer = kshot.learners.ProtoNet(GREY).adapt(pictures, labels).predict(pictures)
    assert answer.labels == given
    assert [type(label) for label in answer.labels] == [type(label) for label in given]
