"""What a support says about where entities are, in closed form: kernel ridge regression over the judge's opinion.

Both are weighed by logistic regression, on answers that leave out each marked span; leave-one-out of kernel ridge
regression is exact (Rifkin and Lippert 2007, "Notes on regularized least squares").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.learners.localiser import Where
from kshot.text.marked import finding_vectors

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

HARD, _MARKED, _REST = 500, 1500, 2000
"""Unmarked and marked spans that are kept, of the unmarked the likeliest, and others that are only weighed by; bounds the
cost of adapting."""
_WIDTH, _RIDGE = 0.3, 1.0
_PRIOR, _PRECISION = (1.0, 4.0, 0.0), (20.0, 1.0, 0.5)
"""A Gaussian prior of what judge, support and intercept weigh. Like kernel and ridge it was chosen on validation parts."""
_STEPS, _HALVINGS = 15, 12


class Seen(NamedTuple):
    """Spans of one text: marked ones, then the likeliest others.

    Attributes:
        vectors: [m, d] for the kernel. odds: [m] the judge's. marked: [m] booleans.
    """

    vectors: Tensor
    odds: Tensor
    marked: Tensor

    @classmethod
    def of_text(cls, item: Tensor, marked: Tensor, odds: Tensor, others: Tensor, other_odds: Tensor) -> Seen:
        """`marked` and `others` are spans of units [m, 2]; of the others as many as all texts together may have."""
        best = other_odds.argsort(descending=True, stable=True)[:HARD]
        spans = torch.cat([marked, others[best]])
        yes = torch.arange(len(spans), device=item.device) < len(marked)
        return cls(finding_vectors(item, spans), torch.cat([odds, other_odds[best]]), yes)


def solve(parts: Sequence[Seen]) -> Where:
    """The regression, and what it and the judge weigh."""
    every = Seen(*(torch.cat(list(column)) for column in zip(*parts, strict=True)))
    squares = every.vectors.square().sum(1)
    kept, dual, weigh = regressed(
        every.odds, every.marked, lambda a, b: kernel(every.vectors[a], every.vectors[b], squares[b])
    )
    vectors = every.vectors[kept]
    return {"seen": vectors, "squares": squares[kept], "dual": dual.to(vectors), "weigh": weigh.to(vectors)}


def regressed(
    odds: Float[Tensor, " m"], marked: Bool[Tensor, " m"], likeness: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Int[Tensor, " kept"], Float[Tensor, " kept"], Float[Tensor, 3]]:
    """The spans that the regression keeps, their dual weights, and what judge, support and intercept weigh.

    Args:
        odds, marked: see `Seen`. likeness: of the spans at some places to those at others, [a, b].
    """
    kept = _kept(odds, marked)
    rest, share = _sampled(odds, marked, kept)
    odds, goal = odds.double(), marked.double()
    prior, trust = torch.tensor(_PRIOR).to(odds), torch.tensor(_PRECISION).to(odds)
    one = torch.ones_like(odds)
    own = logistic(torch.stack([odds, one], 1), goal, prior[[0, 2]], trust[[0, 2]])
    opinion = 2 * torch.sigmoid(own[0] * odds[kept] + own[1]) - 1
    gram = likeness(kept, kept).double()
    inverse = torch.linalg.inv(gram + _RIDGE * torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
    wanted = 2 * goal[kept] - 1 - opinion
    dual = inverse @ wanted
    left_out = wanted - dual / inverse.diagonal()
    near = likeness(rest, kept).double() @ dual  # these are left out as it is
    table = torch.stack([odds[torch.cat([kept, rest])], torch.cat([left_out, near])], 1)
    table = torch.cat([table, one.new_ones(len(table), 1)], 1)
    counts = torch.cat([one[: len(kept)], one.new_full((len(rest),), share)])
    goal = torch.cat([goal[kept], goal.new_zeros(len(rest))])
    return kept, dual, logistic(table, goal, torch.stack([own[0], prior[1], own[1]]), trust, counts)


def weighed(odds: Float[Tensor, " m"], vectors: Float[Tensor, "m d"], where: Where) -> Float[Tensor, " m"]:
    """Log-odds of spans, by the judge's and by what the support says of spans that look so."""
    near = kernel(vectors, where["seen"].to(vectors), where["squares"].to(vectors)) @ where["dual"].to(
        vectors
    )
    weigh = where["weigh"].to(vectors)
    return weigh[0] * odds + weigh[1] * near + weigh[2]


def _sampled(odds: Tensor, marked: Tensor, kept: Tensor) -> tuple[Int[Tensor, " rest"], float]:
    """Unmarked spans that the regression did not keep, at most `_REST` of them, evenly by the judge's odds, and how many
    each stands for. Those that were kept are the likeliest by the judge: weighed by these alone, the judge would seem to
    be wrong whatever it says, the more so the more texts there are."""
    other = ~marked
    other[kept] = False
    rest = other.nonzero().flatten()
    rest = rest[odds[rest].argsort(descending=True, stable=True)]
    step = -(-len(rest) // _REST) or 1
    chosen = rest[step // 2 :: step]
    return chosen, len(rest) / max(len(chosen), 1)


def logistic(
    x: Float[Tensor, "m k"],
    goal: Float[Tensor, " m"],
    prior: Tensor,
    precision: Tensor,
    counts: Tensor | None = None,
) -> Float[Tensor, " k"]:
    """Logistic regression with a Gaussian prior, by Newton's method; `counts` [m] says how often a row counts.

    >>> x = torch.tensor([[-1.0], [1.0]]).double()
    >>> bool(logistic(x, torch.tensor([0.0, 1.0]).double(), torch.zeros(1).double(), torch.ones(1).double()) > 0.4)
    True
    """

    often = torch.ones_like(goal) if counts is None else counts

    def cost(weights: Tensor) -> Tensor:
        fit = F.binary_cross_entropy_with_logits(x @ weights, goal, weight=often, reduction="sum")
        return fit + 0.5 * (precision * (weights - prior).square()).sum()

    weights = prior.clone()
    for _ in range(_STEPS):
        chance = torch.sigmoid(x @ weights)
        slope = x.T @ (often * (chance - goal)) + precision * (weights - prior)
        curve = (x * (often * chance * (1 - chance)).unsqueeze(1)).T @ x + torch.diag(precision)
        step, now = torch.linalg.solve(curve, slope), cost(weights)
        for _ in range(_HALVINGS):  # a whole step may overshoot
            if cost(weights - step) <= now:
                weights = weights - step
                break
            step = step / 2
    return weights


def _kept(odds: Tensor, marked: Tensor) -> Int[Tensor, " kept"]:
    others = (~marked).nonzero().flatten()
    best = odds[others].argsort(descending=True, stable=True)[:HARD]
    return torch.cat([marked.nonzero().flatten()[:_MARKED], others[best]])


def kernel(
    one: Float[Tensor, "m d"], other: Float[Tensor, "n d"], squares: Float[Tensor, " n"]
) -> Float[Tensor, "m n"]:
    """How alike spans are, 0..1; `squares` are the squared lengths of `other`."""
    distances = torch.addmm(one.square().sum(1, keepdim=True) + squares, one, other.T, alpha=-2)
    return torch.exp(-_WIDTH * distances.clamp(min=0))
