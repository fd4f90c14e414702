"""Sinusoids: the paper's protocol, drawn and prepared many at a time."""

from __future__ import annotations

import math

import pytest
import torch

import kshot
from kshot.data import Sinusoids
from kshot.engine import accumulate
from kshot.errors import SettingError
from kshot.learners import maml, meta_sgd
from kshot.seeds import generator
from kshot.tasks import Examples, Task


def recovered(x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Amplitude and phase of y = A sin(x - p) = A cos p sin x - A sin p cos x, by least squares."""
    table = torch.cat([torch.sin(x), -torch.cos(x)], 1).double()
    c, s = torch.linalg.lstsq(table, y.double()).solution.flatten().tolist()
    return math.hypot(c, s), math.atan2(s, c)


def test_tasks_are_the_papers() -> None:
    tasks = Sinusoids(shots=5, queries=15).sample_batch(2000, generator(0))
    found = torch.tensor([recovered(t.query.inputs, t.query.targets) for t in tasks])
    amplitude, phase = found.T
    assert 0.1 - 1e-3 <= float(amplitude.min()) < 0.2
    assert 4.9 < float(amplitude.max()) <= 5.0 + 1e-3
    assert -1e-2 <= float(phase.min()) < 0.05
    assert math.pi - 0.05 < float(phase.max()) <= math.pi + 1e-2
    assert abs(float(amplitude.mean()) - 2.55) < 0.15  # four standard errors
    assert abs(float(phase.mean()) - math.pi / 2) < 0.09
    x = torch.cat([t.support.inputs for t in tasks])
    assert -5 <= float(x.min()) < -4.9
    assert 4.9 < float(x.max()) <= 5
    assert abs(float(torch.corrcoef(found.T)[0, 1])) < 0.1


def test_support_and_query_lie_on_one_curve_and_share_no_point() -> None:
    for task in Sinusoids(shots=5, queries=10).sample_batch(20, generator(1)):
        amplitude, phase = recovered(task.support.inputs, task.support.targets)
        expected = amplitude * torch.sin(task.query.inputs - phase)
        assert float((expected - task.query.targets).abs().max()) < 1e-2
        assert not set(task.support.inputs.flatten().tolist()) & set(task.query.inputs.flatten().tolist())


def test_settings() -> None:
    source = Sinusoids().using(shots=10, queries=3)
    task = source.sample(generator(0))
    assert (len(task.support), len(task.query)) == (10, 3)
    with pytest.raises(SettingError, match="shots is 0"):
        Sinusoids(shots=0)


def test_the_size_of_vmap_calls_does_not_change_the_gradient() -> None:
    torch.manual_seed(0)
    learner = maml(kshot.encoders.mlp(1, (8,)), outputs=1).double()
    ready = learner.prepare_many(Sinusoids().sample_batch(10, generator(0)))
    trees = [(t.support.inputs, t.support.targets, t.query.inputs, t.query.targets) for t in ready]
    space = ready[0].space
    results = []
    for chunk in (None, 3):
        learner.zero_grad()
        value = accumulate(
            learner,
            lambda t: learner.loss(Task(space, Examples(t[0], t[1]), Examples(t[2], t[3]))),
            trees,
            executor="vmap",
            chunk=chunk,
        )
        results.append(torch.cat([value.reshape(1), *(p.grad.flatten() for p in learner.parameters())]))
    torch.testing.assert_close(*results)


def test_meta_training_makes_one_step_count() -> None:
    torch.manual_seed(0)
    learner = meta_sgd(kshot.encoders.mlp(1, (40, 40)), outputs=1, rate=0.02)
    source = Sinusoids(5, 10)
    before = kshot.evaluate(learner, source, tasks=60)
    run = kshot.fit(learner, source, steps=80, meta_batch=40, rate=5e-3, executor="vmap", progress=False)
    after = kshot.evaluate(run.learner, source, tasks=60)
    assert after.interval.high < before.interval.low
