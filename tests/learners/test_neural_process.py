"""The conditional neural process: its equations, its symmetries, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import kshot
from kshot.errors import SettingError
from kshot.evaluation import Interval
from kshot.learners import NeuralProcess
from kshot.seeds import generator
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes, Gaussian, Numbers
from kshot.testing import Blobs, Lines
from kshot.testing.gradients import runs_under_vmap


def numbers(dims: int = 1) -> NeuralProcess:
    torch.manual_seed(0)
    return NeuralProcess(kshot.encoders.mlp(1, (8,)), dims=dims, width=8).double().eval()


def classes() -> NeuralProcess:
    torch.manual_seed(0)
    return NeuralProcess(kshot.encoders.mlp(3, (8,)), width=8).double().eval()


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(0, "process"), dtype=torch.float64)


def test_numbers_follow_the_equations_of_the_paper() -> None:
    learner, x, y, query = numbers(2), random(4, 8), random(4, 2), random(3, 8)
    outputs = learner.respond(learner.solve(Examples(x, y), Numbers(2)), query, Numbers(2))
    r = sum(learner.h(torch.cat([x[i], y[i]])) for i in range(4)) / 4
    for i in range(3):
        answer = learner.g(torch.cat([query[i], r]))
        sigma = 0.1 + 0.9 * F.softplus(answer[2:])
        torch.testing.assert_close(outputs.mean[i], answer[:2])
        torch.testing.assert_close(outputs.variance[i], sigma**2)


def test_classes_follow_the_equations_of_the_paper() -> None:
    learner, x, query = classes(), random(5, 8), random(2, 8)
    targets = torch.tensor([0, 1, 1, 2, 2])
    space = Classes((0, 1, 2))
    scores = learner.respond(learner.solve(Examples(x, targets), space), query, space)
    r = [torch.stack([learner.h(v) for v in x[targets == k]]).mean(0) for k in range(3)]
    for i in range(2):
        for k in range(3):
            expected = learner.g(torch.cat([query[i], r[k], sum(r) / 3]))
            torch.testing.assert_close(scores[i, k], expected[0])


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_the_order_of_the_examples_does_not_matter(kind: str) -> None:
    if kind == "numbers":
        learner, x, y = numbers(), random(6, 1), random(6, 1)
    else:
        learner, x, y = classes(), random(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])
    order = torch.randperm(6, generator=generator(1)).tolist()
    support = Examples(x, y)
    one, other = (learner.adapt(s).predict(x).to_json() for s in (support, support.take(order)))
    flat = [list(_numbers(a)) for a in (one, other)]
    assert flat[0] == pytest.approx(flat[1], abs=1e-12)


def test_renaming_classes_renames_the_answers() -> None:
    learner, x = classes(), random(4, 3)
    one = learner.adapt(x, ["a", "a", "b", "c"]).predict(x).probabilities
    other = learner.adapt(x, ["c", "c", "a", "b"]).predict(x).probabilities
    assert abs(one - other[:, [2, 0, 1]]).max() < 1e-12


def test_it_learns_to_read_a_support_set() -> None:
    torch.manual_seed(0)
    learner = NeuralProcess(kshot.encoders.mlp(1, (16,)), dims=1, width=32)
    before = kshot.evaluate(learner, Lines(), tasks=60)
    run = kshot.fit(learner, Lines(), steps=150, meta_batch=16, rate=5e-3, progress=False)
    after = kshot.evaluate(run.learner, Lines(), tasks=60)
    assert after.mean < 0.5 * before.mean
    gains = [b - a for a, b in zip(after.values, before.values, strict=True)]  # on the very same tasks
    assert Interval.of(gains).low > 0


def test_it_runs_under_vmap() -> None:
    rows = NeuralProcess(kshot.encoders.mlp(4, (8,)), width=8)
    lines = NeuralProcess(kshot.encoders.mlp(1, (8,)), dims=1, width=8)
    assert runs_under_vmap(rows, Blobs())
    assert runs_under_vmap(lines, Lines())


def test_another_kind_of_answer_is_refused_with_the_fix() -> None:
    with pytest.raises(SettingError, match=r"dims=2"):
        numbers().adapt(random(3, 1), random(3, 2))
    with pytest.raises(SettingError, match=r"dims=1"):
        classes().adapt(random(3, 3), random(3, 1))
    with pytest.raises(SettingError, match=r"dims is -1"):
        NeuralProcess(kshot.encoders.identity(1), dims=-1)


def test_answers_know_their_uncertainty() -> None:
    learner = numbers()
    task = learner.adapt(random(3, 1), random(3, 1))
    assert (task.predict(random(2, 1)).deviations >= 0.1).all()
    outputs = learner.respond(task.state, learner.embed(random(2, 1)), Numbers(1))
    assert isinstance(outputs, Gaussian)


def _numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [n for key in sorted(value) for n in _numbers(value[key])]
    if isinstance(value, list):
        return [n for item in value for n in _numbers(item)]
    return [value] if isinstance(value, float) else []
