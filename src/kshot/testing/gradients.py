"""Are meta-gradients right? Central finite differences in float64, and one executor against the other."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree

from kshot.engine import FallbackWarning, accumulate
from kshot.learners import Learner
from kshot.seeds import drawing, generator
from kshot.tasks import Examples, Task, TaskSource
from kshot.testing.claims import claim

Tree = tuple[Tensor, Tensor, Tensor, Tensor]


def check_gradient(
    module: nn.Module,
    loss: Callable[[], Tensor],
    gradient: Callable[[], None],
    *,
    directions: int = 3,
    steps: Sequence[float] = (1e-6, 1e-7, 1e-8),
    tolerance: float = 1e-4,
) -> None:
    """The gradient of `loss` by the parameters of `module` equals central finite differences.

    Args:
        module: in float64; its parameters are moved by a step and put back.
        loss: computes the loss from the parameters as they are.
        gradient: leaves the gradient in `.grad`.
        directions: random directions to look along.
        steps: sizes of the step; the next is tried where one steps over a kink (of ReLU or a maximum). A wrong
            gradient agrees with none.
        tolerance: of the directional derivative, relative to the gradient's length.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    claim(
        all(p.dtype == torch.float64 for p in parameters),
        "finite differences need float64: call module.double()",
    )
    module.zero_grad(set_to_none=True)
    gradient()
    slopes = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
    length = float(torch.stack([s.square().sum() for s in slopes]).sum().sqrt())
    rng = generator(0, "directions")
    for number in range(directions):
        ways = [torch.randn(p.shape, generator=rng).to(p) for p in parameters]
        told = float(torch.stack([(s * w).sum() for s, w in zip(slopes, ways, strict=True)]).sum())
        allowed, gap, found = tolerance * max(length, 1e-3), math.inf, math.nan
        for step in steps:
            ahead, behind = (_moved(parameters, ways, way * step, loss) for way in (1, -1))
            found = (ahead - behind) / (2 * step)
            gap = abs(told - found)
            if gap <= allowed:
                break
        claim(
            gap <= allowed,
            f"along random direction {number} the gradient says {told:.8g}, finite differences say {found:.8g}; "
            "they must agree",
        )


def _moved(
    parameters: list[nn.Parameter], ways: list[Tensor], step: float, loss: Callable[[], Tensor]
) -> float:
    before = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p, way in zip(parameters, ways, strict=True):
            p.add_(way, alpha=step)
    value = float(loss().detach())
    with torch.no_grad():
        for p, old in zip(parameters, before, strict=True):
            p.copy_(old)
    return value


def check_meta_gradient(learner: Learner, source: TaskSource, *, executor: str = "loop") -> None:
    """The meta-gradient over two tasks, by one executor, equals finite differences of the mean loss."""
    own = copy.deepcopy(learner).double().train()
    tasks = trees(own, source, 2)
    loss = tree_loss(own, tasks[0])

    def mean() -> Tensor:
        return torch.stack([loss(task[1]) for task in tasks]).mean()

    def gradient() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FallbackWarning)
            accumulate(own, loss, [task[1] for task in tasks], executor=executor)

    check_gradient(own, mean, gradient)


def check_executors(learner: Learner, source: TaskSource) -> None:
    """vmap, and graph for small networks, give the loop's loss and meta-gradient, or warn by name and let the loop do it."""
    results = {}
    heavy = any(isinstance(part, nn.modules.conv._ConvNd) for part in learner.modules())
    # with convolutions a list of operations takes seconds to write, and `fit` never chooses it on a processor
    for executor in ("loop", "vmap") if heavy else ("loop", "vmap", "graph"):
        own = copy.deepcopy(learner).double().train()
        tasks = trees(own, source, 3)
        if not _alike(tasks):
            return  # ragged tasks always run in the loop
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FallbackWarning)
            value = accumulate(own, tree_loss(own, tasks[0]), [task[1] for task in tasks], executor=executor)
        results[executor] = (float(value), [p.grad for p in own.parameters()])
    expected, loop = results.pop("loop")
    for name, (found, slopes) in results.items():
        claim(
            abs(expected - found) <= 1e-9 * max(1.0, abs(expected)),
            f"the loop's loss is {expected!r}, {name}'s {found!r}; they must be equal",
        )
        gap = max((_gap(a, b) for a, b in zip(loop, slopes, strict=True)), default=0.0)
        claim(gap <= 1e-8, f"the loop's and {name}'s meta-gradients differ by {gap:.3g}; they must be equal")


def runs_under_vmap(learner: Learner, source: TaskSource) -> bool:
    """Does the vmap executor run this learner itself, without falling back to the loop?"""
    own = copy.deepcopy(learner).double().train()
    tasks = trees(own, source, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FallbackWarning)
        accumulate(own, tree_loss(own, tasks[0]), [task[1] for task in tasks], executor="vmap")
    return not any(issubclass(w.category, FallbackWarning) for w in caught)


def trees(learner: Learner, source: TaskSource, count: int) -> list[tuple[Task, Tree]]:
    """`count` prepared tasks, each also as the tree of tensors that executors take."""
    rng = generator(0, "gradients")
    ready = [learner.prepare(source.sample(rng)) for _ in range(count)]
    return [(task, _tree(task)) for task in ready]


def tree_loss(learner: Learner, like: tuple[Task, Tree]) -> Callable[[Tree], Tensor]:
    """The loss of a task given as a tree; its space is that of `like`. What it draws (dropout), it draws alike each time,
    since a loss that changes by itself has no finite differences."""
    space = like[0].space

    def loss(t: Tree) -> Tensor:
        with drawing(t[0][0].device, 0, "gradients"):
            return learner.loss(Task(space, Examples(t[0], t[1]), Examples(t[2], t[3])))

    return loss


def _alike(tasks: list[tuple[Task, Tree]]) -> bool:
    """Do all tasks have one space and tensors of one shape?"""
    leaves = [tree.tree_leaves(task[1]) for task in tasks]
    if not all(isinstance(leaf, Tensor) for each in leaves for leaf in each):
        return False
    shapes = {tuple(leaf.shape for leaf in each) for each in leaves}
    return len(shapes) == 1 and all(task[0].space == tasks[0][0].space for task in tasks)


def _tree(task: Task) -> Tree:
    support, query = task.support, task.query
    if support is None or query is None:
        raise AssertionError("meta-training needs tasks with a support and a query; this source lacks one")
    return support.inputs, support.targets, query.inputs, query.targets


def _gap(a: Tensor | None, b: Tensor | None) -> float:
    zero = torch.zeros((), dtype=torch.float64)
    return float(((zero if a is None else a) - (zero if b is None else b)).abs().max())
