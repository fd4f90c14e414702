"""Convolution whose second derivative is made of the kernels of its first.

torch composes the second derivative of a convolution of transposed convolutions with kernels as large as the image,
which have no fast code on a CPU. With C(x; w) the convolution, and X(g; w), W(g; x) its gradients by input and weight:

    gx = X(g; w),  gw = W(g; x)
    L' = <v, gx> + <a, gw>                                                      what is differentiated again
    dL'/dg = C(v; w) + C(x; a),  dL'/dx = X(g; a),  dL'/dw = W(g; v)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float

_BACKWARD = torch.ops.aten.convolution_backward.default
_Geometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]
"""Stride, padding, dilation and groups."""


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, on a CPU with a cheap second derivative; a third one is refused by torch with an error.

    >>> x, layer = torch.ones(1, 1, 2, 2), Conv2d(1, 1, 2, bias=False)
    >>> with torch.no_grad():
    ...     _ = layer.weight.fill_(0.5)
    >>> layer(x).item()
    2.0
    """

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k a b"]:
        return self._convolved(input, True)

    def without_bias(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k a b"]:
        """For what takes a constant away again: the bias, which changes nothing there, is left out where that is cheaper."""
        return self._convolved(x, False)

    def _convolved(self, x: Tensor, adds_bias: bool) -> Tensor:
        if isinstance(self.padding, str) or self.padding_mode != "zeros" or not _suits(x, self.weight):
            return super().forward(x)
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        out: Tensor = _Convolution.apply(x, self.weight, self.bias, adds_bias, geometry)
        return out


def _suits(x: Tensor, weight: Tensor) -> bool:
    return (
        torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype
        and not torch.is_autocast_enabled("cpu")
        and torch._C._functorch.peek_interpreter_stack() is None  # no public name says so
        and not torch.compiler.is_compiling()
    )


class _Convolution(Function):
    """C(x; w) + b."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "n c h w"],
        weight: Float[Tensor, "k d a b"],
        bias: Float[Tensor, " k"] | None,
        adds_bias: bool,
        geometry: _Geometry,
    ) -> Float[Tensor, "n k p q"]:
        ctx.geometry, ctx.adds_bias = geometry, adds_bias
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias if adds_bias else None, *geometry)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias, *_ = ctx.needs_input_grad
        nothing = g.new_zeros(len(weight)) if by_bias and not ctx.adds_bias else None
        if torch.is_grad_enabled():  # it is differentiated again
            gx, gw = _Gradient.apply(g, x, weight, ctx.geometry, (by_x, by_weight, False))
            return gx, gw, g.sum((0, 2, 3)) if by_bias and ctx.adds_bias else nothing, None, None
        gx, gw, gb = _slopes(g, x, weight, ctx.geometry, (by_x, by_weight, by_bias and ctx.adds_bias))
        return gx, gw, nothing if gb is None else gb, None, None


class _Gradient(Function):
    """gx and gw."""

    @staticmethod
    def forward(
        ctx: Any,
        g: Float[Tensor, "n k p q"],
        x: Float[Tensor, "n c h w"],
        weight: Float[Tensor, "k d a b"],
        geometry: _Geometry,
        wanted: tuple[bool, bool, bool],
    ) -> tuple[Float[Tensor, "n c h w"] | None, Float[Tensor, "k d a b"] | None]:
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g, x, weight)
        return _slopes(g, x, weight, geometry, wanted)[:2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor | None, a: Tensor | None) -> tuple[Tensor | None, ...]:
        g, x, weight = ctx.saved_tensors
        by_g = by_x = by_weight = None
        if a is not None:
            by_g = F.conv2d(x, a, None, *ctx.geometry)
            if ctx.needs_input_grad[1]:
                by_x = _slopes(g, x, a, ctx.geometry, (True, False, False))[0]
        if v is not None:
            own = F.conv2d(v, weight, None, *ctx.geometry)
            by_g = own if by_g is None else by_g.add_(own)
            if ctx.needs_input_grad[2]:
                by_weight = _slopes(g, v, weight, ctx.geometry, (False, True, False))[1]
        return by_g, by_x, by_weight, None, None


def _slopes(
    g: Tensor, x: Tensor, weight: Tensor, geometry: _Geometry, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients by input, weight and bias of what is pulled with g at the output, where they are wanted."""
    stride, padding, dilation, groups = geometry
    found: tuple[Tensor | None, Tensor | None, Tensor | None] = _BACKWARD(
        g, x, weight, [len(weight)], stride, padding, dilation, False, [0, 0], groups, wanted
    )
    return found
