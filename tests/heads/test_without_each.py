"""Heads without each example in turn, by formula, against really solving again (1e-8 in float64)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from kshot.heads import HEADS, Head, KernelRidgeHead
from kshot.heads.without_each import Resolved

SHAPES = {
    "more examples than features": (30, 5, 8),
    "more features than examples": (12, 6, 40),
    "many examples, few features": (40, 3, 4),
    "two classes": (9, 2, 5),
    "one example per class": (25, 25, 10),
    "one of two": (2, 2, 3),
}


def problem(seed: int, n: int, classes: int, d: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features [n, d], labels [n] of all classes, numbers [n, 2], queries [7, d]."""
    g = torch.Generator().manual_seed(seed)
    more = torch.randint(0, classes, (n - classes,), generator=g)
    labels = torch.cat([torch.arange(classes), more])[torch.randperm(n, generator=g)]
    centres = 2 * torch.randn(classes, d, generator=g, dtype=torch.float64)
    x = centres[labels] + torch.randn(n, d, generator=g, dtype=torch.float64)
    numbers = torch.randn(n, 2, generator=g, dtype=torch.float64)
    return x, labels, numbers, torch.randn(7, d, generator=g, dtype=torch.float64)


def made(kind: str, seed: int = 0) -> Head:
    """A head in float64 with scalars of its own."""
    head = HEADS[kind]().double()
    g = torch.Generator().manual_seed(seed)
    for scalar in head.parameters():
        scalar.data += 0.7 * torch.randn((), generator=g, dtype=torch.float64)
    return head


def parts(outputs: Any) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def equal(ours: Any, theirs: Any, tolerance: float = 1e-8) -> None:
    for a, b in zip(parts(ours), parts(theirs), strict=True):
        assert a.shape == b.shape
        assert torch.equal(a == -math.inf, b == -math.inf)
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", HEADS)
@torch.no_grad()
def test_classes_equal_really_solving_again(kind: str, shape: str) -> None:
    for seed in range(3):
        x, labels, _, queries = problem(seed, *SHAPES[shape])
        head, classes = made(kind, seed), SHAPES[shape][1]
        fast, true = head.without_each(x, labels, classes), Resolved(head, x, labels, classes)
        assert type(fast) is not Resolved
        equal(fast.answers(queries), true.answers(queries))
        equal(fast.own(), true.own())


@pytest.mark.parametrize("kind", ["ridge", "kernel_ridge", "bayesian"])
@torch.no_grad()
def test_numbers_equal_really_solving_again(kind: str) -> None:
    for seed, shape in enumerate(SHAPES.values()):
        x, _, numbers, queries = problem(seed, *shape)
        head = made(kind, seed)
        fast, true = head.without_each(x, numbers, 2), Resolved(head, x, numbers, 2)
        assert type(fast) is not Resolved
        equal(fast.answers(queries), true.answers(queries))
        equal(head.leave_one_out(x, numbers, 2), true.own())


@torch.no_grad()
def test_a_prior_mean_of_weights() -> None:
    x, _, numbers, queries = problem(1, 12, 3, 5)
    head = HEADS["bayesian"](features=5, outputs=2).double()  # type: ignore[call-arg]
    head.prior.data.normal_(generator=torch.Generator().manual_seed(0))  # type: ignore[union-attr, operator]
    equal(head.without_each(x, numbers, 2).answers(queries), Resolved(head, x, numbers, 2).answers(queries))


@torch.no_grad()
def test_the_answers_to_an_example_itself_are_leave_one_out() -> None:
    for kind in HEADS:
        x, labels, _, _ = problem(2, 12, 3, 5)
        fast = made(kind).without_each(x, labels, 3)
        equal(fast.answers(x)[torch.arange(12), torch.arange(12)], fast.own())


