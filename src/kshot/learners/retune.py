"""Choosing a head's scalars anew for one task, by exact leave-one-out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import UnsupportedError
from kshot.learners.closed_form import ClosedForm
from kshot.learners.eval_mode import evaluating
from kshot.learners.evidence import precise
from kshot.learners.results import Retuned
from kshot.learners.self_knowledge import known
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes, Numbers

if TYPE_CHECKING:
    from kshot.learners.adapted import Adapted

WIDTH = 1.0
"""How far, in natural logarithms, scalars stray from the base's on one example's word: the standard deviation
of a Gaussian prior around the base, which many examples outweigh and few do not."""
_STEPS = 40
_GAIN = 1e-4
"""Relative gain under which the base's scalars stay."""


def retune(task: Adapted) -> Retuned:
    """The task at scalars of least leave-one-out loss; `task.retune` is the public door.

    Minimises the mean leave-one-out loss plus the squared distance to the base's scalars over 2 n WIDTH^2
    (all scalars are logarithms), by L-BFGS on the closed form, and judges the result by `task.leave_one_out`.
    """
    if not isinstance(task.learner, ClosedForm) or not isinstance(task.space, Classes | Numbers):
        raise UnsupportedError(
            f"{type(task.learner).__name__} has no scalars that leave-one-out can choose; closed-form heads have: "
            "kshot.learners.ClosedForm or ProtoNet"
        )
    start = task.learner.scalars()
    before = start if task.scalars is None else dict(task.scalars)
    counted = _counted(task)
    count = int(counted.sum())
    if not count:
        reason = (
            f"no class of the {len(task)} examples has two, so leave-one-out says nothing; the scalars stay"
        )
        return Retuned(task, before, before, math.nan, math.nan, 0, reason)
    base = task.at_scalars(None)
    new = task.at_scalars(_search(base, counted))
    held, old, found = (loss(each, counted) for each in (task, base, new))
    best, after = (new, found) if found < old * (1 - _GAIN) else (base, old)
    chosen = start if best.scalars is None else dict(best.scalars)
    reason = _reason(old, found, count, best is new)
    return Retuned(task if chosen == before else best, before, chosen, held, after, count, reason)


def _reason(old: float, new: float, examples: int, better: bool) -> str:
    told = f"mean leave-one-out loss of {examples} examples: {old:.4f} at the base's scalars, {new:.4f} at the best found"
    return f"{told}; taken" if better else f"{told}; no gain, so the base's are kept"


def _counted(task: Adapted) -> Tensor:
    """Which examples can be judged without themselves, [n]: their class must have another."""
    encoded = task.space.encode(task.targets)
    if not isinstance(task.space, Classes):
        return torch.full((len(task),), len(task) > 1)
    return torch.bincount(encoded, minlength=task.space.size)[encoded] > 1


def loss(task: Adapted, counted: Tensor) -> float:
    """Mean exact leave-one-out log-loss, or squared error, of the examples that count."""
    found, places = task.leave_one_out(), np.flatnonzero(counted.numpy())
    encoded = task.space.encode(task.targets).numpy(force=True)
    if isinstance(task.space, Classes):
        right = found.probabilities[places, encoded[places]]
        return float(-np.log(np.clip(right, 1e-300, None)).mean())
    return float(np.square(found.values[places] - encoded[places]).mean())


def _search(task: Adapted, counted: Tensor) -> dict[str, float]:
    """The base's scalars after descending the loss and the prior on a copy of its head in float64."""
    base = task.learner
    assert isinstance(base, ClosedForm)
    tuned = base.with_scalars({})
    tuned.head.double()
    scalars = [p for p in tuned.head.parameters() if p.ndim == 0]
    start = [p.detach().clone() for p in scalars]
    exact = precise(task.embedded)
    targets = task.space.encode(task.targets).to(exact.device)
    examples = Examples(exact, targets.to(exact.dtype) if targets.is_floating_point() else targets)

    def closure() -> Tensor:
        steps.zero_grad()
        away = torch.stack([(p - q).square() for p, q in zip(scalars, start, strict=True)]).sum()
        value = _cost(tuned, examples, task, counted) + away / (2 * int(counted.sum()) * WIDTH**2)
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    steps = torch.optim.LBFGS(scalars, max_iter=_STEPS, line_search_fn="strong_wolfe")
    with torch.enable_grad(), evaluating(tuned):
        steps.step(closure)  # type: ignore[no-untyped-call]
    return tuned.scalars()


def _cost(tuned: ClosedForm, examples: Examples, task: Adapted, counted: Tensor) -> Tensor:
    """The leave-one-out loss, differentiable by the scalars.

    The temperature of a calibrated base depends on how the task answers its own examples, so it moves along. Here
    it is the whole task's, for speed; the result is judged with those of the tasks without each example.
    """
    space, goal = task.space, examples.targets
    own = tuned.without_each(examples, space).own()
    if not isinstance(space, Classes):
        return F.mse_loss(own[0] if isinstance(own, tuple) else own, goal)
    cell = known(tuned, space.size, len(examples) / space.size)
    heat: Tensor | float = float(tuned.temperature)
    if cell is not None:
        scores = tuned.respond(tuned.solve(examples, space), examples.inputs, space)
        mine = scores.gather(1, goal.unsqueeze(1))
        others = (scores.sum() - mine.sum()) / (scores.numel() - len(scores))
        heat = cell.temperature * (mine.mean() - others).clamp(
            min=1e-3 * float(scores.detach().abs().max()) + 1e-12
        )
    return F.cross_entropy(own[counted] / heat, goal[counted])
