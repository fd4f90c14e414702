"""Batch normalisation by the batch's own statistics, with a closed-form second derivative.

A gradient learner differentiates through the gradient of every norm it adapts. torch composes that second
derivative of many small operations, each of which walks over the whole activation; here it is two kernels and
one column sum, from the formulas below, where all of them are of one channel with M values:

    x^ = (x - mean) r,  r = 1 / sqrt(variance + eps),  y = w x^ + b                       Ioffe and Szegedy (2015)
    gx = w r (g - E g - x^ E[g x^]),  gw = sum g x^,  gb = sum g                          its gradient, of g = dL/dy
    L' = <v, gx> + <a, gw> + <b, gb>                                                      what is differentiated again

    dL'/dg = w r (v - E v - x^ E[v x^]) + a x^ + b
    dL'/dw = r Q,  Q = sum v g - M E v E g - M E[v x^] E[g x^]
    h = dL'/dx^ = a g - w r (v E[g x^] + g E[v x^])
    dL'/dx = r (h - E h - x^ E[h x^]) - x^ w r^2 Q / M
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float

_FORWARD = torch.ops.aten.native_batch_norm.default
_BACKWARD = torch.ops.aten.native_batch_norm_backward.default


def batch_norm(
    x: Float[Tensor, "n c h w"], weight: Float[Tensor, " c"], bias: Float[Tensor, " c"], eps: float
) -> Float[Tensor, "n c h w"]:
    """`F.batch_norm(x, None, None, weight, bias, True, 0.0, eps)`, whose second derivative is cheap.

    A third derivative is refused by torch with an error. Inside transforms of torch.func it is torch's own.

    >>> x = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    >>> batch_norm(x, torch.ones(1), torch.zeros(1), 0.0).flatten().tolist()
    [-1.0, 1.0]
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:  # no public name says so
        return F.batch_norm(x, None, None, weight, bias, True, 0.0, eps)
    out: Tensor = _Normalised.apply(x, weight, bias, eps)[0]
    return out


class _Normalised(Function):
    """y, and the statistics that its derivatives need."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, mean, r = _FORWARD(x, weight, bias, None, None, True, 0.0, eps)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, r)
        ctx.save_for_backward(x, weight, mean, r)
        return y, mean, r

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, r = ctx.saved_tensors
        return (*Gradient.apply(laid_out_like(g, x), x, weight, mean, r, ctx.eps), None)


class Gradient(Function):
    """gx, gw, gb."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        gx, gw, gb = _BACKWARD(g, x, weight, None, None, mean, r, True, eps, [True, True, True])
        ctx.eps = eps
        ctx.save_for_backward(g, x, weight, mean, r, gw, gb)
        return gx, gw, gb

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor | None, ...]:
        g, x, w, mean, r, gw, gb = ctx.saved_tensors
        v, count = laid_out_like(v, x), x.numel() // x.shape[1]
        own, sum_vx, sum_v = _BACKWARD(v, x, w, None, None, mean, r, True, ctx.eps, [True, True, True])
        q = channel_sums(v, g) - (sum_v * gb + sum_vx * gw) / count
        k, mean_gx, mean_vx = w * r, gw / count, sum_vx / count
        by_g = own.addcmul_(x, column(a * r)).add_(column(b - a * r * mean))
        mean_h = a * gb / count - k * (sum_v * mean_gx + gb * mean_vx) / count
        mean_hx = a * mean_gx - 2 * k * mean_vx * mean_gx
        slope = -r * (r * mean_hx + k * r * q / count)  # of x; x^ = (x - mean) r
        by_x = torch.addcmul(column(-r * mean_h - slope * mean), x, column(slope))
        by_x.addcmul_(v, column(-k * mean_gx * r)).addcmul_(g, column((a - k * mean_vx) * r))
        return by_g, by_x, r * q, None, None, None


def column(values: Float[Tensor, " c"]) -> Float[Tensor, "1 c 1 1"]:
    """One number a channel, to be spread over images."""
    return values.view(1, -1, 1, 1)


def laid_out_like(value: Tensor, x: Tensor) -> Tensor:
    """torch's kernels are several times slower where their inputs lie in memory in different orders."""
    if value.stride() == x.stride():
        return value
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return value.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def channel_sums(
    v: Float[Tensor, "n c h w"], g: Float[Tensor, "n c h w"] | None = None
) -> Float[Tensor, " c"]:
    """Sums of v, or of v g, over all but the channels; with channels last as a product of matrices, fast there."""
    product = v if g is None else v * g
    if product.is_contiguous():
        return product.sum((0, 2, 3))
    rows = product.permute(0, 2, 3, 1).reshape(-1, product.shape[1])
    return rows.new_ones(len(rows)) @ rows
