"""Threads that share parameters do not meet at the lock under which torch notes that a gradient by one is wanted.

Two threads did, once in some hundred runs of the suite: one held a parameter's lock and waited for Python's, the other
one the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import kshot
from kshot.adaptation import subset
from kshot.engine import accumulate, executors
from kshot.learners import GradientLearner


def test_threads_find_the_nodes_of_gradients_made(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Linear(3, 2)
    real, seen = executors.gradient_nodes, list[bool]()

    def marked(parameters: Iterable[Tensor]) -> list[Any]:
        nodes = real(parameters)
        for edge in nodes:
            edge.node.metadata["marked"] = True  # a mark stays as long as somebody keeps the node
        return nodes

    def loss(x: Tensor) -> Tensor:
        seen.append("marked" in torch.autograd.graph.get_gradient_edge(net.weight).node.metadata)
        return net(x).square().mean()

    monkeypatch.setattr(executors, "gradient_nodes", marked)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        accumulate(net, loss, [torch.ones(1, 3)] * 6, executor="threads")
    finally:
        torch.set_num_threads(before)
    looked, *asked = seen  # the first call looks whether the loss leaves traces
    assert (looked, asked) == (False, [True] * 6)


@pytest.mark.parametrize("moves", ["lora", "film", "full"])
def test_adapting_asks_for_no_gradient_by_the_learners_own_parameters(
    moves: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = GradientLearner(kshot.encoders.conv4(4, size=8, blocks=2), outputs=2, moves=moves, steps=2)
    kind, wanted = type(subset(moves)), []
    real = kind.apply

    def apply(self: Any, parameters: Mapping[str, Tensor], moving: dict[str, Tensor]) -> Any:
        wanted.append(any(p.requires_grad for p in parameters.values()))
        return real(self, parameters, moving)

    monkeypatch.setattr(kind, "apply", apply)
    learner.adapt(torch.rand(4, 1, 8, 8), ["a", "a", "b", "b"])
    assert wanted
    assert not any(wanted)
