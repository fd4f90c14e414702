"""A function of tensors, written down once as a list of operations and then run without Python's autograd.

torch.fx sees every operation that a call makes, gradients of gradients among them. Small networks wait for what
surrounds their operations, not for arithmetic, and in the list nothing surrounds them: chains of views become one,
what is computed twice is computed once, a product with one is left out. The numbers are the same, bit by bit.
Where Python decides by a value (`if x > 0`), tracing fails and says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.experimental.proxy_tensor import make_fx

Run = Callable[..., list[Tensor]]
_aten = torch.ops.aten
_VIEWS = frozenset({
    _aten.view.default, _aten._unsafe_view.default, _aten.reshape.default, _aten.expand.default, _aten.t.default,
    _aten.transpose.int, _aten.permute.default, _aten.alias.default, _aten.detach.default, _aten.slice.Tensor,
    _aten.select.int, _aten.unsqueeze.default, _aten.squeeze.default, _aten.squeeze.dim, _aten.squeeze.dims,
    _aten.as_strided.default,
})  # fmt: skip
_PRODUCTS = (_aten.mul.Scalar, _aten.mul.Tensor)
_QUICK = (
    "add", "as_strided", "bmm", "cat", "clone", "div", "exp", "log", "mean", "mm", "mul", "neg", "ones_like", "pow", "relu",
    "rsqrt", "sigmoid", "sqrt", "sub", "sum", "t", "tanh", "transpose", "unsqueeze", "where", "zeros_like",
)  # fmt: skip
"""Operations that torch's own functions start in two thirds of the time of `torch.ops`: an addition 1.7 in place of 2.4 us."""
_TRACING = threading.Lock()
"""fx changes how modules are called while it looks on."""


def trace(function: Callable[..., list[Tensor]], leaves: Sequence[Tensor]) -> Run:
    """`function` as a list of operations, for tensors of these shapes, strides and types.

    Raises:
        RuntimeError: it decides by values.

    >>> double = trace(lambda x: [(x * 2 * 1).t().t()], [torch.ones(2, 3)])
    >>> double(torch.full((2, 3), 4.0))[0].sum().item()
    48.0
    """
    with _TRACING:
        module = make_fx(function)(*leaves)
    calls = [node.target for node in module.graph.nodes if isinstance(node.target, OpOverload)]
    if not any(call._schema.is_mutable for call in calls):
        _simplify(module, _results(module, leaves))
    _quicken(module)
    run: Run = module.forward
    return run


class _Kept(Interpreter):
    """Runs a graph and keeps what every node gave."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.found: dict[Node, Any] = {}

    def run_node(self, n: Node) -> Any:
        self.found[n] = super().run_node(n)
        return self.found[n]


def _results(module: GraphModule, leaves: Sequence[Tensor]) -> dict[Node, Any]:
    with torch.no_grad():
        kept = _Kept(module)
        kept.run(*leaves)
    return kept.found


def _simplify(module: GraphModule, found: dict[Node, Any]) -> None:
    """Leave out what changes nothing, and what was there before; shapes and strides are those of `found`."""
    graph = module.graph
    roots: dict[Node, Node] = {}
    known: dict[Any, Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if _is_product_with_one(node, found):
            other = _first(node)
        elif node.target in _VIEWS and _shares_memory(found[node], found[_first(node)]):
            other = _one_view(module, node, roots, known, found)
        else:
            other = known.setdefault((node.target, str(node.args), str(node.kwargs)), node)
        if other is not node:
            node.replace_all_uses_with(other)
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _first(node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)
    return source


def _is_product_with_one(node: Node, found: dict[Node, Any]) -> bool:
    if node.target not in _PRODUCTS or isinstance(node.args[1], Node) or node.args[1] != 1:
        return False
    mine, other = found[node], found[_first(node)]
    return bool(mine.dtype == other.dtype and _layout(mine) == _layout(other))


def _one_view(
    module: GraphModule, node: Node, roots: dict[Node, Node], known: dict[Any, Node], found: dict[Node, Any]
) -> Node:
    """The tensor itself, a view of it that was there before, or one view of it in place of a chain."""
    source = _first(node)
    root = roots.get(source, source)
    layout = _layout(found[node])
    if layout == _layout(found[root]):
        return root
    if (root, layout) in known:
        return known[root, layout]
    made = node
    if source is not root or node.target is _aten._unsafe_view.default:
        with module.graph.inserting_before(node):
            made = module.graph.call_function(_aten.as_strided.default, (root, *layout))
        found[made] = found[node]
    roots[made] = root
    known[root, layout] = made
    return made


def _shares_memory(one: Tensor, other: Tensor) -> bool:
    place = one.untyped_storage().data_ptr()
    return place != 0 and place == other.untyped_storage().data_ptr() and one.dtype == other.dtype


def _layout(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    return tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())


def _quicken(module: GraphModule) -> None:
    for node in module.graph.nodes:
        if not isinstance(node.target, OpOverload) or node.target.namespace != "aten":
            continue
        name = node.target._schema.name.removeprefix("aten::")
        if name in ("view", "expand"):
            node.op, node.target = "call_method", name
        elif name in _QUICK:
            node.target = getattr(torch, name)
    module.recompile()
