"""Labels that spread along the nearest neighbours: Zhou et al. (2004), "Learning with Local and Global Consistency"."""

from __future__ import annotations

import torch
from torch import Tensor

_SHARE = 0.8
"""How much of a label comes from the neighbours."""


def spread_labels(features: Tensor, targets: Tensor, size: int, neighbours: int = 7) -> Tensor:
    """Labels of the first examples, spread along a graph of mutual nearest neighbours: (I - a S)^-1 Y.

    S is the symmetrically normalised graph, a = 0.8 (Zhou et al. 2004, equation 4). Only neighbours that have
    each other among their nearest count, so inputs that no chain of those joins to an example get nothing.

    Args:
        features: [n, d], the examples first. targets: class indices [l] of the examples.

    Returns:
        How much each of the others belongs to each class, [n - l, size].

    >>> x = torch.tensor([[0.0], [5.0], [0.1], [5.1], [5.2], [90.0]])
    >>> (spread_labels(x, torch.tensor([0, 1]), 2, neighbours=2) > 0).tolist()
    [[True, False], [False, True], [False, True], [False, False]]
    """
    return spread_by(distances(features), targets, size, neighbours)


def distances(features: Tensor) -> Tensor:
    """Squared distances [n, n]; infinite to itself."""
    # without the matrix product, which cannot tell near duplicates apart
    away = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist").square()
    return away.fill_diagonal_(float("inf"))


def spread_by(away: Tensor, targets: Tensor, size: int, neighbours: int) -> Tensor:
    """As `spread_labels`, from squared distances [n, n] that are worked out already (see `distances`)."""
    count, known = len(away), len(targets)
    near = away.topk(min(neighbours, count - 1), largest=False)
    width = near.values[:, -1].mean().clamp(min=torch.finfo(away.dtype).tiny)
    graph = torch.zeros_like(away).scatter_(1, near.indices, torch.exp(-near.values / width))
    graph = torch.minimum(graph, graph.T)
    root = graph.sum(1).clamp(min=torch.finfo(away.dtype).eps).sqrt()
    smooth = torch.eye(count).to(graph) - _SHARE * graph / (root.unsqueeze(1) * root)
    start = away.new_zeros(count, size)
    start[torch.arange(known), targets] = 1.0
    spread: Tensor = torch.cholesky_solve(start, torch.linalg.cholesky(smooth))
    return spread[known:].clamp(min=0)
