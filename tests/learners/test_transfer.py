"""The transfer-learning baseline: pretraining on flat batches, and its three probes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

import kshot
from kshot.data import Episodes, Flat, Pool
from kshot.engine import FallbackWarning
from kshot.errors import SettingError
from kshot.learners import Transfer
from kshot.learners.transfer import PROBES, logistic
from kshot.seeds import generator
from kshot.tasks import Examples, NWayKShot
from kshot.tasks.spaces import Classes


def pool(classes: int = 30, each: int = 12, seed: int = 0) -> Pool:
    """Classes that differ in 4 of 20 numbers; the rest is louder noise, which a good encoder ignores."""
    rng = generator(0, "pool", seed)
    signal = torch.randn(classes, 1, 4, generator=rng).expand(-1, each, -1)
    noise = 2 * torch.randn(classes, each, 16, generator=rng)
    rows = torch.cat([signal + 0.2 * torch.randn(signal.shape, generator=rng), noise], 2).flatten(0, 1)
    return Pool(rows, [f"c{seed}-{n // each}" for n in range(classes * each)])


def untrained(probe: str = "logistic", **more: Any) -> Transfer:
    torch.manual_seed(0)
    return Transfer(kshot.encoders.mlp(20, (64, 32)), classes=30, probe=probe, **more)


@pytest.fixture(scope="module")
def pretrained() -> Transfer:
    run = kshot.fit(untrained(), Flat(pool(), batch=48), steps=120, rate=5e-3, progress=False)
    assert isinstance(run.learner, Transfer)
    return run.learner


@pytest.mark.parametrize("probe", PROBES)
def test_pretraining_helps_on_classes_never_seen(pretrained: Transfer, probe: str) -> None:
    source = Episodes(pool(seed=1), NWayKShot(5, 1, 5))
    learner = untrained(probe, steps=10, rate=0.05)
    before = kshot.evaluate(learner, source, tasks=30)
    learner.load_state_dict({**pretrained.state_dict(), "seen": torch.zeros(0)})
    after = kshot.evaluate(learner, source, tasks=30)
    assert after.interval.low > before.interval.high


def test_flat_tasks_are_evaluated_by_the_pretraining_classifier(pretrained: Transfer) -> None:
    report = kshot.evaluate(pretrained, Flat(pool(), batch=60), tasks=5)
    assert report.mean > 0.6  # chance is 1/30
    assert report.figures["loss"] < 2.0


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_state_answers_as_scikit_learn_does(classes: int) -> None:
    x = torch.randn(12, 5, generator=generator(0, "logistic"), dtype=torch.float64)
    y = torch.arange(12) % classes
    weight, bias = logistic(x, y, classes, 1.0)
    model = LogisticRegression(C=1.0, tol=1e-9, max_iter=5000).fit(x.numpy(), y.numpy())
    ours = torch.softmax(F.linear(x, weight, bias), 1).numpy()
    np.testing.assert_allclose(ours, model.predict_proba(x.numpy()), atol=1e-9)


def test_a_class_without_examples_is_never_the_answer() -> None:
    x = torch.eye(3)
    learner = Transfer(kshot.encoders.identity(3), classes=3)
    space = Classes(("a", "b", "c"))
    for targets in ([0, 0, 0], [0, 0, 2]):
        state = learner.solve(Examples(x, torch.tensor(targets)), space)
        probabilities = torch.softmax(learner.respond(state, x, space), 1)
        assert bool(torch.isfinite(probabilities).all())
        assert float(probabilities[:, 1].max()) == 0.0


def test_ridge_probe_is_ridge_regression_to_one_hot_rows() -> None:
    x, y = torch.randn(6, 4, generator=generator(0, "ridge"), dtype=torch.float64), torch.arange(6) % 3
    learner = Transfer(kshot.encoders.identity(4), classes=3, probe="ridge").double()
    space = Classes((0, 1, 2))
    state = learner.solve(Examples(x, y), space)
    z = torch.cat([F.normalize(x, dim=1), torch.ones(6, 1, dtype=torch.float64)], 1)
    gram = z.T @ z + 0.1 * torch.eye(5, dtype=torch.float64)
    expected = z @ torch.linalg.solve(gram, z.T @ F.one_hot(y).double())
    # the head keeps log(0.1) in single precision
    torch.testing.assert_close(learner.respond(state, x, space), expected, atol=1e-6, rtol=1e-6)


def test_fine_tuning_lowers_the_support_loss_and_leaves_the_base_alone() -> None:
    learner = untrained("fine_tune", steps=30, rate=0.1).eval()
    before = {name: t.clone() for name, t in learner.state_dict().items()}
    x, y = torch.randn(6, 20, generator=generator(0, "tune")), torch.arange(6) % 3
    space = Classes((0, 1, 2))
    state = learner.solve(Examples(x, y), space)
    assert float(space.loss(learner.respond(state, x, space), y)) < 0.5 * np.log(3)
    assert not torch.equal(state["encoder.layers.0.weight"], before["encoder.layers.0.weight"])
    for name, t in learner.state_dict().items():
        assert torch.equal(t, before[name]), name


def test_batch_norm_is_pretrained_in_the_loop_with_running_statistics() -> None:
    rng = generator(0, "pictures")
    pictures = Pool([torch.rand(1, 8, 8, generator=rng) for _ in range(24)], [n % 3 for n in range(24)])
    learner = Transfer(kshot.encoders.conv4(8, size=8, blocks=2), classes=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        run = kshot.fit(learner, Flat(pictures, batch=8), steps=2, meta_batch=2, progress=False)
    ours, theirs = (dict(x.encoder.named_buffers()) for x in (run.learner, learner))
    moved = [name for name in ours if name.endswith("running_mean")]
    assert moved
    assert all(not torch.equal(ours[name], theirs[name]) for name in moved)


def test_flat_draws_distinct_examples_of_all_classes() -> None:
    numbers = Pool(torch.arange(20.0).reshape(20, 1), [n % 4 for n in range(20)])
    source = Flat(numbers, batch=20, transform=lambda x, rng: x + 100)
    task = source.sample(generator(0))
    assert sorted(task.query.inputs.flatten().tolist()) == [float(n) for n in range(100, 120)]
    assert [int(x) % 4 for x in task.query.inputs] == list(task.query.targets)
    assert task.space.labels == (0, 1, 2, 3)
    again, other = source.sample(generator(0)), source.sample(generator(1))
    assert torch.equal(again.query.inputs, task.query.inputs)
    assert not torch.equal(other.query.inputs, task.query.inputs)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(SettingError, match="'svm'"):
        untrained("svm")
    with pytest.raises(SettingError, match="classes is 1"):
        Transfer(kshot.encoders.identity(2), classes=1)
    with pytest.raises(SettingError, match="batch is 0"):
        Flat(pool(), batch=0)
    learner = Transfer(kshot.encoders.mlp(20, (8,)), classes=7)
    with pytest.raises(SettingError, match=r"30 classes, the pretraining classifier 7"):
        learner.loss(learner.prepare(Flat(pool(), batch=4).sample(generator(0))))
