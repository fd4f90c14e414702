"""Batch normalisation, max-pooling 2 x 2 and ReLU as one function, for networks that are trained on a CPU.

One after the other, each walks over the whole activation and writes it again. Together they need less: a norm with
positive weights keeps the order of numbers, so pooling may come first, and all but the statistics is done on a
quarter of the cells. Backwards, only a quarter of the cells (the largest of each four) has a gradient g of its own:

    gb = sum g,  gw = sum g x^,  dL/dx = -w r (gb + x^ gw) / M + w r g at the largest     x^, w, r, M as in
    `kshot.encoders.batch_statistics`, whose second derivative is used where one is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function

from kshot.encoders.batch_statistics import Gradient, channel_sums, column, laid_out_like

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

_STATISTICS = torch.ops.aten.batch_norm_update_stats.default
_POOL = torch.ops.aten.max_pool2d_with_indices.default
_UNPOOL = torch.ops.aten.max_pool2d_with_indices_backward.default
_MASK = torch.ops.aten.threshold_backward.default


def can_fuse(x: Tensor, weight: Tensor) -> bool:
    """Is it right here, and faster: on a CPU, outside of transforms of torch.func, with positive weights?"""
    return (
        torch._C._functorch.peek_interpreter_stack() is None  # no public name says so
        and not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype
        and (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last))
        and x.shape[2] > 1
        and x.shape[3] > 1
        and bool((weight > 0).all())
    )


def batch_norm_pool_relu(
    x: Float[Tensor, "n c h w"],
    weight: Float[Tensor, " c"],
    bias: Float[Tensor, " c"],
    eps: float,
    running: tuple[Tensor, Tensor, float] | None = None,
) -> Float[Tensor, "n c h//2 w//2"]:
    """`F.batch_norm` by the batch's own statistics, then `F.max_pool2d(2)`, then ReLU; for what `can_fuse`.

    Args:
        running: mean and variance to be updated in place, and the momentum, as in `F.batch_norm`.

    >>> x = torch.tensor([[0.0, 2.0], [4.0, 6.0]]).view(1, 1, 2, 2)
    >>> batch_norm_pool_relu(x, torch.ones(1), torch.zeros(1), 0.0).item()  # 6 is 1.34 deviations above the mean
    1.3416...
    """
    out: Tensor = _Fused.apply(x, weight, bias, eps, running)[0]
    return out


class _Fused(Function):
    """What comes out, and what its derivatives need."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        running: tuple[Tensor, Tensor, float] | None,
    ) -> tuple[Tensor, ...]:
        mean, variance = _STATISTICS(x, *(running or (None, None, 0.0)))
        r = torch.rsqrt(variance + eps)
        largest, places = _POOL(x, [2, 2])
        scale = weight * r
        out = torch.addcmul(column(bias - mean * scale), largest, column(scale)).relu_()
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, r, largest, places)
        ctx.set_materialize_grads(False)  # zeros for what has no gradient would be as large as what has one
        ctx.save_for_backward(x, weight, out, mean, r, largest, places)
        return out, mean, r, largest, places

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if g is None:
            return None, None, None, None, None
        x, weight, out, mean, r, largest, places = ctx.saved_tensors
        g = _MASK(laid_out_like(g, out), out.detach(), 0)
        if torch.is_grad_enabled():  # it is differentiated again
            g = laid_out_like(_UNPOOL(g, x, [2, 2], [2, 2], [0, 0], [1, 1], False, places), x)
            return (*Gradient.apply(g, x, weight, mean, r, ctx.eps), None, None)
        return (*_slopes(g, x, weight, mean, r, largest, places), None, None)


def _slopes(
    g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, largest: Tensor, places: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by x, weight and bias of a gradient of the pooled cells."""
    sum_g, sum_gx = channel_sums(g), channel_sums(g, largest - column(mean)) * r
    count, scale = x.numel() // x.shape[1], weight * r
    slope = -scale * r * sum_gx / count  # of x; x^ = (x - mean) r
    by_x = torch.addcmul(column(-scale * sum_g / count - slope * mean), x, column(slope))
    g = g * column(scale)
    if by_x.is_contiguous():
        by_x.flatten(2).scatter_add_(2, places.flatten(2), g.flatten(2))
    else:
        rows = by_x.permute(0, 2, 3, 1)
        rows.view(len(x), -1, x.shape[1]).scatter_add_(1, _rows(places), _rows(g))
    return by_x, sum_gx, sum_g


def _rows(x: Shaped[Tensor, "n c h w"]) -> Shaped[Tensor, "n h*w c"]:
    return x.permute(0, 2, 3, 1).flatten(1, 2)
