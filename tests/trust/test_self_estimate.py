"""How good is it with a few examples, and which labels look wrong?"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kshot
from kshot.data import Episodes, Pool
from kshot.errors import UnsupportedError
from kshot.learners import ClosedForm, Learner
from kshot.learners.self_estimate import wilson
from kshot.tasks import NWayKShot
from kshot.trust import calibrate


def clouds(classes: int, seed: int, spread: float) -> Episodes:
    rng = torch.Generator().manual_seed(seed)
    means = torch.randn(classes, 8, generator=rng)
    rows = means.repeat_interleave(30, 0) + spread * torch.randn(classes * 30, 8, generator=rng)
    return Episodes(Pool(rows, [f"c{n // 30}" for n in range(classes * 30)]), NWayKShot(5, 5, 20))


@pytest.fixture(scope="module")
def learner() -> Learner:
    found = ClosedForm(kshot.encoders.identity(8), "prototype").eval()
    calibrate(found, clouds(80, 0, 1.0), tasks=60, ways=(5,), shots=(1, 5))
    return found


def test_at_one_shot_only_the_record_speaks(learner: Learner) -> None:
    found = learner.adapt(torch.eye(8)[:5], list("abcde")).self_estimate()
    assert (found.judged, found.accuracy, found.log_loss, found.leave_one_out) == (0, None, None, None)
    assert found.record is not None
    assert 0.3 < found.record.low < found.record.accuracy < found.record.high <= 1
    assert "No self-estimate" in str(found)
    assert "60 tasks of 5 classes with 1 examples" in str(found)


def test_without_calibration_there_is_no_record() -> None:
    task = ClosedForm(kshot.encoders.identity(2), "prototype").adapt(torch.eye(2), ["a", "b"])
    assert task.self_estimate().record is None
    assert "never calibrated" in str(task.self_estimate())


def test_the_estimate_is_near_the_truth_and_its_interval_mostly_holds_it(learner: Learner) -> None:
    rng, source = torch.Generator().manual_seed(1), clouds(80, 7, 1.0)
    gaps, alone, held = [], [], []
    for _ in range(60):
        task = source.sample(rng)
        assert task.support is not None
        assert task.query is not None
        taught = learner.adapt(task.support)
        found, checked = taught.self_estimate(), taught.check(task.query.inputs, task.query.targets)
        truth = checked.right / checked.total
        assert found.accuracy is not None
        assert found.leave_one_out is not None
        assert found.low is not None
        assert found.high is not None
        gaps.append(found.accuracy - truth)
        alone.append(found.leave_one_out - truth)
        held.append(found.low <= truth <= found.high)
    assert abs(np.mean(gaps)) < 0.05
    assert np.mean(alone) < np.mean(gaps)  # what the docstring says of leaving out one example alone
    assert np.mean(held) > 0.8


def test_estimates_equal_really_holding_out(learner: Learner) -> None:
    x = torch.randn(7, 8, generator=torch.Generator().manual_seed(0))
    y = ["a", "a", "a", "b", "b", "c", "a"]
    found = learner.adapt(x, y).self_estimate()
    hits = []
    for turn in ([0, 3], [1, 4], [2], [6]):  # the k-th examples of each class; c has one and keeps it
        keep = [n for n in range(7) if n not in turn]
        rest = learner.adapt(x[keep], [y[n] for n in keep])
        hits += [got == y[n] for got, n in zip(rest.predict(x[turn]).labels, turn, strict=True)]
    assert found.judged == 6
    assert found.accuracy == np.mean(hits)


def test_planted_wrong_labels_are_found(learner: Learner) -> None:
    rng, source = torch.Generator().manual_seed(1), clouds(80, 7, 0.5)
    planted = found = listed = 0
    for _ in range(30):
        task = source.sample(rng)
        assert task.support is not None
        labels = list(task.support.targets)
        labels[3], labels[11] = labels[12], labels[3]
        names = {s.id for s in learner.adapt(task.support.inputs, labels).suspect_labels()}
        planted, found, listed = planted + 2, found + len(names & {"e3", "e11"}), listed + len(names)
    assert found / planted > 0.8
    assert found / listed > 0.8


def test_right_labels_are_left_alone_and_single_examples_not_judged(learner: Learner) -> None:
    x = torch.cat([torch.eye(8)[:3], torch.eye(8)[:2] * 1.01])
    assert learner.adapt(x, ["a", "b", "c", "a", "b"]).suspect_labels() == []
    assert learner.adapt(torch.eye(8)[:2], ["a", "b"]).suspect_labels() == []


def test_a_suspect_names_what_it_should_be(learner: Learner) -> None:
    x = torch.cat([torch.zeros(4, 8), torch.ones(4, 8)]) + 0.01 * torch.eye(8)
    suspect = learner.adapt(x, ["a", "a", "a", "b", "b", "b", "b", "b"]).suspect_labels()[0]
    assert (suspect.id, suspect.label, suspect.suggested) == ("e3", "b", "a")
    assert suspect.chance > 0.5


def test_numbers_have_neither() -> None:
    task = ClosedForm(kshot.encoders.identity(1), "ridge").adapt(torch.rand(3, 1), [0.0, 1.0, 2.0])
    for ask in (task.self_estimate, task.suspect_labels):
        with pytest.raises(UnsupportedError, match="numbers"):
            ask()


@pytest.mark.parametrize(("right", "total"), [(0, 3), (3, 3), (7, 10), (500, 1000)])
def test_wilson_is_inside_0_to_1_and_around_the_share(right: int, total: int) -> None:
    low, high = wilson(right, total)
    assert 0 <= low <= right / total <= high <= 1
    assert high - low < 3 / total**0.5
