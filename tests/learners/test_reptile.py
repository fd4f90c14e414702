"""Reptile: the meta-gradient is start minus result, and its steps see different examples."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from kshot import encoders, learners
from kshot.seeds import generator
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Classes


def test_pull_is_start_minus_plain_descent_over_the_parts() -> None:
    learner = learners.reptile(encoders.identity(3), outputs=2, steps=2, rate=0.5).double()
    x = torch.randn(8, 3, generator=generator(0), dtype=torch.float64)
    y = torch.tensor([0, 1, 0, 1, 0, 0, 1, 1])
    task = Task(Classes(("a", "b")), Examples(x[:2], y[:2]), Examples(x[2:], y[2:]))
    learner.loss(task).backward()

    weight = learner.head.weight.detach().clone().requires_grad_()
    bias = learner.head.bias.detach().clone().requires_grad_()
    first = (weight.detach().clone(), bias.detach().clone())
    for own in (slice(0, None, 2), slice(1, None, 2)):
        loss = F.cross_entropy(x[own] @ weight.T + bias, y[own])
        slopes = torch.autograd.grad(loss, (weight, bias))
        with torch.no_grad():
            weight -= 0.5 * slopes[0]
            bias -= 0.5 * slopes[1]
    assert torch.allclose(learner.head.weight.grad, first[0] - weight, atol=1e-12)
    assert torch.allclose(learner.head.bias.grad, first[1] - bias, atol=1e-12)


def test_more_steps_than_examples_take_turns() -> None:
    learner = learners.reptile(encoders.identity(2), outputs=2, steps=7, rate=0.1)
    task = Task(
        Classes(("a", "b")),
        Examples(torch.eye(2), torch.tensor([0, 1])),
        Examples(torch.eye(2), torch.tensor([0, 1])),
    )
    assert torch.isfinite(learner.loss(task))
