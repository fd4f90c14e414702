"""Second-order gradients through every norm layer: loop == vmap(grad) == finite differences, in float64.

The trap these tests keep shut: differentiating *through* vmap is silently wrong where an adapted step
holds a fused norm layer. `test_the_trap_is_real` shows it, so that nobody "simplifies" the executor.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from kshot import encoders
from kshot.encoders import Encoder, VectorEncoder
from kshot.encoders.norms import NORMS
from kshot.learners import ClosedForm, GradientLearner, Learner, ProtoNet
from kshot.testing import Blobs, check_executors, check_meta_gradient, runs_under_vmap

IMAGES = Blobs(shape=(1, 8, 8))
ROWS = Blobs()


class NormedRows(VectorEncoder):
    """A perceptron with a LayerNorm inside."""

    kind: ClassVar[str] = "normed_rows"

    def __init__(self) -> None:
        super().__init__(4)
        self.features = 6
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 6))

    def config(self) -> dict[str, Any]:
        return {}

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


def encoder(norm: str) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = NormedRows() if norm == "LayerNorm" else encoders.conv4(4, norm=norm, size=8, blocks=2)
    for name, p in made.named_parameters():
        if p.ndim == 1 and name.endswith("weight"):
            nn.init.uniform_(p, 0.5, 1.5, generator=torch.Generator().manual_seed(2))  # scales off 1
    return made


def learner(kind: str, norm: str) -> Learner:
    with torch.random.fork_rng():
        torch.manual_seed(4)  # weights of the head
        return _learner(kind, norm)


def _learner(kind: str, norm: str) -> Learner:
    if kind == "protonet":
        return ProtoNet(encoder(norm))
    if kind == "ridge":
        return ClosedForm(encoder(norm), "ridge")
    regime = "transductive" if kind == "transductive" else "inductive"
    return GradientLearner(encoder(norm), outputs=3, steps=2, rate=0.2, regime=regime)


@pytest.mark.parametrize("executor", ["loop", "vmap"])
@pytest.mark.parametrize("norm", [*NORMS, "LayerNorm"])
@pytest.mark.parametrize("kind", ["inductive", "transductive", "protonet", "ridge"])
def test_finite_differences(kind: str, norm: str, executor: str) -> None:
    source = ROWS if norm == "LayerNorm" else IMAGES
    check_meta_gradient(learner(kind, norm), source, executor=executor)


@pytest.mark.parametrize("norm", [*NORMS, "LayerNorm"])
@pytest.mark.parametrize("kind", ["inductive", "transductive", "protonet"])
def test_loop_equals_vmap(kind: str, norm: str) -> None:
    source = ROWS if norm == "LayerNorm" else IMAGES
    made = learner(kind, norm)
    check_executors(made, source)
    falls_back = kind == "protonet" and norm == "batch"  # its running statistics are updated in place
    assert runs_under_vmap(made, source) != falls_back


Tensors = dict[str, Tensor]


def _after_one_step(start: Tensors, net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The loss after one adapted step of everything, as a function of the start."""

    def loss(moving: Tensors) -> Tensor:
        return F.mse_loss(functional_call(net, moving, (x,)).flatten(1), y)

    slopes = grad(loss)(start)
    return loss({name: value - 0.5 * slopes[name] for name, value in start.items()})


TRAPS = {
    "batch, rows": lambda: nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Tanh()
    ),
    "layer, rows": lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 4)),
    "batch, images": lambda: nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.Tanh()
    ),
    "instance, images": lambda: nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2, affine=True), nn.Tanh()
    ),
}


@pytest.mark.parametrize("name", TRAPS)
def test_the_known_trap(name: str) -> None:
    """vmap(grad), the loop and finite differences agree where backward *through* vmap is silently wrong."""
    g = torch.Generator().manual_seed(0)
    net = TRAPS[name]().double()
    start = {k: torch.randn(p.shape, generator=g, dtype=p.dtype) for k, p in net.named_parameters()}
    shape = (3,) if "rows" in name else (1, 6, 6)
    x = torch.randn(5, 8, *shape, generator=g, dtype=torch.float64)
    y = torch.randn(5, 8, 4 if "rows" in name else 32, generator=g, dtype=torch.float64)
    way = {k: torch.randn(v.shape, generator=g, dtype=v.dtype) for k, v in start.items()}

    def along(slopes: Tensors) -> float:
        return float(torch.stack([(slopes[k].detach() * way[k]).sum() for k in start]).sum())

    def mean(step: float) -> float:
        at = {k: v + step * way[k] for k, v in start.items()}
        return float(torch.stack([_after_one_step(at, net, a, b) for a, b in zip(x, y, strict=True)]).mean())

    looped = [grad(_after_one_step)(start, net, a, b) for a, b in zip(x, y, strict=True)]
    by_loop = along({k: torch.stack([each[k] for each in looped]).mean(0) for k in start})
    batched = vmap(grad(_after_one_step), in_dims=(None, None, 0, 0))(start, net, x, y)
    by_vmap = along({k: v.mean(0) for k, v in batched.items()})
    slope = (mean(1e-6) - mean(-1e-6)) / 2e-6
    assert by_loop == pytest.approx(by_vmap, rel=1e-10)
    assert by_loop == pytest.approx(slope, rel=1e-5)

    leaves = {k: v.clone().requires_grad_() for k, v in start.items()}
    through = vmap(_after_one_step, in_dims=(None, None, 0, 0))(leaves, net, x, y).mean()
    by_backward = along(dict(zip(leaves, torch.autograd.grad(through, list(leaves.values())), strict=True)))
    if by_backward == pytest.approx(slope, rel=1e-5):
        pytest.skip("this torch differentiates through vmap rightly: the trap is gone")
    assert abs(by_backward - slope) > 1e-4
