"""The choice for rows: which scaling, which scalars, and what it does where nothing can be estimated."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kshot.encoders import ScaledRows
from kshot.errors import DataError, SettingError
from kshot.heads import PrototypeHead
from kshot.tuning.rows import SCALINGS, choose_for_rows, one_shot_scaling, smoothed_loss


def blobs(shots: int, scales: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three classes told apart by the first two columns, all columns then multiplied by `scales`."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(3).repeat_interleave(shots)
    centres = torch.zeros(3, len(scales), dtype=torch.float64)
    centres[1, 0], centres[2, 1] = 5.0, 5.0
    noise = torch.randn(len(labels), len(scales), generator=rng, dtype=torch.float64)
    return (centres[labels] + noise) * scales, labels


def test_a_loud_column_of_noise_is_turned_down() -> None:
    scales = torch.ones(6, dtype=torch.float64)
    scales[5] = 1000.0
    rows, labels = blobs(5, scales)
    found = choose_for_rows(rows, labels, 3)
    assert found.scaling == "each"
    assert found.tried["each prototype"] < found.tried["shared prototype"]


def test_directions_are_compared_where_lengths_are_noise() -> None:
    rng = torch.Generator().manual_seed(1)
    rows, labels = blobs(5, torch.ones(20, dtype=torch.float64))
    rows = (rows / 5 + 0.2) * torch.exp(2 * torch.randn(15, 1, generator=rng, dtype=torch.float64))
    assert choose_for_rows(rows, labels, 3).scaling == "unit"


def test_the_estimate_is_the_leave_one_out_log_loss() -> None:
    """Judged again by really leaving each example out, in float64."""
    rows, labels = blobs(3, torch.ones(4, dtype=torch.float64))
    found = choose_for_rows(rows, labels, 3, scaling="shared", head="prototype")
    features = ScaledRows.fitted(rows, power=0.0)(rows)
    head = PrototypeHead().double()
    scores = []
    for place in range(9):
        keep = torch.arange(9) != place
        with torch.no_grad():
            state = head.solve(features[keep], labels[keep], 3)
            scores.append(head.respond(state, features[place : place + 1]))
    loss, temperature = smoothed_loss(torch.cat(scores), labels)
    assert found.estimate == pytest.approx(loss, abs=1e-4)
    assert float(found.learner.temperature) == pytest.approx(temperature)


def test_one_example_a_class_is_not_estimated() -> None:
    found = choose_for_rows(*blobs(1, torch.ones(4, dtype=torch.float64)), 3)
    assert found.estimate is None
    assert found.head == "prototype"
    assert not found.tried


def test_one_shot_scaling_looks_at_where_the_variance_is() -> None:
    even = torch.randn(10, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loud = even.clone()
    loud[:, 0] *= 1000
    assert one_shot_scaling(even) == "unit"
    assert one_shot_scaling(loud) == "half_unit"
    assert one_shot_scaling(even[:, :2]) == "half"
    assert one_shot_scaling(torch.ones(3, 8, dtype=torch.float64)) == "unit"


def test_a_perfect_task_is_not_infinitely_sure() -> None:
    scores = 50 * torch.eye(4, dtype=torch.float64)
    _, temperature = smoothed_loss(scores, torch.arange(4))
    sure = torch.softmax(scores / temperature, 1).diagonal()
    assert bool((sure < 0.999).all())
    assert bool((sure > 0.8).all())


def test_smoothed_loss_of_chance_is_the_log_of_the_classes() -> None:
    loss, _ = smoothed_loss(torch.zeros(6, 3), torch.arange(6) % 3)
    assert loss == pytest.approx(math.log(3))


@pytest.mark.parametrize("name", SCALINGS)
def test_every_scaling_makes_the_columns_vary_by_one_on_average(name: str) -> None:
    rows, _ = blobs(6, torch.tensor([1.0, 10.0, 0.1, 100.0], dtype=torch.float64))
    power, unit = SCALINGS[name]
    scaled = ScaledRows.fitted(rows, power=power, unit=unit)(rows)
    assert float(scaled.square().mean()) == pytest.approx(1.0)
    assert scaled.mean(0).tolist() == pytest.approx([0.0] * 4, abs=1e-9)


def test_numbers_are_chosen_by_squared_error() -> None:
    x = torch.linspace(-2, 2, 30, dtype=torch.float64).unsqueeze(1)
    found = choose_for_rows(x, torch.sin(2 * x), 1)
    assert found.estimate is not None
    assert found.estimate == min(found.tried.values())
    assert found.estimate < 0.01


def test_a_choice_of_many_examples_looks_at_some_of_each_class() -> None:
    rows, labels = blobs(700, torch.ones(4, dtype=torch.float64))
    assert choose_for_rows(rows, labels, 3).estimate is not None


@pytest.mark.parametrize("which", [{"scaling": "loud"}, {"head": "tree"}])
def test_unknown_names(which: dict[str, str]) -> None:
    with pytest.raises(SettingError, match="choose auto or one of"):
        choose_for_rows(*blobs(2, torch.ones(4, dtype=torch.float64)), 3, **which)


def test_targets_beyond_floating_point() -> None:
    with pytest.raises(DataError, match="rescale"):
        choose_for_rows(torch.eye(3).double(), torch.tensor([[1e300], [-1e300], [0.0]]).double(), 1)
