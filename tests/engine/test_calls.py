"""Calling a module with other parameters: the module keeps its own, and what changes about it is followed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from kshot.engine import call


class Tied(nn.Module):
    """One weight in two places, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight
        self.shift: Tensor
        self.register_buffer("shift", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x)) + self.shift
        return out


def test_a_weight_with_two_places_is_replaced_in_both() -> None:
    module, x = Tied(), torch.ones(1, 2)
    own = module.first.weight.detach().clone()
    found = call(module, {"first.weight": 2 * torch.eye(2)}, x)
    assert found.tolist() == [[4.0, 4.0]]
    assert torch.equal(module.first.weight, own)
    assert torch.equal(module.second.weight, own)


def test_buffers_modes_and_parts_are_the_modules_as_they_are_now() -> None:
    module: nn.Sequential = nn.Sequential(Tied(), nn.Dropout(1.0))
    given = {"0.first.weight": torch.eye(2)}
    module.eval()
    assert call(module, given, torch.ones(1, 2)).tolist() == [[1.0, 1.0]]
    module[0].shift = torch.tensor([1.0, 2.0])
    assert call(module, given, torch.ones(1, 2)).tolist() == [[2.0, 3.0]]
    module.train()
    assert not call(module, given, torch.ones(1, 2)).any()
    module[1] = nn.ReLU()
    assert call(module, given, -torch.ones(1, 2)).tolist() == [[0.0, 1.0]]


def test_a_call_that_fails_leaves_nothing_behind() -> None:
    module = nn.Linear(2, 1, bias=False)
    with pytest.raises(RuntimeError):
        call(module, {"weight": torch.ones(1, 3)}, torch.ones(1, 2))
    with pytest.raises(KeyError, match="weight"):
        call(module, {}, torch.ones(1, 2))
    assert call(module, {"weight": torch.ones(1, 2)}, torch.ones(1, 2)).item() == 2


def test_threads_that_call_one_module_do_not_meet() -> None:
    module, x = nn.Sequential(nn.Linear(64, 64, bias=False), nn.ReLU()), torch.ones(32, 64)

    def often(scale: float) -> bool:
        given = {"0.weight": scale * torch.eye(64)}
        return all(torch.equal(call(module, given, x), scale * x) for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(often, (1.0, 2.0, 3.0, 4.0)))
