"""Closed-form heads: from features and targets to answers by a formula, no gradient steps.

A head sees numbers only. Its scalars (ridge, kernel width, shrinkage, scale) are ordinary
parameters: they are meta-learned with the base and the user sets nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from kshot.errors import UnsupportedError
from kshot.heads.grouped_rows import GroupedRows
from kshot.heads.without_each import Resolved, WithoutEach

State = dict[str, Tensor]
Arrays = Mapping[str, np.ndarray]


class Before(NamedTuple):
    """What was solved before, and where its examples are now.

    Attributes:
        state: as `Head.solve` gave it. targets: what it was solved for, class indices [k] or numbers [k, size].
        rows: for each of n examples now, int64 [n], its place among the k before; -1: it is new.
    """

    state: Any
    targets: Tensor
    rows: Tensor


class Head(nn.Module, ABC):
    """Base of closed-form heads."""

    kind: ClassVar[str]
    most: ClassVar[int | None] = 16_000
    """Examples of a task that it solves for at most, by several n x n matrices; None: no such matrices. At 16,000 of 384
    features kernel ridge took 5.5 GB and 21 seconds of one core, ridge and lda 3.6 GB and 16."""

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON."""
        return {}

    @abstractmethod
    def solve(self, features: Tensor, targets: Tensor, size: int) -> State:
        """Support features [n, d] and targets (class indices [n] or numbers [n, size]) to a state."""

    @abstractmethod
    def respond(self, state: State, features: Tensor) -> Any:
        """Scores or numbers [m, size] (or a Gaussian) for query features [m, d]."""

    def solve_after(self, before: Before, features: Tensor, targets: Tensor, size: int) -> State:
        """As `solve`, within rounding, where some of these examples were solved before: what does not change is taken
        from there. By default nothing is.
        """
        return self.solve(features, targets, size)

    def respond_to_own(self, state: State, targets: Tensor) -> Any:
        """As `respond` for the support itself, within rounding, out of the state and what it was solved for; None: the
        state has too little for that."""
        return None

    def respond_left_out(self, state: State, features: Tensor, targets: Tensor, size: int) -> Tensor | None:
        """As `leave_one_out`, within rounding, quickly out of what the state holds; None: it would not be quick."""
        return None

    def kept(self, state: State, targets: Tensor) -> Arrays:
        """What of a state, solved with these targets, is small and worth storing beside the features; empty: nothing.

        Arrays in float32, with which `grown` makes a state that answers as the whole one does, within rounding.
        """
        return {}

    def grown(self, kept: Arrays, features: np.ndarray | GroupedRows) -> Any:
        """A state for `respond` out of what was kept and the support's features [n, d], without solving. `np.asarray` makes
        an array of either."""
        raise UnsupportedError(f"a {self.kind} head keeps nothing of its state; solve it again")

    def without_each(self, features: Tensor, targets: Tensor, size: int) -> WithoutEach:
        """The head solved without each support example in turn, at the same scalars; arguments as for `solve`.

        Exact for every head. A head with a closed form overrides it, since this one solves n times.
        """
        return Resolved(self, features, targets, size)

    def leave_one_out(self, features: Tensor, targets: Tensor, size: int) -> Any:
        """What each support example is answered by the head solved without it, [n, size].

        A class whose only example is left out has the score -inf.
        """
        return self.without_each(features, targets, size).own()


def table(targets: Tensor, size: int, like: Tensor) -> Tensor:
    """Targets as numbers [n, size]: class indices become one-hot rows."""
    if targets.is_floating_point():
        return targets.to(like.dtype)
    # a comparison instead of F.one_hot, which looks at its values and so cannot run under vmap
    return (targets.unsqueeze(1) == torch.arange(size, device=targets.device)).to(like.dtype)


def class_means(features: Tensor, targets: Tensor, size: int) -> Tensor:
    """Mean feature of each class, [size, d]; a class without examples gets zeros."""
    members = table(targets, size, features)
    return members.T @ features / members.sum(0).clamp(min=1).unsqueeze(1)


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances [n, m] between rows of a [n, d] and b [m, d]."""
    return (a.square().sum(1, keepdim=True) - 2 * a @ b.T + b.square().sum(1)).clamp(min=0)


def distances_to(rows: Tensor) -> Callable[[Tensor], Tensor]:
    """`squared_distances` from any queries [m, d] to these rows [n, d], whose squares are summed once."""
    squares, across = rows.square().sum(1), -2 * rows.T

    def distances(queries: Tensor) -> Tensor:
        own = queries.square().sum(1, keepdim=True)
        return torch.addmm(own + squares, queries, across).clamp(min=0)

    return distances


def solve_positive(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix^-1 right for a symmetric positive definite matrix."""
    return torch.cholesky_solve(right, torch.linalg.cholesky(matrix))


def eye_like(matrix: Tensor) -> Tensor:
    """The identity of the size, type and device of a square matrix."""
    return torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
