"""A list of operations gives the bits of the function it was written from, and is shorter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from kshot.engine import tracing
from kshot.engine.tracing import trace


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def views(x: Tensor) -> list[Tensor]:
    """Chains of views, of a whole and of parts; one comes back to where it began."""
    turned = x.t().unsqueeze(0).expand(3, -1, -1).transpose(0, 1)
    part = x[1:, 2:].view(-1, 2, 2).permute(2, 0, 1)
    return [turned.sum(1), part.reshape(-1), x.t().t() * 2, x.view(4, 3, 2).view(4, 6) + 1, x[2].detach()]


def repeated(x: Tensor) -> list[Tensor]:
    return [torch.tanh(x) + torch.tanh(x), x * 1, (x * 1.0).double() * 1, x.round().long() * 1]


def second(x: Tensor) -> list[Tensor]:
    """A gradient of gradients, mapped."""
    return [vmap(grad(lambda row: grad(lambda r: torch.tanh(r).pow(3).sum())(row).square().sum()))(x)]


def norms(x: Tensor) -> list[Tensor]:
    layer = nn.functional.layer_norm(x, (6,))
    return [torch.softmax(layer, -1), *torch.max(x, 1), *x.split(2, 1)]


def alias_of_nothing(x: Tensor) -> list[Tensor]:
    return [x[:0].t().reshape(-1), x[:0].sum()]


def changing(x: Tensor) -> list[Tensor]:
    """Changes a tensor of its own: then nothing is left out."""
    total = torch.zeros_like(x)
    total += x
    total *= 1
    return [total, total.t().t()]


@pytest.mark.parametrize("function", [views, repeated, second, norms, alias_of_nothing, changing])
def test_the_same_bits(function: object) -> None:
    assert callable(function)
    run = trace(function, [drawn(4, 6)])
    other = drawn(4, 6) * 3 + 1
    for mine, its in zip(run(other), function(other), strict=True):
        assert torch.equal(mine, its)
        assert mine.dtype == its.dtype


def count(module: torch.fx.GraphModule) -> int:
    return sum(node.op.startswith("call") for node in module.graph.nodes)


@pytest.mark.parametrize(("function", "most"), [(views, 12), (repeated, 7)])
def test_fewer_operations(function: object, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(function)
    kept: list[tuple[torch.fx.GraphModule, int]] = []
    real = tracing._simplify

    def seen(module: torch.fx.GraphModule, found: object) -> None:
        kept.append((module, count(module)))
        real(module, found)  # type: ignore[arg-type]

    monkeypatch.setattr(tracing, "_simplify", seen)
    trace(function, [drawn(4, 6)])
    ((module, before),) = kept
    assert count(module) <= most < before


def test_what_decides_by_a_value_cannot_be_written() -> None:
    with pytest.raises(RuntimeError, match="get value out of a tracing tensor"):
        trace(lambda x: [x if x.sum() > 0 else -x], [torch.ones(2)])
