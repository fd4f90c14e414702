"""PNG by hand, evidence as HTML and as text."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

import kshot
from kshot.errors import DataError
from kshot.explanation import data_uri, evidence, evidence_bars, gallery, picture_lines, png
from kshot.explanation.pictures import small


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (3, 5, 7)])
def test_png_is_what_other_programs_read(shape: tuple[int, ...]) -> None:
    image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    read = np.asarray(Image.open(io.BytesIO(png(image))))
    wanted = image.permute(1, 2, 0).numpy() if image.ndim == 3 else image.numpy()
    assert np.array_equal(read, wanted.squeeze())


def test_floats_are_brightness_in_0_to_1() -> None:
    read = np.asarray(Image.open(io.BytesIO(png(torch.tensor([[0.0, 0.5, 2.0]])))))
    assert read.tolist() == [[0, 128, 255]]


def test_other_shapes_are_an_error() -> None:
    with pytest.raises(DataError, match=r"\(2, 5, 5\)"):
        png(torch.zeros(2, 5, 5))


def test_large_pictures_are_made_small_and_keep_their_form() -> None:
    assert tuple(small(torch.zeros(3, 400, 800, dtype=torch.uint8)).shape) == (3, 80, 160)
    assert tuple(small(torch.zeros(1, 8, 8)).shape) == (1, 8, 8)


def test_a_data_address_holds_the_picture() -> None:
    address = data_uri(torch.full((4, 4), 7, dtype=torch.uint8))
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    assert np.asarray(Image.open(io.BytesIO(data))).min() == 7


def test_names_are_escaped() -> None:
    assert "<b>" not in gallery([torch.zeros(2, 2)], ["<b>"])


@pytest.fixture
def task() -> kshot.Adapted:
    """Three pictures of two classes."""
    learner = kshot.learners.ProtoNet(kshot.encoders.pixels(4))
    pictures = torch.zeros(3, 4, 4, dtype=torch.uint8)
    pictures[0, 0], pictures[1, :, 0], pictures[2, 0] = 255, 255, 200
    return learner.adapt(pictures, ["row", "column", "row"], ids=["a", "b", "c"])


def test_evidence_shows_a_picture_and_a_bar_for_each_example(task: kshot.Adapted) -> None:
    found = task.explain(task.inputs[0])
    text = evidence(task, found, most=2)
    assert text.count("<img") == 2
    assert len(re.findall(r"--share:", text)) == 2
    assert "--share:1.000" in text
    assert f"{100 * found.evidence[0].contribution:+.1f} points" in text


def test_bars_are_longest_for_the_strongest(task: kshot.Adapted) -> None:
    lines = evidence_bars(task.explain(task.inputs[0]), width=10, unicode=False)
    bars = [line.count("#") for line in lines]
    assert bars[0] == 10
    assert bars == sorted(bars, reverse=True)
    assert all(line.isascii() for line in lines)


def test_a_picture_as_text_has_its_bright_places() -> None:
    image = torch.zeros(1, 4, 4, dtype=torch.uint8)
    image[0, 0] = 255
    assert picture_lines(image, height=4, unicode=False) == ["########", " " * 8, " " * 8, " " * 8]
