"""The contract of an output space."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as tree

from kshot.tasks.spaces import OutputSpace, space_from_json
from kshot.testing.claims import claim, near, refuses


def check_space(space: OutputSpace, targets: Any, outputs: Any, *, wrong: Sequence[Any] = ()) -> None:
    """Run the contract of an output space on one of your own.

    Args:
        targets: n raw targets, as a user would give them.
        outputs: what a learner returns for n inputs: a tensor or a tree of tensors.
        wrong: targets that do not fit the space, each a list for `encode`, which must raise a UserError.

    Raises:
        AssertionError: a rule is broken; the sentence says which.

    >>> import torch
    >>> from kshot.tasks.spaces import Numbers
    >>> check_space(Numbers(1), [0.5, 1.0], torch.zeros(2, 1))
    """
    told = json.dumps(space.to_json())
    claim(space_from_json(json.loads(told)) == space, f"to_json() gives {told}, which makes another space")
    claim(space == copy.deepcopy(space), "two equal spaces compare as different; spaces compare by content")
    claim(isinstance(space.size, int) and space.size > 0, f"size is {space.size!r}; it must be above 0")
    encoded = space.encode(targets)
    claim(len(encoded) == len(targets), f"{len(targets)} targets were encoded as {len(encoded)}")
    _judges(space, outputs, encoded)
    answer = space.decode(outputs)
    items = json.loads(json.dumps(answer.to_json()))
    claim(
        len(answer) == len(items) == len(targets),
        f"{len(targets)} outputs became {len(answer)} answers and {len(items)} JSON values",
    )
    again = json.loads(json.dumps(space.decode(outputs).to_json()))
    claim(near(items, again, 0.0), "decoding the same outputs twice gives two answers")
    for bad in wrong:
        refuses(lambda given=bad: space.encode(given), "", f"targets {bad!r}")  # type: ignore[misc]


def _judges(space: OutputSpace, outputs: Any, encoded: Any) -> None:
    """The loss is one finite number that can be differentiated; metrics are floats with the main one."""
    leaves, shape = tree.tree_flatten(outputs)
    floats = [t.clone().requires_grad_() if _real(t) else t for t in leaves]
    loss = space.loss(tree.tree_unflatten(floats, shape), encoded)
    claim(loss.ndim == 0 and bool(torch.isfinite(loss)), f"the loss is {loss}; it must be one finite number")
    loss.backward()  # type: ignore[no-untyped-call]
    slopes = [t.grad for t in floats if _real(t) and t.grad is not None]
    claim(bool(slopes), "the loss does not depend on the outputs")
    claim(all(bool(torch.isfinite(s).all()) for s in slopes), "the gradient of the loss is not finite")
    metrics = space.metrics(outputs, encoded)
    claim(
        space.metric in metrics, f"metrics are {sorted(metrics)}; the main one, {space.metric!r}, is missing"
    )
    claim(
        all(isinstance(value, float) for value in metrics.values()),
        f"metrics are {metrics}; each must be a plain float",
    )


def _real(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
