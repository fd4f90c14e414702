"""What to label next: who is asked for, who is not, and when to stop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import kshot
from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.learners import Adapted, ClosedForm, ProtoNet
from kshot.trust import next_to_label, settled

CENTRES = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [9.0, 9.0]])


def cluster(centre: int, count: int, seed: int = 0) -> Tensor:
    return CENTRES[centre] + 0.4 * torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def task() -> Adapted:
    """Two classes of two examples each."""
    learner = ProtoNet(kshot.encoders.identity(2))
    return learner.adapt(torch.cat([cluster(0, 2), cluster(1, 2)]), ["left", "left", "right", "right"])


def line(count: int = 21) -> Tensor:
    """Inputs from one class to the other; the middle one is the least sure."""
    return torch.stack([torch.linspace(0, 4, count), torch.zeros(count)], 1)


def test_the_least_sure_is_asked_for(task: Adapted) -> None:
    answer = task.predict(line()).probabilities
    sure = np.abs(answer[:, 0] - answer[:, 1])
    found = next_to_label(task, line(), count=1, spread=1)
    assert found.places == [int(sure.argmin())]
    assert found[0].reason.startswith("between ")


def test_a_batch_does_not_ask_the_same_twice(task: Adapted) -> None:
    """Ten unsure inputs in one place and one elsewhere: two labels go to both places."""
    middle = torch.tensor([[2.0, 0.0]]) + 0.01 * torch.randn(
        10, 2, generator=torch.Generator().manual_seed(1)
    )
    other = torch.tensor([[2.0, 7.0]])
    pool = torch.cat([middle, other, cluster(0, 20, 5)])
    found = next_to_label(task, pool, count=2, spread=6)
    assert 10 in found.places
    assert found[0].place < 10
    assert found[0].stands_for >= 10


def test_suggestions_are_distinct_places_in_the_pool(task: Adapted) -> None:
    pool = torch.cat([cluster(c, 30, c) for c in range(4)])
    found = next_to_label(task, pool, count=25)
    assert len(set(found.places)) == len(found) == 25
    assert all(0 <= place < 120 for place in found.places)
    assert 0 <= found.expected_error < 1


def test_equal_seeds_ask_for_the_same(task: Adapted) -> None:
    pool = torch.cat([cluster(c, 30, c) for c in range(4)])
    assert next_to_label(task, pool, count=9, seed=3) == next_to_label(task, pool, count=9, seed=3)


def test_duplicates_are_skipped(task: Adapted) -> None:
    """Of the examples, and within the pool."""
    pool = torch.cat([task.inputs, line(5), line(5)])
    found = next_to_label(task, pool, count=14)
    assert sorted(found.places) == [4, 5, 6, 7, 8]
    assert found.skipped == (0, 1, 2, 3, 9, 10, 11, 12, 13)


def test_a_pool_of_labelled_inputs_leaves_nothing_to_ask(task: Adapted) -> None:
    found = next_to_label(task, task.inputs, count=2)
    assert len(found) == 0
    assert found.skipped == (0, 1, 2, 3)


def test_all_inputs_of_a_small_pool_can_be_asked_for(task: Adapted) -> None:
    assert sorted(next_to_label(task, line(7), count=7).places) == list(range(7))


def test_unknown_inputs_are_called_so() -> None:
    learner = ProtoNet(kshot.encoders.identity(2))
    learner.threshold.fill_(-50.0)
    task = learner.adapt(CENTRES[:2], ["left", "right"])
    found = next_to_label(task, torch.tensor([[2.0, 40.0]]), count=1)
    assert found[0].unknown
    assert found[0].reason.startswith("unlike every example")


def test_images_are_asked_for_by_a_gradient_learner() -> None:
    """Its embeddings are the images themselves."""
    images = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    learner = kshot.learners.anil(kshot.encoders.conv4(8, size=8, blocks=2, norm="group"), outputs=2)
    task = learner.adapt(images[:2], [0, 1])
    assert len(next_to_label(task, images[2:], count=3)) == 3


def test_bad_requests_are_named(task: Adapted) -> None:
    with pytest.raises(DataError, match="count is 8, the pool holds 7"):
        next_to_label(task, line(7), count=8)
    with pytest.raises(DataError, match="the pool holds 0"):
        next_to_label(task, torch.zeros(0, 2), count=1)
    with pytest.raises(DataError, match="NaN"):
        next_to_label(task, torch.tensor([[float("nan"), 0.0]]), count=1)
    for count in (0, -1, True, 1.5):
        with pytest.raises(SettingError, match="count is"):
            next_to_label(task, line(), count=count)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="spread is 0"):
        next_to_label(task, line(), count=1, spread=0)


def test_numbers_have_no_margin() -> None:
    task = ClosedForm(kshot.encoders.identity(1), "ridge").adapt(torch.tensor([[0.0], [1.0]]), [0.0, 1.0])
    with pytest.raises(UnsupportedError, match="answers with numbers"):
        next_to_label(task, torch.tensor([[0.5]]), count=1)


def test_it_beats_random_labels() -> None:
    """Twelve classes of unequal size, from six random labels: more classes are found, more answers are right."""
    rng = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(12, 8, generator=rng)
    sizes = [60, 50, 40, 30, 20, 15, 10, 8, 6, 5, 4, 4]
    pool = torch.cat([c + torch.randn(n, 8, generator=rng) for c, n in zip(centres, sizes, strict=True)])
    labels = [c for c, n in enumerate(sizes) for _ in range(n)]
    test = (centres.unsqueeze(1) + torch.randn(12, 20, 8, generator=rng)).flatten(0, 1)
    answers = np.repeat(np.arange(12), 20)

    def accuracy(ours: bool, seed: int) -> float:
        draw = np.random.default_rng(seed)
        chosen = draw.permutation(len(pool))[:6].tolist()
        for _ in range(3):
            rest = np.setdiff1d(np.arange(len(pool)), chosen)
            task = ProtoNet(kshot.encoders.identity(8)).adapt(pool[chosen], [labels[i] for i in chosen])
            places = (
                next_to_label(task, pool[rest], count=6).places if ours else draw.choice(len(rest), 6, False)
            )
            chosen += rest[places].tolist()
        task = ProtoNet(kshot.encoders.identity(8)).adapt(pool[chosen], [labels[i] for i in chosen])
        return float(np.mean(np.array(task.predict(test).labels) == answers))

    ours, random = ([accuracy(way, seed) for seed in range(5)] for way in (True, False))
    assert np.mean(ours) > np.mean(random) + 0.1


def test_labelling_stops_when_answers_settle(task: Adapted) -> None:
    pool = torch.cat([cluster(c, 20, c) for c in range(3)])
    grown = task.add(cluster(2, 2, 9), ["up", "up"])
    same = [grown, grown.add(cluster(0, 1, 3), ["left"]), grown.add(cluster(1, 1, 3), ["right"])]
    early = settled([task, grown], pool)
    assert not early.stop
    assert early.flips[0] >= 1 / 3
    assert settled([task, *same], pool).stop
    assert not settled([task, *same], pool, batches=3).stop


def test_flips_bound_the_change_of_accuracy(task: Adapted) -> None:
    pool = torch.cat([cluster(c, 20, c) for c in range(3)])
    truth = np.repeat(["left", "right", "up"], 20)
    grown = task.add(cluster(2, 1, 9), ["up"])
    right = [float(np.mean(np.array(t.predict(pool).labels) == truth)) for t in (task, grown)]
    assert abs(right[1] - right[0]) <= settled([task, grown], pool).flips[0] + 1e-12


def test_a_single_task_has_not_settled(task: Adapted) -> None:
    assert not settled([task], line()).stop
    with pytest.raises(DataError, match="0 tasks"):
        settled([], line())
    with pytest.raises(DataError, match="0 inputs"):
        settled([task], torch.zeros(0, 2))
    with pytest.raises(SettingError, match="flips is 0"):
        settled([task], line(), flips=0)
    with pytest.raises(SettingError, match="batches is 0"):
        settled([task], line(), batches=0)
