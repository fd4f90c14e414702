"""Meta-gradients of many small tasks from lists of operations that are written down once; see `tracing`."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree

from kshot.engine.capture import Captured
from kshot.engine.mapped import Slopes, add_mean, slopes_of
from kshot.engine.recompute import recomputes
from kshot.engine.side_effects import LossOf, check_order_is_free
from kshot.engine.stacking import fitting, stacks
from kshot.engine.tracing import Run, trace

if TYPE_CHECKING:
    from jaxtyping import Float

_NUMBERS = 2**20
"""Numbers of parameters and inputs in a call: what passes through then stays in the cores' own memory."""
_GRAPHS = 16
"""Lists kept for a module; the oldest goes first."""
_TOLERANCE = 1e-4
"""Of a list's numbers, relative to what it was written from; they are the same bits where nothing is wrong."""
_Sums = tuple[dict[str, Tensor], Tensor]


class _Kept:
    """The lists of one module, by what they hold for."""

    def __init__(self) -> None:
        self.runs: dict[Hashable, Run | None] = {}
        self.writing = threading.Lock()

    def of(self, place: Hashable, write: Callable[[], Run]) -> Run | None:
        """A list, written for the first shapes at once and for others when they come again."""
        with self.writing:
            known = self.runs.get(place)
            if known is None and (place in self.runs or not self.runs):
                known = self.runs[place] = write()
            elif known is None:
                self.runs[place] = None
            if len(self.runs) > _GRAPHS:
                del self.runs[next(iter(self.runs))]
            return known


_KEPT: weakref.WeakKeyDictionary[nn.Module, _Kept] = weakref.WeakKeyDictionary()


def by_graph(
    module: nn.Module, loss: LossOf, tasks: Sequence[Any], chunk: int | None, key: Hashable
) -> Float[Tensor, ""]:
    """As `by_vmap`, from a list of operations: as many tasks at once as cores' own memory holds, `chunk` at most.

    Args:
        key: what else decides the loss: a list is used again where key, shapes and modes of the module are the same.

    Raises:
        RuntimeError: the loss decides by values, changes buffers or draws random numbers.
    """
    check_order_is_free(module, loss, tasks[0])
    if recomputes():
        raise RuntimeError(
            "a list of operations keeps all activations; inner steps cannot be computed again in it"
        )
    parameters = dict(module.named_parameters())
    values = {name: p.detach() for name, p in parameters.items() if p.requires_grad}
    state = (key, _modes(module, parameters), _layouts(values.values()))
    slopes = partial(slopes_of, module, loss)

    most = fitting(_NUMBERS, values.values(), tasks[0])
    parts = _parts(tasks, min(chunk or most, most))
    found = [
        _sums(slopes, values, stacked, state, module) for part in parts for stacked in stacks(part, len(part))
    ]
    return add_mean(parameters, found, len(tasks))


def _sums(
    slopes: Callable[[], Slopes], values: dict[str, Tensor], stacked: Any, state: Hashable, module: nn.Module
) -> _Sums:
    """What `slopes` gives, from a list of operations where there is one."""
    leaves, form = tree.tree_flatten(stacked)
    count, names = len(values), list(values)

    def function(*given: Tensor) -> list[Tensor]:
        own = dict(zip(names, given[:count], strict=True))
        gradients, total = slopes()(own, tree.tree_unflatten(list(given[count:]), form))
        return [*(gradients[name] for name in names), total]

    given = [*values.values(), *leaves]
    place = (state, str(form), _layouts(leaves))
    run = _KEPT.setdefault(module, _Kept()).of(place, lambda: _written(function, given))
    if run is None:
        *gradients, total = function(*given)
    else:
        with torch.inference_mode(), _no_cast(given[0].device.type):
            *gradients, total = run(*given)
    return dict(zip(names, gradients, strict=True)), total


def _written(function: Callable[..., list[Tensor]], given: Sequence[Tensor]) -> Run:
    """A list of operations that gives the numbers of the function it was written from.

    Raises:
        RuntimeError: it cannot be written, or gives others.
    """
    run = trace(function, given)
    expected = function(*given)
    with torch.no_grad(), _no_cast(given[0].device.type):
        found = run(*given)
    for one, other in zip(found, expected, strict=True):
        if not torch.allclose(
            one, other, rtol=_TOLERANCE, atol=_TOLERANCE * float(other.abs().max()), equal_nan=True
        ):
            raise RuntimeError("the list of its operations gives other numbers than it does")
    return Captured(run, given) if given[0].is_cuda else run


def _no_cast(device: str) -> AbstractContextManager[Any]:
    """Casts are operations of the list."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def _parts(tasks: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Equal parts of at most `size`."""
    each = -(-len(tasks) // -(-len(tasks) // max(size, 1)))
    return [tasks[start : start + each] for start in range(0, len(tasks), each)]


def _modes(module: nn.Module, parameters: dict[str, nn.Parameter]) -> Hashable:
    """What may change in a module without a trace in the shapes of what learns."""
    modes: list[bool] = []
    buffers: list[int] = []
    for part in module.modules():
        modes.append(part.training)
        buffers += map(id, part._buffers.values())
    fixed = tuple(id(p) for p in parameters.values() if not p.requires_grad)
    device = next(iter(parameters.values())).device.type
    cast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
    return cast, tuple(modes), tuple(buffers), fixed


def _layouts(tensors: Iterable[Tensor]) -> Hashable:
    return tuple((t.shape, t.stride(), t.storage_offset(), t.dtype, t.device) for t in tensors)
