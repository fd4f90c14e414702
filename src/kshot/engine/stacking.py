"""Tasks of equal shapes as one tree of tensors with a first axis more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as tree

LEAST = 32
"""Tasks in a call, however large."""


def fitting(numbers: int, parameters: Iterable[Tensor], task: Any) -> int:
    """How many tasks a call takes: as many as have so many numbers of parameters and inputs, and at least LEAST."""
    each: int = sum(p.numel() for p in parameters) + sum(t.numel() for t in tree.tree_leaves(task))
    return max(LEAST, numbers // max(each, 1))


def alike(tasks: Sequence[Any]) -> bool:
    """Are all tasks trees of tensors of the same shapes?"""
    leaves = [tree.tree_leaves(task) for task in tasks]
    if not all(isinstance(leaf, Tensor) for each in leaves for leaf in each):
        return False
    return len({tuple(leaf.shape for leaf in each) for each in leaves}) == 1


def stacks(tasks: Sequence[Any], chunk: int) -> Iterator[Any]:
    """Up to `chunk` tasks as one tree; where ways or shots differ, one tree for each of their shapes."""
    for start in range(0, len(tasks), chunk):
        some = tasks[start : start + chunk]
        try:
            yield _stack(some)
        except (RuntimeError, ValueError, TypeError):
            groups: dict[Any, list[Any]] = {}
            for task in some:
                leaves, form = tree.tree_flatten(task)
                groups.setdefault((str(form), *(tuple(leaf.shape) for leaf in leaves)), []).append(task)
            if len(groups) == 1:
                raise
            yield from map(_stack, groups.values())


def _stack(tasks: Sequence[Any]) -> Any:
    first = tasks[0]
    if type(first) is tuple and all(
        isinstance(leaf, Tensor) for leaf in first
    ):  # most tasks; far less to look at
        return tuple(torch.stack(leaves) for leaves in zip(*tasks, strict=True))
    return tree.tree_map(lambda *leaves: torch.stack(leaves), *tasks)
