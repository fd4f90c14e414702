"""Many tasks asked at once: inputs encoded together, and moved weights answered together where they are alike."""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as tree

from kshot.engine import FallbackWarning
from kshot.errors import SettingError, callers_level
from kshot.learners.adapted import Adapted
from kshot.learners.eval_mode import evaluating
from kshot.learners.given import embed_read
from kshot.tasks.examples import joined

CHUNK = 100
"""Tasks answered together: fewer leave time to the dispatcher, more leave the cache."""

Outputs = Any


def predict_many(
    asked: Sequence[tuple[Adapted, Any]], *, refused: float | None = None, chunk: int = CHUNK
) -> list[Any]:
    """Predictions of many tasks, each for inputs of its own; as `task.predict(inputs)` for each, to 1e-5.

    Tasks of one base have their inputs encoded in one pass. Where adapting moved the network (gradient learners), tasks
    of as many classes with as many inputs are answered by one pass over their stacked weights.

    Args:
        asked: pairs of a task and what `predict` would be given.
        refused: as for `Adapted.predict`. chunk: tasks answered together.

    Returns:
        A prediction for each pair, in order.

    Raises:
        SettingError: `chunk` is no whole number of at least 1. DataError: inputs that cannot be read.

    >>> import torch, kshot
    >>> base = kshot.learners.ProtoNet(kshot.encoders.identity(2))
    >>> tasks = [base.adapt(torch.eye(2), labels) for labels in (["a", "b"], ["c", "d"])]
    >>> [p.labels for p in predict_many([(task, torch.eye(2)[:1]) for task in tasks])]
    [['a'], ['c']]
    """
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise SettingError(
            f"chunk is {chunk!r}; it is a whole number of tasks of at least 1, for example {CHUNK}"
        )
    found: list[Any] = [None] * len(asked)
    of_base: dict[int, list[int]] = defaultdict(list)
    for place, (task, _) in enumerate(asked):
        of_base[id(task.learner)].append(place)
    for places in of_base.values():
        for start in range(0, len(places), chunk):
            own = places[start : start + chunk]
            for place, outputs in zip(own, _answered([asked[p] for p in own]), strict=True):
                found[place] = asked[place][0].decode(outputs, refused)
    return found


def _answered(asked: Sequence[tuple[Adapted, Any]]) -> list[Outputs]:
    """Outputs of tasks of one base."""
    learner = asked[0][0].learner
    read = [learner.encoder.read(inputs) for _, inputs in asked]
    counts = [len(own) for own in read]
    embedded = embed_read(learner, joined(read))
    ends = list(itertools.accumulate(counts))
    parts = [embedded[end - count : end] for end, count in zip(ends, counts, strict=True)]
    tasks = [task for task, _ in asked]
    if not learner.inner_gradient:
        return [task.outputs(part) for task, part in zip(tasks, parts, strict=True)]
    found: list[Outputs] = [None] * len(tasks)
    for places in _alike(tasks, parts):
        own = [(tasks[p], parts[p]) for p in places]
        for place, outputs in zip(places, _stacked(own) if len(own) > 1 else _singly(own), strict=True):
            found[place] = outputs
    return found


def _alike(tasks: Sequence[Adapted], parts: Sequence[Any]) -> list[list[int]]:
    """Places of tasks whose spaces, states and inputs have the same shapes."""
    groups: dict[Any, list[int]] = defaultdict(list)
    for place, (task, part) in enumerate(zip(tasks, parts, strict=True)):
        leaves, shape = tree.tree_flatten((task.state, part))
        same = all(isinstance(leaf, Tensor) for leaf in leaves) and task.scalars is None
        sizes = tuple((leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else place for leaf in leaves)
        kind = (type(task.space), getattr(task.space, "size", None), str(shape), sizes)
        groups[kind if same else place].append(place)
    return list(groups.values())


def _singly(asked: Sequence[tuple[Adapted, Any]]) -> list[Outputs]:
    return [task.outputs(part) for task, part in asked]


def _stacked(asked: Sequence[tuple[Adapted, Any]]) -> list[Outputs]:
    """One pass over the stacked states; one by one, with a named warning, where torch cannot."""
    learner, space = asked[0][0].solver, asked[0][0].space
    states, inputs = tree.tree_map(
        lambda *leaves: torch.stack(leaves), *((task.state, part) for task, part in asked)
    )
    try:
        with torch.no_grad(), evaluating(learner):
            outputs = vmap(lambda state, x: learner.respond(state, x, space))(states, inputs)
    except (RuntimeError, ValueError) as cause:
        reason = str(cause).splitlines()[0]
        warnings.warn(
            f"vmap cannot answer tasks of {type(learner).__name__} together ({reason}); they are answered one by one",
            FallbackWarning,
            stacklevel=callers_level(),
        )
        return _singly(asked)
    leaves, shape = tree.tree_flatten(outputs)
    return [tree.tree_unflatten([leaf[k] for leaf in leaves], shape) for k in range(len(asked))]
