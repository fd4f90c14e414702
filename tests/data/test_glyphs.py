"""The family of stroke glyphs: shape, determinism, legibility, and what its knobs do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kshot.data import glyphs
from kshot.data.glyphs import GlyphFamily
from kshot.errors import DataError


def draw(classes: int = 12, drawings: int = 4, seed: int = 0, **knobs: float) -> Tensor:
    return GlyphFamily(**knobs).draw(classes, drawings, torch.Generator().manual_seed(seed))  # type: ignore[arg-type]


def nearest_mean(pages: Tensor) -> float:
    """Share of the second half of the drawings whose nearest class mean (of the first half) is their own."""
    pixels = pages.flatten(2).float()
    half = pixels.shape[1] // 2
    centre, query = pixels[:, :half].mean(1), pixels[:, half:]
    guess = torch.cdist(query.flatten(0, 1), centre).argmin(1).view(query.shape[:2])
    return float((guess == torch.arange(len(pages)).unsqueeze(1)).float().mean())


def extent(pages: Tensor) -> Tensor:
    """Height or width of the ink in pixels, whichever is larger: [classes, drawings]."""
    ink = pages > 64
    return torch.maximum(ink.any(3).sum(2), ink.any(2).sum(2))


def test_shape_and_type() -> None:
    pages = draw(3, 5)
    assert pages.shape == (3, 5, 28, 28)
    assert pages.dtype == torch.uint8


@pytest.mark.parametrize("scan", [0.0, 1.0])
@pytest.mark.parametrize("size", [16, 28, 64])
def test_every_drawing_has_ink_and_mostly_background(size: int, scan: float) -> None:
    pages = draw(40, 5, size=size, scan=scan)
    share = (pages > 64).float().mean((2, 3))
    assert pages.amax((2, 3)).min() > 100
    assert share.min() > 0
    assert share.mean() < 0.5


def test_same_generator_state_gives_same_bytes() -> None:
    assert torch.equal(draw(seed=3), draw(seed=3))
    assert not torch.equal(draw(seed=3), draw(seed=4))


def test_generator_advances_so_the_next_classes_are_new() -> None:
    generator = torch.Generator().manual_seed(0)
    family = GlyphFamily()
    assert not torch.equal(family.draw(4, 2, generator), family.draw(4, 2, generator))


def test_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draw()
    assert torch.equal(before, torch.get_rng_state())


def test_drawers_differ_within_a_class() -> None:
    pages = draw(8, 6).flatten(2)
    assert all(len(one.unique(dim=0)) == 6 for one in pages)


def test_drawings_of_a_class_look_alike() -> None:
    """Raw pixels already beat chance by far, and careful drawers beat careless ones."""
    careful, careless = (nearest_mean(draw(20, 20, seed=1, scan=0.0, wobble=w)) for w in (0.2, 1.5))
    assert careful > 0.8
    assert careful > careless > 2 / 20


def test_families_differing_in_drawing_knobs_share_their_classes() -> None:
    """Means of the same class under two pens are closer than means of different classes."""
    thin, thick = (draw(30, 20, wobble=0.2, scan=scan).float().mean(1).flatten(1) for scan in (0.0, 0.6))
    thin, thick = thin / thin.norm(dim=1, keepdim=True), thick / thick.norm(dim=1, keepdim=True)
    guess = (thin @ thick.T).argmax(1)
    assert (guess == torch.arange(30)).float().mean() > 0.7


def test_scans_are_thicker_and_fill_more_of_the_page() -> None:
    plain, scanned = draw(40, 5, scan=0.0), draw(40, 5, scan=1.0)
    assert scanned.float().mean() > 1.5 * plain.float().mean()
    assert extent(scanned).float().mean() > extent(plain).float().mean() + 2


def test_plain_drawings_stay_on_the_page() -> None:
    pages = draw(60, 10, scan=0.0)
    edge = torch.cat([pages[:, :, 0], pages[:, :, -1], pages[..., 0], pages[..., -1]], -1)
    assert (edge.amax(-1) > 128).float().mean() < 0.12


def test_one_stroke_one_class_one_drawing() -> None:
    assert draw(1, 1, strokes=1).amax() > 100


def test_more_drawings_than_one_chunk() -> None:
    assert draw(1, glyphs.CHUNK + 3).amax((2, 3)).min() > 100


@pytest.mark.parametrize(
    ("knobs", "needle"),
    [
        ({"size": 4}, "size is 4"),
        ({"strokes": 0}, "strokes is 0"),
        ({"wobble": -1.0}, "wobble is -1.0"),
        ({"kin": 1.5}, "kin is 1.5"),
        ({"copies": -0.1}, "copies is -0.1"),
        ({"scan": 2.0}, "scan is 2.0"),
    ],
)
def test_knobs_out_of_range(knobs: dict[str, float], needle: str) -> None:
    with pytest.raises(DataError, match=needle):
        GlyphFamily(**knobs)  # type: ignore[arg-type]


@pytest.mark.parametrize(("classes", "drawings"), [(0, 1), (1, 0)])
def test_counts_below_one(classes: int, drawings: int) -> None:
    with pytest.raises(DataError, match="is 0; it must be at least 1"):
        draw(classes, drawings)
