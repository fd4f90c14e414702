"""The closed form against torch's own, and against finite differences, in both orders of memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.encoders.batch_statistics import batch_norm

EPS = 1e-5


def given(layout: torch.memory_format, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 3, 5, 5, generator=rng, dtype=torch.float64).contiguous(memory_format=layout)
    weight, bias = (torch.rand(3, generator=rng, dtype=torch.float64) for _ in range(2))
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


LAYOUTS = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])


@LAYOUTS
def test_first_and_second_derivatives_by_finite_differences(layout: torch.memory_format) -> None:
    def norm(*parts: Tensor) -> Tensor:
        return batch_norm(*parts, EPS)

    assert torch.autograd.gradcheck(norm, given(layout))
    assert torch.autograd.gradgradcheck(norm, given(layout))


@LAYOUTS
@pytest.mark.parametrize("other", [torch.contiguous_format, torch.channels_last])
def test_equals_torch(layout: torch.memory_format, other: torch.memory_format) -> None:
    """Also where the gradient that comes in lies in the other order."""

    def seconds(norm: object) -> list[Tensor]:
        x, weight, bias = given(layout)
        y = norm(x, weight, bias)  # type: ignore[operator]
        pull = given(other, seed=1)[0].detach().requires_grad_()
        firsts = torch.autograd.grad(y, (x, weight, bias), pull, create_graph=True)
        pulls = [
            torch.randn(t.shape, generator=torch.Generator().manual_seed(2), dtype=t.dtype) for t in firsts
        ]
        return [y, *firsts, *torch.autograd.grad(firsts, (x, weight, pull), pulls)]

    ours = seconds(lambda x, w, b: batch_norm(x, w, b, EPS))
    theirs = seconds(lambda x, w, b: F.batch_norm(x, None, None, w, b, True, 0.0, EPS))
    for own, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-12)


def test_a_third_derivative_is_refused_aloud() -> None:
    x, weight, bias = given(torch.contiguous_format)
    (first,) = torch.autograd.grad(batch_norm(x, weight, bias, EPS).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second.square().sum().backward()
