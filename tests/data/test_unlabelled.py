"""Tasks from inputs without labels, and the changes that make their examples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import kshot
from kshot.data import Affine, Chain, Cutout, Elastic, Thickness, Unlabelled
from kshot.errors import DataError, SettingError
from kshot.tasks import sample_batch


def drawings(count: int, size: int = 28) -> Tensor:
    """uint8 drawings by kshot itself, one of each of `count` characters."""
    drawn = kshot.data.GlyphFamily(size).draw(count, 2, torch.Generator().manual_seed(0))
    return drawn[:, 0]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_class_is_one_input() -> None:
    """With a change that changes nothing, support and query of a class are one and the same input."""
    source = Unlabelled(torch.arange(20.0).unsqueeze(1), lambda x, _: x, ways=6, shots=2, queries=3)
    task = source.sample(rng())
    assert task.support is not None
    assert task.query is not None
    shown = task.support.inputs.view(6, 2)
    asked = task.query.inputs.view(6, 3)
    assert torch.equal(shown[:, :1].expand(6, 3), asked)
    assert len(set(shown[:, 0].tolist())) == 6
    assert task.support.targets.tolist() == [c for c in range(6) for _ in range(2)]
    assert task.query.targets.tolist() == [c for c in range(6) for _ in range(3)]


def test_examples_of_a_class_are_changed_each_on_its_own() -> None:
    task = Unlabelled(drawings(8), ways=5).sample(rng())
    assert task.support is not None
    assert task.query is not None
    both = torch.cat([task.support.inputs.view(5, 1, -1), task.query.inputs.view(5, 3, -1)], 1)
    for one in both:
        assert len(torch.unique(one, dim=0)) == 4


def test_settings_are_changed_on_a_copy() -> None:
    source = Unlabelled(drawings(8), ways=5)
    other = source.using(ways=3, shots=2)
    assert (source.ways, other.ways, other.shots) == (5, 3, 2)
    assert other.inputs is source.inputs
    assert len(sample_batch(other, 2, rng())) == 2


def test_inputs_that_cannot_be_used_are_named() -> None:
    with pytest.raises(SettingError, match="4 inputs cannot make 5-way"):
        Unlabelled(drawings(4), ways=5)
    with pytest.raises(SettingError, match="0 inputs"):
        Unlabelled(torch.zeros(0, 28, 28), ways=5)
    with pytest.raises(DataError, match="ndarray"):
        Unlabelled(drawings(8).numpy(), ways=5)  # type: ignore[arg-type]
    bad = torch.rand(8, 1, 28, 28)
    bad[3, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match=r"inputs \[3\] hold NaN"):
        Unlabelled(bad, ways=5)
    for name, value in (("ways", 1), ("shots", 0), ("queries", 0)):
        with pytest.raises(SettingError, match=f"{name} is {value}"):
            Unlabelled(drawings(8), **{"ways": 5, name: value})


CHANGES = [Affine(), Elastic(), Thickness(), Cutout(), Chain((Elastic(), Thickness(), Cutout()))]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: type(change).__name__)
def test_changes_keep_their_promises(change: Affine) -> None:
    """Floats in 0..1 of the same size, repeatable, and other ones the next time; colour and grey alike."""
    grey, colour = drawings(6), torch.rand(6, 3, 12, 16, generator=rng())
    for images, shape in ((grey, (6, 1, 28, 28)), (colour, (6, 3, 12, 16))):
        first, again, other = change(images, rng(1)), change(images, rng(1)), change(images, rng(2))
        assert first.shape == shape
        assert float(first.min()) >= 0
        assert float(first.max()) <= 1 + 1e-6
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_elastic_without_any_change_is_the_image() -> None:
    still = Elastic(degrees=0, shift=0, scale=0, shear=0, bend=0)
    images = torch.rand(3, 1, 9, 9, generator=rng())
    torch.testing.assert_close(still(images, rng()), images, atol=1e-5, rtol=1e-5)


def test_elastic_turns_a_line() -> None:
    """Turned by up to 45 degrees, a horizontal line has its mass on a straight line at that angle."""
    image = torch.zeros(32, 1, 33, 33)
    image[..., 16, :] = 1.0
    turned = Elastic(degrees=45, shift=0, scale=0, shear=0, bend=0)(image, rng())[:, 0]
    rows, columns = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(33.0) - 16, indexing="ij")
    angle = torch.atan2((turned * rows * columns).sum((1, 2)), (turned * columns.square()).sum((1, 2)))
    assert float(angle.abs().max()) > 0.5
    thin = (
        turned * (rows * torch.cos(angle).view(-1, 1, 1) - columns * torch.sin(angle).view(-1, 1, 1)).abs()
    ).sum((1, 2))
    assert bool((thin / turned.sum((1, 2)) < 0.6).all())


def test_elastic_bends() -> None:
    image = torch.zeros(1, 1, 28, 28)
    image[..., 13:15, :] = 1.0
    bent = Elastic(degrees=0, shift=0, scale=0, shear=0, bend=0.2)(image, rng())
    assert not torch.allclose(bent, image, atol=0.1)
    with pytest.raises(SettingError, match="cells is 1"):
        Elastic(cells=1)


def test_thickness_goes_both_ways() -> None:
    line = torch.zeros(64, 1, 9, 9)
    line[..., 3:6] = 1.0
    ink = Thickness()(line, rng()).flatten(1).sum(1)
    assert bool((ink > 27 + 1).any())
    assert bool((ink < 27 - 1).any())


def test_training_without_labels_learns() -> None:
    """Tiny images: unlabelled drawings of some characters serve tasks of others."""
    family = kshot.data.GlyphFamily(16).draw(60, 8, rng(3))
    pool = kshot.data.Pool(family[:20].flatten(0, 1), [c for c in range(20) for _ in range(8)])
    judged = kshot.data.Episodes(pool, kshot.tasks.NWayKShot(5, 1, 5))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = kshot.learners.ProtoNet(kshot.encoders.conv4(16, size=16, blocks=3), rounds=True)
    source = Unlabelled(family[20:].flatten(0, 1), ways=15)
    run = kshot.fit(start, source, steps=60, rate=1e-2, progress=False, validate_every=60, validation_tasks=5)
    before, after = (kshot.evaluate(one, judged, tasks=60).mean for one in (start, run.learner))
    assert after > before + 0.05
