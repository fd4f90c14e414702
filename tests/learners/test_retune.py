"""Choosing the head's scalars anew by leave-one-out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import kshot
from kshot.errors import SettingError, UnsupportedError
from kshot.learners import Adapted, ClosedForm, GradientLearner, Learner
from kshot.learners.retune import WIDTH
from kshot.testing import Blobs
from kshot.trust import calibrate

HEADS = ("prototype", "ridge", "kernel_ridge", "lda", "bayesian")


def problem(shots: int = 6, seed: int = 0) -> tuple[Tensor, list[str]]:
    g = torch.Generator().manual_seed(seed)
    own = torch.arange(4).repeat_interleave(shots)
    x = torch.randn(4, 6, generator=g)[own] + torch.randn(len(own), 6, generator=g)
    return x.double(), [f"c{k}" for k in own.tolist()]


def closed(head: str) -> Learner:
    return ClosedForm(kshot.encoders.identity(6), head).double().eval()


def log_loss(task: Adapted) -> float:
    own = task.leave_one_out()
    right = [own.probabilities[k, own.classes.index(label)] for k, label in enumerate(task.targets)]
    return float(-np.log(right).mean())


@pytest.mark.parametrize("head", HEADS)
def test_leave_one_out_loss_falls_and_is_told_right(head: str) -> None:
    task = closed(head).adapt(*problem())
    before = task.learner.state_dict()
    told = task.retune()
    assert told.changed
    assert told.loss_after < told.loss_before
    assert told.loss_before == pytest.approx(log_loss(task))
    assert told.loss_after == pytest.approx(log_loss(told.task))
    assert told.examples == len(task)
    assert told.task.scalars == told.after
    assert told.before == task.learner.scalars() != told.after
    assert "taken" in told.reason
    assert all(torch.equal(v, before[k]) for k, v in task.learner.state_dict().items())
    assert told.task.retune().after == pytest.approx(told.after)


def test_the_optimum_balances_loss_and_distance_to_the_base() -> None:
    """At the chosen point the slope of loss + distance^2 / (2 n WIDTH^2) vanishes."""
    task = closed("prototype").adapt(*problem())
    told = task.retune()
    name, step = "log_scale", 1e-4
    slope = [log_loss(task.at_scalars({name: told.after[name] + s * step})) for s in (1, -1)]
    pull = (told.after[name] - told.before[name]) / (len(task) * WIDTH**2)
    assert (slope[0] - slope[1]) / (2 * step) + pull == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("head", ["ridge", "kernel_ridge", "bayesian"])
def test_numbers(head: str) -> None:
    x, _ = problem()
    task = closed(head).adapt(x, torch.sin(2 * x[:, :1]) + x[:, 1:2])
    told = task.retune()
    assert told.changed
    assert told.loss_after < told.loss_before
    own = told.task.leave_one_out().values
    assert told.loss_after == pytest.approx(float(((own - np.asarray(task.targets)) ** 2).mean()))


def test_a_calibrated_base() -> None:
    learner = ClosedForm(kshot.encoders.identity(4), "kernel_ridge").double().eval()
    calibrate(learner, Blobs(), tasks=20)
    learner.seen = torch.zeros(0)
    x, y = problem()
    told = learner.adapt(x[:, :4], y).retune()
    assert told.loss_after <= told.loss_before
    assert told.loss_after == pytest.approx(log_loss(told.task))


def test_one_shot_keeps_the_base_and_says_so() -> None:
    x, y = problem(1)
    task = closed("kernel_ridge").adapt(x, y)
    told = task.retune()
    assert told.task is task
    assert not told.changed
    assert told.examples == 0
    assert math.isnan(told.loss_after)
    assert "no class" in told.reason


def test_where_nothing_is_gained_the_base_stays() -> None:
    """Scalars that were chosen already, in a base of their own."""
    x, y = problem()
    first = closed("prototype").adapt(x, y).retune()
    base = closed("prototype").with_scalars({"log_scale": _unpenalised(x, y)})
    told = base.adapt(x, y).retune()
    assert first.changed
    assert not told.changed
    assert "no gain" in told.reason


def _unpenalised(x: Tensor, y: list[str]) -> float:
    """The scale of least loss without a prior, by golden-section search."""
    task, low, high, golden = closed("prototype").adapt(x, y), -4.0, 4.0, 0.618
    for _ in range(25):
        a, b = high - golden * (high - low), low + golden * (high - low)
        first, second = (log_loss(task.at_scalars({"log_scale": value})) for value in (a, b))
        low, high = (low, b) if first < second else (a, high)
    return (low + high) / 2


def test_the_task_keeps_its_scalars(tmp_path: Path) -> None:
    x, y = problem()
    tuned = closed("kernel_ridge").adapt(x, y).retune().task
    path = tuned.save(tmp_path / "t.kshot", include_base=True)
    found = kshot.load(path)
    assert isinstance(found, Adapted)
    assert found.scalars == tuned.scalars
    np.testing.assert_allclose(found.predict(x).probabilities, tuned.predict(x).probabilities)
    grown = tuned.add(x[:1], y[:1]).remove("e2").restore()
    assert grown.scalars == tuned.scalars
    fresh = closed("kernel_ridge").with_scalars(tuned.scalars or {}).adapt(x[1:], y[1:])
    np.testing.assert_allclose(
        tuned.remove("e0").predict(x).probabilities, fresh.predict(x).probabilities, atol=1e-12
    )
    assert tuned.rebase(closed("lda")).task.scalars is None


def test_who_cannot() -> None:
    x, y = problem()
    learner = GradientLearner(kshot.encoders.mlp(6, (4,)), outputs=4, steps=1).double()
    with pytest.raises(UnsupportedError, match="GradientLearner has no scalars"):
        learner.adapt(x, y).retune()
    with pytest.raises(UnsupportedError, match="GradientLearner has no scalars"):
        learner.with_scalars({"log_scale": 1.0})
    for bad in ({"log_none": 1.0}, {"log_scale": math.nan}):
        with pytest.raises(SettingError, match="log_"):
            closed("prototype").with_scalars(bad)
