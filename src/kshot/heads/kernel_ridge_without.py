"""Kernel ridge without each example in turn, its prior moving too.

The textbook formula for leave-one-out holds where targets are fixed. Here they are not: leaving out
an example moves the mean of its class, hence the prior scores of that class on every other example,
hence what the regression is asked to correct.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from kshot.heads.head import table
from kshot.heads.prototype import PrototypeWithoutEach
from kshot.heads.without_each import WithoutEach, put_own_class

Cross = Callable[[Tensor], Tensor]
_MOST = 600.0
"""Exponents are cut off here; exp(709) is the largest that float64 holds."""


class ClassesWithoutEach(WithoutEach):
    """Scores p(x) + g w' (Y - softmax p(X)) without example i of class c.

    With v = G k(x), G = (K + lambda I)^-1, the weights are w_j = v_j - G_ji v_i / G_ii. Only column c of the
    prior p moves, so with E = exp p the softmax is E_jk A_ij, A_ij = 1 / S_ij the sum over its row without i:
    one n x n matrix for all queries. A query then costs one product of A with the n x size matrix v * E.

    Args:
        regular: K + lambda I, [n, n]. prior: the prototypes without each. cross: kernel [m, n] of queries.
        gain: g.

    Attributes:
        finite: False where cutting exponents off would make two classes alike; then this is not to be used.
    """

    def __init__(
        self, regular: Tensor, prior: PrototypeWithoutEach | OwnPrototypes, cross: Cross, gain: Tensor
    ) -> None:
        self.prior, self.cross, self.gain = prior, cross, gain
        self.targets, self.alone = prior.targets, prior.alone
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(regular))
        self.pivots = self.inverse.diagonal()
        scores, moved = prior.columns(prior.features)
        best, centre = _centre(scores)
        self.members = table(self.targets, scores.shape[1], scores)
        self.exponentials = (scores - centre).clamp(max=_MOST).exp()
        above = (moved - centre).masked_fill(self.alone, -torch.inf)
        self.finite = not bool(((above > _MOST) & (best != self.targets)).any())
        own = above.clamp(max=_MOST).exp().T
        others = _sum_of_others(self.exponentials)[:, self.targets].T
        self.inverse_sums = 1 / (others + own)
        self.own_class = own * self.inverse_sums

    @cached_property
    def pulled(self) -> Tensor:
        """What leaving out example i takes from every class, [n, size]; only other queries need it."""
        weighted = self.inverse * self.inverse_sums
        return weighted @ self.exponentials - self.inverse @ self.members

    @cached_property
    def pulled_own(self) -> Tensor:
        """The same for its own class, [n]."""
        return (self.inverse * (self.own_class - self._same())).sum(1)

    def _same(self) -> Tensor:
        """[n, n]: whether two examples are of one class."""
        return self.members[:, self.targets].T

    def answers(self, queries: Tensor) -> Tensor:
        weights = self.cross(queries) @ self.inverse
        prior, moved = self.prior.columns(queries)
        ratio = weights / self.pivots
        fitted = weights @ self.members
        base = (prior + self.gain * fitted).flatten().unsqueeze(0)
        mixed = (weights.T.unsqueeze(2) * self.exponentials.unsqueeze(1)).flatten(1)
        scores = torch.addmm(base, self.inverse_sums, mixed, alpha=-float(self.gain))
        scores = scores.view(len(mixed), *prior.shape)
        scores.addcmul_(ratio.T.unsqueeze(2), (self.gain * self.pulled).unsqueeze(1))
        scores = scores.transpose(0, 1)
        own = fitted[:, self.targets] - weights @ self.own_class.T + ratio * self.pulled_own
        return put_own_class(scores, moved + self.gain * own, self.targets, self.alone)

    def own(self) -> Tensor:
        """For example i itself w_j = -G_ji / G_ii, and 0 at i."""
        weights = -self.inverse / self.pivots.unsqueeze(1)
        weights = weights - torch.diag(weights.diagonal())
        fitted = weights @ self.members - (weights * self.inverse_sums) @ self.exponentials
        own = (weights * (self._same() - self.own_class)).sum(1)
        prior, moved = self.prior.columns(self.prior.features)
        return put_own_class(
            prior + self.gain * fitted, moved.diagonal() + self.gain * own, self.targets, self.alone
        )


class OwnPrototypes:
    """What `ClassesWithoutEach` asks of `PrototypeWithoutEach`, for the examples themselves, out of their inner products.

    Args:
        products: inner products of the examples, [n, n]. scale: as for `PrototypeWithoutEach`.
    """

    def __init__(self, products: Tensor, targets: Tensor, size: int, scale: Tensor) -> None:
        self.targets, self.features = targets, products
        members = table(targets, size, products)
        counts = members.sum(0)
        own = counts[targets]
        self.alone = own == 1
        sums, lengths = products @ members, products.diagonal()
        across = sums / counts.clamp(min=1)
        squares = (members * sums).sum(0) / counts.clamp(min=1).square()
        others = (own - 1).clamp(min=1)
        mine = sums.gather(1, targets.unsqueeze(1)).squeeze(1)
        left = ((members * sums).sum(0)[targets] - 2 * mine + lengths) / others.square()
        far = lengths.unsqueeze(1) - 2 * across + squares
        moved = lengths.unsqueeze(1) - 2 * (sums[:, targets] - products) / others + left
        self.scores, self.moved = -scale * far.clamp(min=0), -scale * moved.clamp(min=0)

    def columns(self, _: Tensor) -> tuple[Tensor, Tensor]:
        """As of `PrototypeWithoutEach`, for the examples themselves."""
        return self.scores, self.moved


class NumbersWithoutEach(WithoutEach):
    """For numbers the prior is the mean m of the targets, and leaving out example i moves it to m_i:
    m_i (1 - sum w) + w'Y.

    Args:
        regular: K + lambda I, [n, n]. goal: the targets, [n, size]. cross: kernel [m, n] of queries.
    """

    def __init__(self, regular: Tensor, goal: Tensor, cross: Cross) -> None:
        self.goal, self.cross = goal, cross
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(regular))
        self.pivots = self.inverse.diagonal()
        self.means = (goal.sum(0) - goal) / max(len(goal) - 1, 1)
        self.sums = self.inverse.sum(1)
        self.coefficients = self.inverse @ goal

    def answers(self, queries: Tensor) -> Tensor:
        weights = self.cross(queries) @ self.inverse
        ratio = weights / self.pivots
        total = weights.sum(1, keepdim=True) - ratio * self.sums
        fitted = (weights @ self.goal).unsqueeze(1) - ratio.unsqueeze(2) * self.coefficients
        return self.means * (1 - total).unsqueeze(2) + fitted

    def own(self) -> Tensor:
        total = (1 - self.sums / self.pivots).unsqueeze(1)
        return self.means * (1 - total) + self.goal - self.coefficients / self.pivots.unsqueeze(1)


def _centre(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The best class of each row, and the point around which to take exponentials, both [n, 1].

    That point lies between the two best scores, so that the row stays in range with the best class and
    without it. A class further ahead than exponentials reach is all there is in its row while it is there.
    """
    values, classes = scores.topk(min(2, scores.shape[1]), 1)
    best, second = values[:, :1], values[:, -1:]
    return classes[:, :1], second + ((best - second) / 2).clamp(max=_MOST / 2)


def _sum_of_others(values: Tensor) -> Tensor:
    """[n, k] to the sum of each row without that column; by sums from both ends, for the difference from
    the whole row would lose all digits where one value is nearly the whole."""
    empty = torch.zeros_like(values[:, :1])
    before = torch.cat([empty, values.cumsum(1)[:, :-1]], 1)
    after = torch.cat([values.flip(1).cumsum(1).flip(1)[:, 1:], empty], 1)
    return before + after
