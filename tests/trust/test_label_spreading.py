"""Labels spread along neighbours as the paper's equation says."""

from __future__ import annotations

import torch

from kshot.trust import spread_labels


def test_spread_labels_solves_the_papers_equation() -> None:
    """Equal to the sum of a^t S^t Y (equation 3 of the paper in the limit), term by term."""
    x = torch.randn(14, 3, generator=torch.Generator().manual_seed(7)).double()
    targets = torch.tensor([0, 1, 1])
    away = torch.cdist(x, x).square().fill_diagonal_(float("inf"))
    near = away.topk(4, largest=False)
    graph = torch.zeros(14, 14).double()
    for i in range(14):
        for j in near.indices[i].tolist():
            if i in near.indices[j].tolist():
                graph[i, j] = torch.exp(-away[i, j] / near.values[:, -1].mean())
    root = graph.sum(1).clamp(min=1e-300).sqrt()
    smooth = graph / (root.unsqueeze(1) * root)
    term = torch.zeros(14, 2).double()
    term[torch.arange(3), targets] = 1.0
    total = term.clone()
    for _ in range(400):
        term = 0.8 * smooth @ term
        total += term
    torch.testing.assert_close(spread_labels(x, targets, 2, neighbours=4), total[3:], atol=1e-9, rtol=1e-6)
