"""Each head against an independent computation: scikit-learn where both do the same, loops and inverses else."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.neighbors import NearestCentroid
from torch import Tensor
from torch.func import vmap

from kshot.heads import (
    HEADS,
    BayesianLinearHead,
    Head,
    KernelRidgeHead,
    LDAHead,
    PrototypeHead,
    RidgeHead,
    squared_distances,
)

WAYS, SHOTS, D = 4, 3, 6


def problem(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Support features [12, 6], labels [12], query features [9, 6], in float64."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(WAYS).repeat_interleave(SHOTS)[torch.randperm(WAYS * SHOTS, generator=g)]
    centres = 2 * torch.randn(WAYS, D, generator=g, dtype=torch.float64)
    x = centres[labels] + torch.randn(len(labels), D, generator=g, dtype=torch.float64)
    return x, labels, torch.randn(9, D, generator=g, dtype=torch.float64)


def numbers(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """As `problem`, with targets [12, 2]."""
    x, _, query = problem(seed)
    return x, torch.randn(len(x), 2, generator=torch.Generator().manual_seed(9), dtype=torch.float64), query


def close(ours: Tensor, theirs: np.ndarray | Tensor, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(ours.numpy(force=True), np.asarray(theirs), rtol=tolerance, atol=tolerance)


def one_hot(labels: Tensor) -> np.ndarray:
    return np.eye(WAYS)[labels.numpy()]


def test_squared_distances_by_loops() -> None:
    a, _, b = problem()
    expected = [
        [math.fsum((p - q) ** 2 for p, q in zip(x, y, strict=True)) for y in b.tolist()] for x in a.tolist()
    ]
    close(squared_distances(a, b), np.array(expected))


def test_prototypes_by_triple_loop() -> None:
    x, labels, query = problem()
    head = PrototypeHead().double()
    head.log_scale.data.fill_(math.log(0.7))
    scores = head.respond(head.solve(x, labels, WAYS), query)
    for i, q in enumerate(query.tolist()):
        for c in range(WAYS):
            total = 0.0
            for d in range(D):
                members = [
                    row[d] for row, label in zip(x.tolist(), labels.tolist(), strict=True) if label == c
                ]
                total += (q[d] - sum(members) / len(members)) ** 2
            assert scores[i, c].item() == pytest.approx(-0.7 / D * total, rel=1e-10)
    theirs = NearestCentroid().fit(x.numpy(), labels.numpy()).predict(query.numpy())
    assert scores.argmax(1).tolist() == theirs.tolist()


@pytest.mark.parametrize("ridge", [0.01, 1.0, 30.0])
def test_ridge_equals_sklearn(ridge: float) -> None:
    x, labels, query = problem()
    head = RidgeHead().double()
    head.log_ridge.data.fill_(math.log(ridge))
    head.log_scale.data.fill_(math.log(3.0))
    ones = np.ones((len(x), 1))
    peer = Ridge(alpha=ridge, fit_intercept=False).fit(np.hstack([x.numpy(), ones]), one_hot(labels))
    expected = 3 * peer.predict(np.hstack([query.numpy(), np.ones((len(query), 1))]))
    close(head.respond(head.solve(x, labels, WAYS), query), expected)


def test_ridge_solution_has_zero_gradient() -> None:
    """Optimality: the gradient of ||XW - Y||^2 + lambda ||W||^2 vanishes at W."""
    x, y, _ = numbers()
    head = RidgeHead().double()
    weights = head.solve(x, y, 2)["weights"].detach().requires_grad_()
    full = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    loss = (full @ weights - y).square().sum() + head.log_ridge.exp().detach() * weights.square().sum()
    (slope,) = torch.autograd.grad(loss, weights)
    assert float(slope.abs().max()) < 1e-10
    assert float(weights.detach().abs().max()) > 1e-2


@pytest.mark.parametrize("ridge", [0.02, 0.5])
def test_kernel_ridge_equals_sklearn(ridge: float) -> None:
    """For numbers: sklearn's KernelRidge with an RBF kernel on what the mean leaves."""
    x, y, query = numbers()
    head = KernelRidgeHead().double()
    head.log_ridge.data.fill_(math.log(ridge))
    head.log_width.data.fill_(math.log(1.7))
    mean = y.mean(0).numpy()
    peer = KernelRidge(alpha=ridge, kernel="rbf", gamma=1.7 / D).fit(x.numpy(), y.numpy() - mean)
    close(head.respond(head.solve(x, y, 2), query), mean + peer.predict(query.numpy()))


