"""What a validation says of weights, and which weights are better."""

from __future__ import annotations

import pytest
import torch

import kshot
from kshot.data import Episodes, Pool, Sinusoids
from kshot.learners import ClosedForm, ProtoNet
from kshot.tasks import NWayKShot
from kshot.training.settings import Settings
from kshot.training.validation import Validation, figures

SETTINGS = Settings(validation_tasks=8, seed=3)


def classes() -> Episodes:
    x = (
        torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
        + torch.arange(40).remainder(4)[:, None] * 2
    )
    return Episodes(Pool(x, [k % 4 for k in range(40)]), NWayKShot(3, 2, 4))


def test_accuracy_is_better_when_higher_and_the_tasks_are_the_same_each_time() -> None:
    judge, learner = Validation(classes(), SETTINGS), ProtoNet(kshot.encoders.identity(2))
    judged: list[int] = []
    report = judge.report(learner, judged.append)
    assert report is not None
    again = judge.report(learner)
    assert again is not None
    assert report.mean == again.mean
    assert judged[-1] == 8
    assert judge.higher_is_better
    assert judge.score(report, 5) == report.mean
    told = figures(report)
    assert told[f"validation_{report.metric}"] == report.mean
    assert told["validation_half"] == pytest.approx(report.interval.half)


def test_errors_of_numbers_are_better_when_lower() -> None:
    judge = Validation(Sinusoids(shots=5, queries=5), SETTINGS)
    report = judge.report(ClosedForm(kshot.encoders.identity(1), "ridge"))
    assert report is not None
    assert not judge.higher_is_better
    assert judge.score(report, 5) == -report.mean


def test_without_tasks_the_later_weights_are_better() -> None:
    judge = Validation(None, SETTINGS)
    assert judge.report(ProtoNet(kshot.encoders.identity(2))) is None
    assert judge.score(None, 2) < judge.score(None, 3)
    assert figures(None) == {}
