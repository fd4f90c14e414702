"""Cases that all libraries run, with the same numbers in every process, and what a contestant is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Case = dict[str, Any]
Step = Callable[[], None]


class Conv4(nn.Module):
    """As peers' users write it: convolution, norm of the batch, ReLU, pool."""

    def __init__(self, width: int, size: int, channels: int) -> None:
        super().__init__()
        widths = [channels] + [width] * 4
        self.body = nn.Sequential(
            *[
                nn.Sequential(
                    nn.Conv2d(widths[i], width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                    nn.MaxPool2d(2),
                )
                for i in range(4)
            ]
        )
        self.head = nn.Linear(width * (size // 16) ** 2, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x).flatten(1))
        return out


def sine_net() -> nn.Sequential:
    """The sinusoid network of the MAML paper."""
    return nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))


def tasks(case: Case, dtype: torch.dtype) -> list[tuple[Tensor, ...]]:
    """Random tasks, the same in every process: support inputs, targets, query inputs, targets."""
    rng = torch.Generator().manual_seed(0)
    if case["kind"] == "sinusoid":
        xs = torch.rand(case["tasks"], 20, 1, generator=rng, dtype=torch.float64) * 10 - 5
        phases = torch.rand(case["tasks"], 1, 1, generator=rng, dtype=torch.float64) * 3
        both = torch.stack([xs, torch.sin(xs + phases)]).to(dtype)
        return [(x[:10], y[:10], x[10:], y[10:]) for x, y in zip(both[0], both[1], strict=True)]
    shape, shots = (case["channels"], case["size"], case["size"]), case["shots"]
    ways = torch.arange(5)
    made = []
    for _ in range(case["tasks"]):
        centres = torch.rand(5, *shape, generator=rng, dtype=torch.float64)
        x = centres.unsqueeze(1) + 0.3 * torch.rand(5, shots + 15, *shape, generator=rng, dtype=torch.float64)
        x = x.to(dtype)
        made.append((x[:, :shots].flatten(0, 1), ways.repeat_interleave(shots),
                     x[:, shots:].flatten(0, 1), ways.repeat_interleave(15)))  # fmt: skip
    return made


def numbers(network: nn.Module) -> None:
    """The same weights in every process, whatever the modules are called: scaled normal, scales of norms near 1."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            new = torch.randn(p.shape, generator=rng, dtype=torch.float64)
            inputs = p[0].numel() if p.ndim > 1 else 100
            p.copy_(new * (2 / inputs) ** 0.5)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.add_(1)


def network(case: Case) -> nn.Module:
    """A peer's network for a case."""
    made = sine_net() if case["kind"] == "sinusoid" else Conv4(case["width"], case["size"], case["channels"])
    numbers(made)
    return made


def judge(case: Case) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a case."""
    return F.mse_loss if case["kind"] == "sinusoid" else F.cross_entropy


class Contestant:
    """A model, its optimizer, and `accumulate`: the mean meta-gradient of the tasks into `.grad`."""

    fused = False
    """Does Adam step through all parameters in one kernel? `kshot.fit` asks for it; who takes the default does not."""

    def __init__(self, case: Case, dtype: torch.dtype, last: bool) -> None:
        self.case, self.judge, device = case, judge(case), case.get("device", "cpu")
        self.rate = 0.01 if case["kind"] == "sinusoid" else 0.4
        self.first = case["kind"] == "fomaml"
        self.tasks = [tuple(t.to(device) for t in task) for task in tasks(case, dtype)]
        self.model = self.made(network(case).to(device, dtype).train())
        if last:
            self.model.to(memory_format=torch.channels_last)
            self.tasks = [tuple(t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for t in task)
                          for task in self.tasks]  # fmt: skip
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3, fused=self.fused)

    def made(self, net: nn.Module) -> nn.Module:
        return net

    def accumulate(self) -> None:
        raise NotImplementedError

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.accumulate()
        self.optimizer.step()

    def gradient(self) -> list[float]:
        self.optimizer.zero_grad()
        self.accumulate()
        return torch.cat([p.grad.flatten() for p in self.model.parameters() if p.grad is not None]).tolist()
