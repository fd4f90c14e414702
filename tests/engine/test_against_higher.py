"""Meta-gradients equal those of `higher` (Grefenstette et al. 2019) on a conv net with batch norm."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot import encoders
from kshot.learners import GradientLearner
from kshot.testing import Blobs
from kshot.testing.gradients import Tree, tree_loss, trees

higher = pytest.importorskip("higher")

RATE = 0.3


class Plain(nn.Module):
    """The same network in plain torch: its own BatchNorm2d, in training mode, is what MAML's paper does."""

    def __init__(self, learner: GradientLearner) -> None:
        super().__init__()
        self.layers = copy.deepcopy(learner.encoder.layers)
        for block in self.layers:
            own = nn.BatchNorm2d(block[1].num_features, track_running_stats=False)
            own.load_state_dict({"weight": block[1].weight, "bias": block[1].bias})
            block[1] = own
        self.head = copy.deepcopy(learner.head)
        self.double().train()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.layers(x).flatten(1))
        return out


def by_higher(plain: Plain, tasks: list[Tree], steps: int, first_order: bool) -> float:
    total = 0.0
    optimizer = torch.optim.SGD(plain.parameters(), lr=RATE)
    for x, y, query, wanted in tasks:
        with higher.innerloop_ctx(
            plain, optimizer, copy_initial_weights=False, track_higher_grads=not first_order
        ) as (net, steps_of):
            for _ in range(steps):
                steps_of.step(F.cross_entropy(net(x), y))
            loss = F.cross_entropy(net(query), wanted) / len(tasks)
            loss.backward()
            total += float(loss.detach())
    return total


@pytest.mark.parametrize("steps", [1, 3])
def test_second_order_meta_gradient(steps: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        body = encoders.conv4(6, norm="batch", size=8, blocks=2)
        learner = GradientLearner(body, outputs=3, steps=steps, rate=RATE, regime="transductive").double()
    made = trees(learner, Blobs(shape=(1, 8, 8)), 3)
    plain = Plain(learner)
    theirs = by_higher(plain, [tree for _, tree in made], steps, first_order=False)
    loss = tree_loss(learner, made[0])
    ours = torch.stack([loss(tree) for _, tree in made]).mean()
    ours.backward()
    assert abs(float(ours.detach()) - theirs) < 1e-12
    mine = [p.grad for p in (*learner.encoder.parameters(), *learner.head.parameters())]
    other = [p.grad for p in plain.parameters()]
    assert len(mine) == len(other) == 10
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    assert max(float(g.abs().max()) for g in mine if g is not None) > 1e-3
