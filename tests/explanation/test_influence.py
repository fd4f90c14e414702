"""Influence over the inner steps: its derivative against finite differences, its name against leave-one-out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import kshot
from kshot.encoders import normalising
from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.explanation import influence
from kshot.explanation.influence import Influence, influences, rank_correlation
from kshot.learners import Adapted, GradientLearner, ProtoNet


def made(**settings: object) -> GradientLearner:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = kshot.encoders.conv4(4, size=8, blocks=2)
        return GradientLearner(encoder, outputs=3, **settings).double().eval()  # type: ignore[arg-type]


def taught(learner: GradientLearner) -> Adapted:
    return learner.adapt(pictures(6), ["a", "a", "b", "b", "c", "c"])


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def probability(learner: GradientLearner, task: Adapted, query: Tensor, weights: Tensor, best: int) -> float:
    """The answer's probability after inner steps with weighted examples, written out step by step."""
    targets = task.space.encode(task.targets)
    start = {k: v.detach() for k, v in learner._start(3).items()}
    moving = learner.subset.initial(start, learner.norms)
    for step in range(learner.steps):
        moving = {k: v.detach().requires_grad_() for k, v in moving.items()}
        parameters = learner.subset.apply(start, moving)
        outputs = learner._forward(parameters, task.embedded, "batch", weights=weights)
        each = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
        loss = (weights * each).sum() / weights.sum()
        grads = torch.autograd.grad(loss, list(moving.values()), allow_unused=True, materialize_grads=True)
        moving = {
            k: v.detach() - learner.rates.rate(k, step, v) * g
            for (k, v), g in zip(moving.items(), grads, strict=True)
        }
    with torch.no_grad(), normalising("module"):
        state = learner._settled(start, moving, kshot.Examples(task.embedded, targets), weights)
        return float(torch.softmax(learner.respond(state, query, task.space), 1)[0, best])


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 3, "rate": 0.3},
        {"steps": 2, "rate": 0.3, "order": 0},
        {"steps": 2, "rate": 0.3, "rates": "per_layer_per_step"},
        {"steps": 2, "rate": 0.5, "moves": "head"},
        {"steps": 2, "rate": 0.3, "moves": "film"},
        {"steps": 2, "rate": 0.3, "regime": "transductive"},
        {"steps": 0, "rate": 0.3},
    ],
)
def test_the_derivative_equals_finite_differences(settings: dict[str, object]) -> None:
    learner = made(**settings)
    task, query, best, step = taught(made(**settings)), pictures(1, 5), 1, 1e-5
    found = influences(task, query, best)
    for place in range(len(task)):
        values = []
        for sign in (1, -1):
            weights = torch.ones(len(task), dtype=torch.float64)
            weights[place] += sign * step
            values.append(probability(learner, task, query, weights, best))
        assert found[place] == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-8)


def test_equal_weights_are_no_weights() -> None:
    learner = made(steps=3, rate=0.3)
    task, query = taught(learner), pictures(1, 5)
    weighted = probability(learner, task, query, torch.full((6,), 2.0, dtype=torch.float64), 0)
    assert weighted == pytest.approx(task.predict(query).probabilities[0, 0], abs=1e-8)


def test_truth_is_what_leaving_out_gives() -> None:
    task, query = taught(made(steps=3, rate=0.3)), pictures(1, 5)
    found = influence(task, query)
    told = {e.id: e.contribution for e in task.explain(query).evidence}
    assert found.label == task.predict(query).labels[0]
    assert dict(zip(found.ids, found.true, strict=True)) == pytest.approx(told)
    assert found.correlation == pytest.approx(rank_correlation(found.influences, found.true))
    part = influence(task, query, measured=3)
    assert int(np.isfinite(part.true).sum()) == 3
    np.testing.assert_allclose(part.influences, found.influences)


@pytest.mark.parametrize(("correlation", "evidence"), [(0.7, True), (0.69, False), (math.nan, False)])
def test_only_what_agrees_is_called_evidence(correlation: float, evidence: bool) -> None:
    found = Influence("a", 0.9, ("e0",), np.zeros(1), np.zeros(1), correlation)
    assert found.is_evidence is evidence
    assert (found.name == "evidence") is evidence
    if not evidence:
        assert "not evidence" in found.name
    if correlation == 0.69:
        assert "rank correlation 0.69" in found.name


def test_who_is_refused() -> None:
    task = taught(made(steps=1))
    with pytest.raises(DataError, match="got 2 inputs"):
        influence(task, pictures(2))
    with pytest.raises(SettingError, match="measured is -1"):
        influence(task, pictures(1), measured=-1)
    other = ProtoNet(kshot.encoders.identity(2)).adapt(torch.eye(2), ["a", "b"])
    with pytest.raises(UnsupportedError, match=r"ProtoNet.*task.explain"):
        influence(other, torch.eye(2)[:1])


def test_ranks_as_scipy_has_them() -> None:
    stats = pytest.importorskip("scipy.stats")
    g = np.random.default_rng(0)
    for size in (3, 8, 25):
        a, b = g.integers(0, 5, size).astype(float), g.normal(size=size)
        assert rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert math.isnan(rank_correlation(np.ones(4), np.arange(4.0)))
    assert math.isnan(rank_correlation(np.array([1.0, np.nan, 2.0]), np.arange(3.0)))
