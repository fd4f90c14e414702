"""Solving again after a change is solving anew: whatever came, went or moved."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import kshot
from kshot.heads import Before, KernelRidgeHead

D = 200
"""Wide enough for a state to carry its examples' inner products."""


def some(count: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, D, generator=torch.Generator().manual_seed(seed), dtype=dtype)


CHANGES = {
    "an example": ([0, 1, 2, 3, 4, 5, -1], [0, 0, 1, 1, 2, 2, 1], 3),
    "a class": ([0, 1, 2, 3, 4, 5, -1, -1], [0, 0, 1, 1, 2, 2, 3, 3], 4),
    "a class that sorts first": ([0, 1, 2, 3, 4, 5, -1], [1, 1, 2, 2, 3, 3, 0], 4),
    "less": ([1, 2, 3, 4, 5], [0, 1, 1, 2, 2], 3),
    "a class less, and another order": ([5, 4, 1, 0], [1, 1, 0, 0], 2),
    "one gone, one new": ([0, 2, 3, -1, 4, 5], [0, 1, 1, 0, 2, 2], 3),
    "a class replaced": ([0, 1, 2, 3, -1, -1], [0, 0, 1, 1, 2, 2], 3),
    "nothing but new ones": ([-1, -1, -1], [0, 1, 1], 2),
    "a class without examples": ([0, 1, 4, 5], [0, 0, 2, 2], 3),
}


@pytest.mark.parametrize("name", CHANGES)
def test_solving_after_is_solving_anew(name: str) -> None:
    head, x, y = KernelRidgeHead().double(), some(6, 0), torch.tensor([0, 0, 1, 1, 2, 2])
    first = head.solve(x, y, 3)
    assert "products" in first
    rows, labels, size = CHANGES[name]
    at, targets = torch.tensor(rows), torch.tensor(labels)
    now = torch.where((at >= 0).unsqueeze(1), x[at.clamp(min=0)], some(len(at), 1))
    after = head.solve_after(Before(first, y, at), now, targets, size)
    anew = head.solve(now, targets, size)
    assert after.keys() == anew.keys()
    for key, value in anew.items():
        torch.testing.assert_close(after[key], value, rtol=1e-10, atol=1e-10)
    own = head.respond_to_own(after, targets)
    assert own is not None
    torch.testing.assert_close(own, head.respond(anew, now), rtol=1e-10, atol=1e-10)


def test_numbers_too() -> None:
    head, x, y = KernelRidgeHead().double(), some(6, 0), some(6, 2)[:, :2]
    at = torch.tensor([0, 2, 3, 5, -1])
    now, targets = torch.cat([x[at[:-1]], some(1, 1)]), torch.cat([y[at[:-1]], some(1, 3)[:, :2]])
    after = head.solve_after(Before(head.solve(x, y, 2), y, at), now, targets, 2)
    torch.testing.assert_close(head.respond(after, x), head.respond(head.solve(now, targets, 2), x))
    torch.testing.assert_close(head.respond_to_own(after, targets), head.respond(after, now))


def test_what_is_carried_is_a_cache() -> None:
    """Without it solving starts anew; it is taken along only while it is small beside the features."""
    head, x, y = KernelRidgeHead(), some(6, 0, torch.float32), torch.tensor([0, 0, 1, 1, 2, 2])
    bare = {key: value for key, value in head.solve(x, y, 3).items() if key != "products"}
    found = head.solve_after(Before(bare, y, torch.arange(6)), x, y, 3)
    torch.testing.assert_close(found["dual"], bare["dual"], rtol=0, atol=0)
    assert head.respond_to_own(bare, y) is None
    many = some(40, 4, torch.float32)
    assert "products" not in head.solve(many, torch.arange(40) % 3, 3)


def test_a_task_that_grows_computes_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding, removing and choosing a temperature multiply no features of examples that were there before."""
    learner = kshot.text.classifier("hash:ngram")
    texts = [
        f"{lead} {what}" for what in ("card", "rate", "fee") for lead in ("where is my", "about the", "a")
    ]
    labels = [what for what in ("card", "rate", "fee") for _ in range(3)]
    task = learner.adapt(texts, labels)

    def refuse(*_: object) -> None:
        raise AssertionError("everything was solved anew")

    monkeypatch.setattr(KernelRidgeHead, "solve", refuse)
    grown = task.add(["do you sell vouchers", "a gift voucher"], ["gift", "gift"]).remove("e4")
    monkeypatch.undo()
    anew = learner.adapt(
        [*texts[:4], *texts[5:], *grown.inputs[-2:]], [*labels[:4], *labels[5:], "gift", "gift"]
    )
    asked = ["is my card there", "vouchers", "the rates"]
    torch.testing.assert_close(
        grown.outputs(grown.embed(asked)), anew.outputs(anew.embed(asked)), rtol=0, atol=1e-5
    )
    assert grown.gauge is not None
    assert anew.gauge is not None
    assert grown.gauge.span == pytest.approx(anew.gauge.span, abs=1e-5)


def test_leaving_out_each_by_inner_products_is_leaving_out_each() -> None:
    head, x = KernelRidgeHead().double(), some(9, 5)
    y = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3])  # class 2 has a single example
    found = head.respond_left_out(head.solve(x, y, 4), x, y, 4)
    assert found is not None
    torch.testing.assert_close(found, head.leave_one_out(x, y, 4), rtol=1e-10, atol=1e-10)
    numbers = some(9, 6)[:, :2]
    assert head.respond_left_out(head.solve(x, numbers, 2), x, numbers, 2) is None