@torch.no_grad()
def test_the_textbook_formula_is_wrong_where_the_prior_moves() -> None:
    """With fixed targets e_i = residual_i / G_ii; the moving prototype makes it something else."""
    x, labels, _, _ = problem(0, 30, 5, 8)
    head = made("kernel_ridge")
    assert isinstance(head, KernelRidgeHead)
    state = head.solve(x, labels, 5)
    inverse = torch.linalg.inv(head._regular(x))
    wrong = head.respond(state, x) - state["dual"] / inverse.diagonal().unsqueeze(1)
    assert float((wrong - head.leave_one_out(x, labels, 5)).abs().max()) > 1e-2


@pytest.mark.parametrize("kind", HEADS)
@torch.no_grad()
def test_degenerate_features(kind: str) -> None:
    """Zero variance, duplicates and contradicting labels for one input."""
    x, labels, _, queries = problem(3, 12, 3, 5)
    for features in (torch.ones_like(x), x[torch.arange(12) // 2], torch.zeros_like(x)):
        head = made(kind)
        equal(
            head.without_each(features, labels, 3).answers(queries),
            Resolved(head, features, labels, 3).answers(queries),
        )


@pytest.mark.parametrize("factor", [3.0, 30.0, 300.0])
@torch.no_grad()
def test_classes_thousands_of_nats_apart(factor: float) -> None:
    for seed in range(5):
        x, labels, _, queries = problem(seed, 12, 5, 3)
        head = made("kernel_ridge", seed)
        fast, true = head.without_each(factor * x, labels, 5), Resolved(head, factor * x, labels, 5)
        equal(fast.answers(factor * queries), true.answers(factor * queries))
        equal(fast.own(), true.own())


@torch.no_grad()
def test_where_exponentials_cannot_tell_it_is_solved_again() -> None:
    """Leaving out the last example brings its class from far behind to the front of the first one's row."""
    x = torch.tensor([[0.0], [0.1], [200.0], [1.0], [-300.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 2, 2])
    head = HEADS["kernel_ridge"]().double()
    assert type(head.without_each(x, labels, 3)) is Resolved
    assert type(head.without_each(x / 100, labels, 3)) is not Resolved


@torch.no_grad()
def test_a_head_of_ones_own_is_solved_again() -> None:
    class Nearest(Head):
        kind = "nearest"

        def solve(self, features: Tensor, targets: Tensor, size: int) -> dict[str, Tensor]:
            return {"x": features, "y": torch.nn.functional.one_hot(targets, size).to(features)}

        def respond(self, state: dict[str, Tensor], features: Tensor) -> Tensor:
            return torch.softmax(-torch.cdist(features, state["x"]), 1) @ state["y"]

    x, labels, _, _ = problem(5, 6, 3, 4)
    own = Nearest().leave_one_out(x, labels, 3)
    keep = [k for k in range(6) if k != 2]
    alone = int((labels == labels[2]).sum()) == 1
    state = Nearest().solve(x[keep], labels[keep], 3)
    expected = Nearest().respond(state, x[2:3])[0]
    for k in range(3):
        gone = alone and k == int(labels[2])
        assert float(own[2, k]) == (-math.inf if gone else pytest.approx(float(expected[k])))


def test_own_answers_are_differentiable_by_the_scalars() -> None:
    """What `retune` descends on: gradients against finite differences."""
    x, labels, _, _ = problem(6, 12, 3, 5)
    labels = torch.arange(12) % 3
    for kind in HEADS:
        head = made(kind)
        own = head.leave_one_out(x, labels, 3)
        own.logsumexp(1).sum().backward()
        for name, scalar in head.named_parameters():
            grad, step = scalar.grad, 1e-6
            values = []
            for sign in (1, -1):
                scalar.data += sign * step
                with torch.no_grad():
                    values.append(float(head.leave_one_out(x, labels, 3).logsumexp(1).sum()))
                scalar.data -= sign * step
            slope = (values[0] - values[1]) / (2 * step)
            told = 0.0 if grad is None else float(grad)
            assert told == pytest.approx(slope, rel=1e-5, abs=1e-6), (kind, name)
