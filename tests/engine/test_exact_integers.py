"""MAML by hand: with w = [2, 3, 5] and the loss 0.5 (w.x)^2 every number is a whole one, so equality is exact.

One step of 0.5 on x = [1, 2, 3]: w.x = 23, loss 264.5, w' = w - 0.5 * 23 * x = [-9.5, -20, -29.5].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import kshot
from kshot.encoders import VectorEncoder
from kshot.engine import accumulate, descend, rates
from kshot.learners import GradientLearner
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Numbers

X123, X456 = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
HALF_SQUARE, LINEAR = 0.0, 1.0

# support, query, kind of query loss, steps, rate, order -> query loss, meta-gradient
CASES = [
    pytest.param(X123, X456, HALF_SQUARE, 1, 0.5, 2, 49612.5, [3780, 8505, 13230], id="second order"),
    pytest.param(X456, X123, HALF_SQUARE, 1, 0.5, 1, 340312.5, [-825, -1650, -2475], id="first order"),
    pytest.param(X123, X456, LINEAR, 3, 1.0, 2, -115499.0, [-5020, -10043, -15066], id="three steps"),
]


class Line(nn.Module):
    """w, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([2.0, 3.0, 5.0]))


def judge(output: Tensor, kind: float) -> Tensor:
    return output if kind == LINEAR else 0.5 * output**2


def test_one_inner_step() -> None:
    start = {"w": torch.tensor([2.0, 3.0, 5.0])}
    x = torch.tensor(X123)
    moved, losses = descend(
        lambda p, _: judge(p["w"] @ x, HALF_SQUARE), start, steps=1, rates=rates("fixed", 0.5)
    )
    assert losses[0].item() == 264.5
    assert moved["w"].tolist() == [-9.5, -20.0, -29.5]
    assert start["w"].tolist() == [2.0, 3.0, 5.0]


@pytest.mark.parametrize("executor", ["loop", "vmap", "graph"])
@pytest.mark.parametrize(("support", "query", "kind", "steps", "rate", "order", "loss", "gradient"), CASES)
def test_engine(
    support: list[float],
    query: list[float],
    kind: float,
    steps: int,
    rate: float,
    order: int,
    loss: float,
    gradient: list[float],
    executor: str,
) -> None:
    line = Line()

    def task_loss(task: tuple[Tensor, Tensor]) -> Tensor:
        moved, _ = descend(
            lambda p, _: judge(p["w"] @ task[0], HALF_SQUARE),
            {"w": line.w},
            steps=steps,
            rates=rates("fixed", rate),
            order=order,
        )
        return judge(moved["w"] @ task[1], kind)

    tasks = [(torch.tensor(support), torch.tensor(query))] * 2
    mean = accumulate(line, task_loss, tasks, executor=executor)
    assert mean.item() == loss
    assert line.w.grad is not None
    assert line.w.grad.tolist() == gradient
    assert line.w.tolist() == [2.0, 3.0, 5.0]


class Weighing(VectorEncoder):
    """Features w.x [n, 1]."""

    kind: ClassVar[str] = "weighing"

    def __init__(self) -> None:
        super().__init__(3)
        self.features = 1
        self.w = nn.Parameter(torch.tensor([2.0, 3.0, 5.0]))

    def config(self) -> dict[str, Any]:
        return {}

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.w).unsqueeze(1)


class Judged(Numbers):
    """The target names the loss: 0 half the square, 1 the output itself."""

    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        return torch.where(targets == LINEAR, outputs, 0.5 * outputs**2).mean()


def learner(steps: int, rate: float, order: int) -> GradientLearner:
    """Only the body moves, under a head that passes on what it gets."""
    made = GradientLearner(Weighing(), outputs=1, moves="body", steps=steps, rate=rate, order=order)
    nn.init.ones_(made.head.weight)
    return made


@pytest.mark.parametrize("executor", ["loop", "vmap", "graph"])
@pytest.mark.parametrize(("support", "query", "kind", "steps", "rate", "order", "loss", "gradient"), CASES)
def test_gradient_learner(
    support: list[float],
    query: list[float],
    kind: float,
    steps: int,
    rate: float,
    order: int,
    loss: float,
    gradient: list[float],
    executor: str,
) -> None:
    made = learner(steps, rate, order)
    task = Task(Judged(1), Examples([support], [HALF_SQUARE]), Examples([query], [kind]))
    ready = made.prepare(task)
    assert ready.support is not None
    assert ready.query is not None
    tree = (ready.support.inputs, ready.support.targets, ready.query.inputs, ready.query.targets)
    as_task: Callable[[Any], Task] = lambda t: Task(task.space, Examples(t[0], t[1]), Examples(t[2], t[3]))  # noqa: E731
    mean = accumulate(made, lambda t: made.loss(as_task(t)), [tree, tree], executor=executor)
    assert mean.item() == loss
    assert made.encoder.w.grad.tolist() == gradient


def test_adapted_weights() -> None:
    made = learner(1, 0.5, 2)
    task = made.adapt(torch.tensor([X123]), [HALF_SQUARE], space=Judged(1))
    assert task.state.moving["encoder.w"].tolist() == [-9.5, -20.0, -29.5]
    assert task.predict(torch.tensor([X456])).values.tolist() == [[-315.0]]
    assert isinstance(task, kshot.Adapted)