def test_kernel_ridge_for_classes_equals_sklearn() -> None:
    """For classes: prototype scores plus the gain times a KernelRidge fit of what their softmax leaves."""
    x, labels, query = problem()
    head = KernelRidgeHead().double()
    head.log_scale.data.fill_(math.log(0.3))
    head.log_gain.data.fill_(math.log(2.0))
    prototypes = PrototypeHead().double()
    prototypes.log_scale.data.fill_(math.log(0.3))
    state = prototypes.solve(x, labels, WAYS)
    prior = torch.softmax(prototypes.respond(state, x), 1).numpy(force=True)
    peer = KernelRidge(alpha=0.1, kernel="rbf", gamma=1 / D).fit(x.numpy(), one_hot(labels) - prior)
    expected = prototypes.respond(state, query).numpy(force=True) + 2 * peer.predict(query.numpy())
    close(head.respond(head.solve(x, labels, WAYS), query), expected)


def test_lda_equals_explicit_inverse() -> None:
    """Woodbury against the d x d inverse of S = v I + w Z'Z / n."""
    x, labels, query = problem()
    head = LDAHead().double()
    head.log_floor.data.fill_(math.log(0.4))
    head.log_share.data.fill_(math.log(0.9))
    means = torch.stack([x[labels == c].mean(0) for c in range(WAYS)])
    centred = x - means[labels]
    inverse = torch.linalg.inv(0.4 * torch.eye(D, dtype=x.dtype) + 0.9 * centred.T @ centred / len(x))
    gap = query.unsqueeze(1) - means
    expected = -1 / D * torch.einsum("qcd,de,qce->qc", gap, inverse, gap)
    close(head.respond(head.solve(x, labels, WAYS), query), expected.detach())


def test_lda_equals_sklearn_where_they_coincide() -> None:
    """As the floor goes to 0 with full share, posteriors are those of sklearn's LDA with equal priors."""
    g = torch.Generator().manual_seed(5)
    labels = torch.arange(WAYS).repeat_interleave(8)
    x = torch.randn(WAYS, D, generator=g, dtype=torch.float64)[labels]
    x = x + torch.randn(len(labels), D, generator=g, dtype=torch.float64)
    query = torch.randn(9, D, generator=g, dtype=torch.float64)
    head = LDAHead().double()
    head.log_floor.data.fill_(-18.0)
    peer = LinearDiscriminantAnalysis(solver="lsqr", priors=[1 / WAYS] * WAYS).fit(x.numpy(), labels.numpy())
    # kshot divides by d where the density has one half
    ours = torch.softmax(D / 2 * head.respond(head.solve(x, labels, WAYS), query), 1)
    close(ours, peer.predict_proba(query.numpy()), 1e-4)


def test_lda_with_one_shot_is_the_nearest_mean() -> None:
    x, _, query = problem()
    head, peer = LDAHead().double(), PrototypeHead().double()
    head.log_floor.data.fill_(math.log(0.5))
    peer.log_scale.data.fill_(math.log(2.0))
    labels = torch.arange(WAYS)
    ours = head.respond(head.solve(x[:WAYS], labels, WAYS), query)
    close(ours, peer.respond(peer.solve(x[:WAYS], labels, WAYS), query).detach())


