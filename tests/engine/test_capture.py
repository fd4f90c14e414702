"""One launch on a GPU gives what the list of operations gives; where there is no GPU it is not tried."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from kshot.engine import accumulate, graphs
from kshot.engine.capture import Captured

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU: captured launches are untested here"
)


def test_replays_with_other_numbers() -> None:
    def run(x: torch.Tensor) -> list[torch.Tensor]:
        return [torch.tanh(x).sum(0), x * 2]

    captured = Captured(run, [torch.randn(4, 3, device="cuda")])
    one, other = torch.randn(4, 3, device="cuda"), torch.randn(4, 3, device="cuda")
    first = captured(one)
    second = captured(other)
    torch.testing.assert_close(first, run(one))
    torch.testing.assert_close(second, run(other))


def test_draws_go_on_after_what_cannot_be_captured() -> None:
    def waits(x: torch.Tensor) -> list[torch.Tensor]:
        return [x * float(x.sum())]

    with pytest.raises(RuntimeError):
        Captured(waits, [torch.ones(3, device="cuda")])
    assert torch.rand(3, device="cuda").shape == (3,)


def test_graph_equals_vmap() -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).cuda()
    same = copy.deepcopy(net)
    tasks = [torch.randn(5, 3, device="cuda") for _ in range(6)]
    for _ in range(3):
        one = accumulate(net, lambda x: net(x).square().mean(), tasks, executor="graph", key="captured")
        other = accumulate(same, lambda x: same(x).square().mean(), tasks, executor="vmap")
        torch.testing.assert_close(one, other)
    for mine, its in zip(net.parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)
    (kept,) = graphs._KEPT[net].runs.values()
    assert isinstance(kept, Captured)
