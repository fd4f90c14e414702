"""A training run that can be made to fail at an exact place; run it as a program to fail for real.

    python long_run.py FOLDER KIND [SIGNAL DRAW TIMES]

sends SIGNAL to itself TIMES times while drawing the DRAWth batch of tasks, that is in the middle of a step.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import kshot
from kshot.learners.records import fingerprint
from kshot.tasks import Task
from kshot.training.identity import identity


class Dropping(kshot.encoders.Identity):
    """Rows, some numbers of which are dropped at random while training."""

    kind = "dropping"

    def __init__(self, inputs: int) -> None:
        super().__init__(inputs)
        self.layer = nn.Linear(inputs, inputs)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.layer(x), 0.5, self.training)


@dataclass
class Failing:
    """A source that sends signals while drawing; it is the same source as the one inside."""

    inside: kshot.data.Episodes
    name: str = ""
    at: int = -1
    times: int = 1
    draws: int = field(default=0, compare=False)

    def identity(self) -> Any:
        return identity(self.inside)

    def sample(self, generator: torch.Generator) -> Task:
        return self.inside.sample(generator)

    def sample_batch(self, count: int, generator: torch.Generator) -> list[Task]:
        self.draws += 1
        if self.draws == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), getattr(signal, self.name))
        return self.inside.sample_batch(count, generator)


def episodes(shape: tuple[int, ...], classes: range, seed: int = 0) -> kshot.data.Episodes:
    """Noise around a centre per class: something that can be learned."""
    rng = torch.Generator().manual_seed(seed)
    centres = torch.rand(20, *shape, generator=rng)
    inputs = [(centres[c] + 0.3 * torch.randn(6, *shape, generator=rng)).clamp(0, 1) for c in classes]
    pool = kshot.data.Pool(torch.cat(inputs), [c for c in classes for _ in range(6)], "noise")
    return kshot.data.Episodes(pool, kshot.tasks.NWayKShot(3, 1, 2))


def learner(kind: str) -> tuple[kshot.Learner, tuple[int, ...], dict[str, Any]]:
    """A fresh learner, the shape of its inputs, and how it is trained."""
    torch.manual_seed(3)
    if kind == "conv4":
        start: kshot.Learner = kshot.learners.ProtoNet(kshot.encoders.conv4(8, size=16))
        return start, (1, 16, 16), {"average": 0.9, "clip": 1.0, "executor": "loop"}
    if kind == "mlp":
        start = kshot.learners.meta_sgd(kshot.encoders.mlp(8, (16,)), outputs=3)
        return start, (8,), {"meta_batch": 4, "executor": "vmap", "weight_decay": 0.01}
    return kshot.learners.ProtoNet(Dropping(8)), (8,), {"meta_batch": 2}


def train(folder: Path | None, kind: str, name: str = "", at: int = -1, times: int = 1) -> kshot.Run:
    """14 steps with validations after 5, 10 and 14."""
    start, shape, changes = learner(kind)
    source = Failing(episodes(shape, range(12)), name, at, times)
    return kshot.fit(
        start, source, validate=episodes(shape, range(12, 20)), folder=folder, steps=14, validate_every=5,
        validation_tasks=4, rate=0.01, progress=False, **changes,
    )  # fmt: skip


def numbers(run: kshot.Run) -> list[Any]:
    """All that must be equal, bit for bit: weights, history without clocks."""
    clocks = ("seconds", "cpu_seconds")
    return [fingerprint(run.learner), [{k: v for k, v in e.items() if k not in clocks} for e in run.history]]


def logged(folder: Path) -> list[int]:
    """The steps in log.jsonl, every line of which must be whole."""
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, kind, *failure = sys.argv[1:]
    train(Path(folder), kind, failure[0], int(failure[1]), int(failure[2])) if failure else train(
        Path(folder), kind
    )
