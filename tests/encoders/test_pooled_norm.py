"""Norm, pooling and ReLU as one function, and the convolution before it: against torch's own, one after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.encoders import conv4, normalising
from kshot.encoders.convolution import Conv2d
from kshot.encoders.pooled_norm import batch_norm_pool_relu, can_fuse

EPS = 1e-5
LAYOUTS = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
SIZES = pytest.mark.parametrize("size", [(3, 2, 4, 4), (2, 3, 5, 7), (4, 1, 2, 3)])


def given(size: tuple[int, ...], layout: torch.memory_format) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(size, generator=rng, dtype=torch.float64).contiguous(memory_format=layout)
    weight = 0.2 + torch.rand(size[1], generator=rng, dtype=torch.float64)
    bias = torch.randn(size[1], generator=rng, dtype=torch.float64)
    return [t.requires_grad_() for t in (x, weight, bias)]


def fused(*parts: Tensor) -> Tensor:
    return batch_norm_pool_relu(*parts, EPS)


def apart(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.relu(F.max_pool2d(F.batch_norm(x, None, None, weight, bias, True, 0.0, EPS), 2))


@LAYOUTS
@SIZES
def test_norm_pool_relu_and_its_derivatives_equal_torch(
    size: tuple[int, ...], layout: torch.memory_format
) -> None:
    parts = given(size, layout)
    assert torch.autograd.gradcheck(fused, parts)
    assert torch.autograd.gradgradcheck(fused, parts)
    found, expected = fused(*parts), apart(*parts)
    torch.testing.assert_close(found, expected)
    pull = torch.rand_like(found)
    for own, other in zip(
        torch.autograd.grad(found, parts, pull), torch.autograd.grad(expected, parts, pull), strict=True
    ):
        torch.testing.assert_close(own, other)


def test_running_statistics_are_kept_as_torch_keeps_them() -> None:
    own, other = conv4(8, size=16).double().train(), conv4(8, size=16).double().train()
    other.load_state_dict(own.state_dict())
    other.layers[0][2].register_forward_hook(
        lambda *_: None
    )  # somebody looks: the parts are called one by one
    x = torch.rand(6, 1, 16, 16, dtype=torch.float64)
    for _ in range(3):
        own(x)
        other(x)
    for (name, mine), its in zip(own.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, its, msg=name)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_weights_that_turn_the_order_round_are_not_fused(sign: float) -> None:
    """The largest before a negative weight is the smallest after it."""
    network = conv4(4, size=8, blocks=1).double()
    with torch.no_grad():
        network.layers[0][1].weight.fill_(sign)
    x = torch.rand(5, 1, 8, 8, dtype=torch.float64)
    assert can_fuse(x, network.layers[0][1].weight) == (sign > 0)
    with normalising("batch"):
        found = network(x)
    y = F.conv2d(x, network.layers[0][0].weight, padding=1)
    expected = apart(y, network.layers[0][1].weight, network.layers[0][1].bias)
    torch.testing.assert_close(found, expected.flatten(1))


def test_a_bias_that_the_norm_takes_away_has_no_gradient_but_is_there() -> None:
    network = conv4(4, size=8, blocks=1).double()
    with normalising("batch"):
        network(torch.rand(5, 1, 8, 8, dtype=torch.float64)).square().sum().backward()
    assert network.layers[0][0].bias.grad is not None
    assert not network.layers[0][0].bias.grad.any()
    assert network.layers[0][0].weight.grad is not None
    assert network.layers[0][0].weight.grad.any()


@LAYOUTS
@pytest.mark.parametrize(
    "settings", [{"padding": 1}, {"stride": 2}, {"padding": 1, "groups": 2, "bias": False}]
)
@pytest.mark.parametrize("by_input", [True, False])
def test_second_derivatives_of_a_convolution(
    layout: torch.memory_format, settings: dict[str, int], by_input: bool
) -> None:
    layer = Conv2d(2, 4, 3, **settings).double().to(memory_format=layout)  # type: ignore[arg-type]
    x = torch.rand(2, 2, 5, 5, dtype=torch.float64).contiguous(memory_format=layout)
    names = [name for name, _ in layer.named_parameters()]

    def convolve(x: Tensor, *parameters: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))
        return out

    given = (x.requires_grad_(by_input), *(p.detach().requires_grad_() for p in layer.parameters()))
    assert torch.autograd.gradcheck(convolve, given)
    assert torch.autograd.gradgradcheck(convolve, given)
    torch.testing.assert_close(layer(x), nn.Conv2d.forward(layer, x))
