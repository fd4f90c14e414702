"""What a head would answer had it never seen one of its examples, for each example in turn.

Heads with a closed form for this make their own `WithoutEach`; for any other head `Resolved` solves
it again without each example, which is exact by definition and slow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from kshot.heads.head import Head


class WithoutEach(ABC):
    """Answers of n heads, the i-th solved on all support examples but the i-th.

    A class whose only example is left out is no longer among the answers: its score is -inf.
    """

    @abstractmethod
    def answers(self, queries: Tensor) -> Any:
        """Outputs [m, n, size] for query features [m, d]: entry [q, i] is what query q is answered without i."""

    @abstractmethod
    def own(self) -> Any:
        """Outputs [n, size]: what example i is answered without itself (leave-one-out)."""


class Resolved(WithoutEach):
    """By really solving again: for every head, in n solves."""

    def __init__(self, head: Head, features: Tensor, targets: Tensor, size: int) -> None:
        self.head, self.features, self.targets, self.size = head, features, targets, size

    def answers(self, queries: Tensor) -> Any:
        return _stack([self._answer(i, queries) for i in range(len(self.features))], 1)

    def own(self) -> Any:
        each = [self._answer(i, self.features[i : i + 1]) for i in range(len(self.features))]
        return _stack(each, 0, torch.cat)

    def _answer(self, left_out: int, queries: Tensor) -> Any:
        keep = torch.arange(len(self.features), device=self.features.device) != left_out
        features, targets = self.features[keep], self.targets[keep]
        if targets.is_floating_point():
            return self.head.respond(self.head.solve(features, targets, self.size), queries)
        present = torch.unique(targets)
        scores = queries.new_full((len(queries), self.size), float("-inf"))
        if len(present):
            state = self.head.solve(features, torch.searchsorted(present, targets), len(present))
            scores[:, present] = self.head.respond(state, queries).to(scores)
        return scores


def _stack(parts: list[Any], axis: int, how: Callable[..., Tensor] = torch.stack) -> Any:
    """Outputs side by side along a new axis (or with `torch.cat` an old one), pairs element by element."""
    if isinstance(parts[0], tuple):
        return tuple(how(list(each), dim=axis) for each in zip(*parts, strict=True))
    return how(parts, dim=axis)


def shared(targets: Tensor, size: int) -> Tensor:
    """How many examples the class of each example has, [n]."""
    return torch.bincount(targets, minlength=size)[targets]


def put_own_class(scores: Tensor, own: Tensor, targets: Tensor, alone: Tensor) -> Tensor:
    """`scores` [..., n, size] with `own` [..., n] in the column of each example's class; -inf where it was alone.

    Written into `scores` themselves unless a gradient needs them.
    """
    column = own.masked_fill(alone, float("-inf")).unsqueeze(-1)
    places = targets.unsqueeze(-1).expand_as(column)
    return scores.scatter(-1, places, column) if scores.requires_grad else scores.scatter_(-1, places, column)