@pytest.mark.parametrize("prior", [False, True])
def test_bayesian_equals_primal_posterior(prior: bool) -> None:
    """Bishop (3.53), (3.54), (3.59): S = (a I + X'X / s2)^-1, mean S (a m0 + X'y / s2), variance s2 + x'S x."""
    x, y, query = numbers()
    head = BayesianLinearHead(D, 2).double() if prior else BayesianLinearHead().double()
    head.log_precision.data.fill_(math.log(1.3))
    head.log_noise.data.fill_(math.log(0.25))
    m0 = torch.zeros(D + 1, 2, dtype=x.dtype)
    if head.prior is not None:
        m0 = torch.randn(D + 1, 2, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
        head.prior.data.copy_(m0)
    full, asked = (torch.cat([z, torch.ones(len(z), 1, dtype=z.dtype)], 1) for z in (x, query))
    cover = torch.linalg.inv(1.3 * torch.eye(D + 1, dtype=x.dtype) + full.T @ full / 0.25)
    weights = cover @ (1.3 * m0 + full.T @ y / 0.25)
    mean, variance = head.respond(head.solve(x, y, 2), query)
    close(mean, (asked @ weights).detach())
    expected = 0.25 + torch.einsum("qd,de,qe->q", asked, cover, asked)
    close(variance, expected.unsqueeze(1).expand(-1, 2))


def test_bayesian_equals_sklearn_with_its_hyperparameters() -> None:
    """BayesianRidge finds a and s2 itself; with the same two numbers mean and deviation agree."""
    x, y, query = numbers()
    full, asked = (np.hstack([z.numpy(), np.ones((len(z), 1))]) for z in (x, query))
    peer = BayesianRidge(fit_intercept=False, max_iter=5, tol=1e-12).fit(full, y[:, 0].numpy())
    peer_mean, peer_deviation = peer.predict(asked, return_std=True)
    head = BayesianLinearHead().double()
    head.log_precision.data.fill_(math.log(peer.lambda_))
    head.log_noise.data.fill_(-math.log(peer.alpha_))
    mean, variance = head.respond(head.solve(x, y[:, :1], 1), query)
    close(mean[:, 0], peer_mean, 1e-2)
    close(variance[:, 0].sqrt(), peer_deviation, 1e-2)


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_order_of_support_does_not_matter(kind: str) -> None:
    x, labels, query = problem()
    head: Head = HEADS[kind]().double()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(4))
    ours = head.respond(head.solve(x, labels, WAYS), query)
    close(ours, head.respond(head.solve(x[order], labels[order], WAYS), query).detach())


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_classes_are_treated_alike(kind: str) -> None:
    """Renaming classes renames the columns of the scores and changes nothing else."""
    x, labels, query = problem()
    head: Head = HEADS[kind]().double()
    turn = torch.tensor([2, 0, 3, 1])
    ours = head.respond(head.solve(x, labels, WAYS), query)
    close(ours, head.respond(head.solve(x, turn[labels], WAYS), query)[:, turn].detach())


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_heads_run_under_vmap(kind: str) -> None:
    head: Head = HEADS[kind]().double()
    many = [problem(seed) for seed in range(3)]
    stacked = [torch.stack(parts) for parts in zip(*many, strict=True)]
    batched = vmap(lambda x, y, q: head.respond(head.solve(x, y, WAYS), q))(*stacked)
    for place, (x, labels, query) in enumerate(many):
        close(batched[place], head.respond(head.solve(x, labels, WAYS), query).detach())


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_every_scalar_is_learnable(kind: str) -> None:
    """Each parameter of a head gets a finite gradient from classes or from numbers, also at one shot."""
    x, labels, query = problem()
    head: Head = HEADS[kind]().double()
    for support, targets in ((x, labels), (x[:WAYS], torch.arange(WAYS))):
        head.zero_grad()
        head.respond(head.solve(support, targets, WAYS), query).square().mean().backward()
        for name, p in head.named_parameters():
            assert p.grad is not None, name
            assert torch.isfinite(p.grad).all(), name
