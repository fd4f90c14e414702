"""Kernel ridge regression around a nearest-mean prior."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from kshot.errors import UnsupportedError
from kshot.heads.after import means_after, products_after
from kshot.heads.grouped_rows import GroupedRows
from kshot.heads.head import (
    Arrays,
    Before,
    Head,
    State,
    class_means,
    distances_to,
    eye_like,
    solve_positive,
    squared_distances,
    table,
)
from kshot.heads.kernel_ridge_without import ClassesWithoutEach, NumbersWithoutEach, OwnPrototypes
from kshot.heads.prototype import PrototypeWithoutEach
from kshot.heads.without_each import Resolved, WithoutEach

_WORTH = 8
"""Inner products of the examples are carried in a state while the features are this many times as large."""


_LEFT_OUT = 2000
"""Examples up to which leaving out each is worth its n x n matrices where nobody asked for it."""


class KernelRidgeHead(Head):
    """Scores p(x) + g k(x, X) (K + lambda I)^-1 (Y - softmax p(X)).

    p are the prototype scores, k(x, y) = exp(-b ||x - y||^2 / d) a Gaussian kernel, and what the
    prototypes get wrong on the support is corrected by kernel ridge regression. At one shot the
    prototypes are nearly right on their own examples, so the head falls back to them by itself.
    For numbers the prior is the mean of the targets. Kernel: Rasmussen and Williams (2006), chapter 2.

    >>> head = KernelRidgeHead()
    >>> state = head.solve(torch.eye(2), torch.tensor([0, 1]), 2)
    >>> head.respond(state, torch.eye(2)).argmax(1).tolist()
    [0, 1]
    """

    kind: ClassVar[str] = "kernel_ridge"

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(3.0)))
        self.log_width = nn.Parameter(torch.zeros(()))
        self.log_ridge = nn.Parameter(torch.tensor(math.log(0.1)))
        self.log_gain = nn.Parameter(torch.zeros(()))

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        return self._near(squared_distances(a, b), a.shape[1])

    def _near(self, distances: Tensor, width: int) -> Tensor:
        return torch.exp(-self.log_width.exp() * distances / width)

    def _regular(self, features: Tensor) -> Tensor:
        return self._ridged(self._kernel(features, features))

    def _ridged(self, kernel: Tensor) -> Tensor:
        return kernel + self.log_ridge.exp() * eye_like(kernel)

    def _prior(self, state: State, features: Tensor) -> Tensor:
        if "mean" in state:
            return state["mean"].expand(features.shape[0], -1)
        scale = self.log_scale.exp() / features.shape[1]
        return -scale * squared_distances(features, state["prototypes"])

    def solve(self, features: Tensor, targets: Tensor, size: int) -> State:
        means = None if targets.is_floating_point() else class_means(features, targets, size)
        return self._solve(features, targets, size, features @ features.T, means)

    def solve_after(self, before: Before, features: Tensor, targets: Tensor, size: int) -> State:
        """Inner products of examples that were there, and means of classes that stay as they were, are not computed again.

        They are most of the work where features are many: of 388 examples with 8,192 features each, four fifths.
        """
        if "products" not in before.state:
            return self.solve(features, targets, size)
        means = None if targets.is_floating_point() else means_after(before, features, targets, size)
        return self._solve(features, targets, size, products_after(before, features), means)

    def _solve(self, features: Tensor, targets: Tensor, size: int, products: Tensor, means: Tensor | None) -> State:  # fmt: skip
        """Everything else follows from inner products of the examples, [n, n]."""
        goal, (count, width) = table(targets, size, features), features.shape
        state = {"mean": goal.mean(0)} if means is None else {"prototypes": means}
        prior = state["mean"] if means is None else self._own_prior(products, goal, width)
        residual = goal - (prior if means is None else torch.softmax(prior, 1))
        kernel = self._near(_apart(products), width)
        dual = solve_positive(self._ridged(kernel), residual)
        gain = torch.ones_like(self.log_gain) if means is None else self.log_gain.exp()
        carried = {"products": products} if _WORTH * count <= width else {}
        return {**state, **carried, "support": features, "dual": gain * dual}

    def _own_prior(self, products: Tensor, members: Tensor, width: int) -> Tensor:
        """The prototype scores of the examples themselves; a class without examples has the mean 0."""
        shares = members / members.sum(0).clamp(min=1)
        across = products @ shares
        squares = (shares * across).sum(0)
        far = (products.diagonal().unsqueeze(1) - 2 * across + squares).clamp(min=0)
        return -self.log_scale.exp() / width * far

    def respond_to_own(self, state: State, targets: Tensor) -> Tensor | None:
        if "products" not in state:
            return None
        products, width = state["products"], state["support"].shape[1]
        fitted = self._near(_apart(products), width) @ state["dual"]
        if "mean" in state:
            return fitted + state["mean"]
        return fitted + self._own_prior(products, table(targets, len(state["prototypes"]), products), width)

    def respond_left_out(self, state: State, features: Tensor, targets: Tensor, size: int) -> Tensor | None:
        if targets.is_floating_point() or len(features) > _LEFT_OUT:
            return None
        products, width = state.get("products"), features.shape[1]
        products = features @ features.T if products is None else products
        prior = OwnPrototypes(products, targets, size, self.log_scale.exp() / width)
        regular = self._ridged(self._near(_apart(products), width))
        found = ClassesWithoutEach(regular, prior, self._no_queries, self.log_gain.exp())
        return found.own() if found.finite else None

    def _no_queries(self, _: Tensor) -> Tensor:
        raise UnsupportedError("only the examples themselves are answered out of their inner products")

    def kept(self, state: State, targets: Tensor) -> Arrays:
        """Dual coefficients, and what turns distances to examples into distances to class means (see `_Quick`);
        nothing for numbers, or where a class has no example.
        """
        support = state["support"]
        if "mean" in state or support.dtype != torch.float32:
            return {}
        members = table(targets, len(state["prototypes"]), support)
        counts = members.sum(0)
        if not bool(counts.all()):
            return {}
        shares, lengths = members / counts, support.square().sum(1)
        rates = torch.stack([self.log_width.detach(), self.log_scale.detach()]).exp() / -support.shape[1]
        whole = {
            "dual": state["dual"], "shares": shares, "lengths": lengths,
            "spread": lengths @ shares - state["prototypes"].square().sum(1), "rates": rates.to(support),
        }  # fmt: skip
        return {name: part.detach().numpy(force=True) for name, part in whole.items()}

    def grown(self, kept: Arrays, features: np.ndarray | GroupedRows) -> Any:
        return {"quick": _Quick(features, **kept)}

    def respond(self, state: Any, features: Tensor) -> Tensor:
        if "quick" in state:
            return torch.from_numpy(state["quick"].scores(features.numpy(force=True)))
        whole: State = state
        if "products" not in whole:
            return self._prior(whole, features) + self._kernel(features, whole["support"]) @ whole["dual"]
        own, lengths = features.square().sum(1, keepdim=True), whole["products"].diagonal()
        far = torch.addmm(own + lengths, features, whole["support"].T, alpha=-2).clamp(min=0)
        return self._prior(whole, features) + self._near(far, features.shape[1]) @ whole["dual"]

    def without_each(self, features: Tensor, targets: Tensor, size: int) -> WithoutEach:
        distances = distances_to(features)

        def cross(queries: Tensor) -> Tensor:
            return torch.exp(-self.log_width.exp() * distances(queries) / features.shape[1])

        regular = self._regular(features)
        if targets.is_floating_point():
            return NumbersWithoutEach(regular, table(targets, size, features), cross)
        scale = self.log_scale.exp() / features.shape[1]
        prior = PrototypeWithoutEach(features, targets, size, scale)
        fast = ClassesWithoutEach(regular, prior, cross, self.log_gain.exp())
        return fast if fast.finite else Resolved(self, features, targets, size)


class _Quick(NamedTuple):
    """The same scores out of one table of distances, for who answers a task that has just been read: that to a mean is
    the mean of those to its members, less their spread (the mean of their own distances to it).

    By numpy, which takes two thirds of the time of the same in torch for one query and 25 examples of 384 features.

    Attributes:
        rows, lengths: the support's features [n, d], and their squared lengths [n]. dual: [n, classes].
        shares: what each example is of the mean of its class, [n, classes]. spread: [classes].
        rates: of the kernel and of the prior, by which distances are multiplied, [2].
    """

    rows: np.ndarray | GroupedRows
    dual: np.ndarray
    shares: np.ndarray
    lengths: np.ndarray
    spread: np.ndarray
    rates: np.ndarray

    def scores(self, queries: np.ndarray) -> np.ndarray:
        """Scores [m, classes] of queries [m, d]."""
        rows = self.rows
        far: np.ndarray = rows.products(queries) if isinstance(rows, GroupedRows) else queries @ rows.T
        far *= -2
        far += self.lengths
        far += np.einsum("md,md->m", queries, queries)[:, None]
        np.maximum(far, 0, out=far)
        found: np.ndarray = far @ self.shares
        found -= self.spread
        np.maximum(found, 0, out=found)
        found *= self.rates[1]
        far *= self.rates[0]
        found += np.exp(far, out=far) @ self.dual
        return found


def _apart(products: Tensor) -> Tensor:
    """Squared distances of vectors [n, n] out of their inner products."""
    lengths = products.diagonal()
    return (lengths.unsqueeze(1) - 2 * products + lengths).clamp(min=0)
