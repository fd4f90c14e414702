"""What test_ranks.py starts with torchrun: trains in a folder, and says what every process ended with."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

import kshot
from kshot.data import Episodes, Pool, Streamed
from kshot.errors import SettingError
from kshot.learners.records import fingerprint
from kshot.tasks import NWayKShot, Task
from kshot.training import Stopped

SETTINGS: dict[str, Any] = {
    "steps": 12, "meta_batch": 4, "validate_every": 4, "validation_tasks": 6, "rate": 0.01, "executor": "loop",
    "progress": False, "clip": 1.0, "average": 0.5,
}  # fmt: skip


class Counted:
    """Tasks of a pool, and how many were made here."""

    def __init__(self) -> None:
        rows = torch.rand(80, 6, generator=torch.Generator().manual_seed(5))
        self.inside, self.made = Episodes(Pool(rows, [i // 8 for i in range(80)]), NWayKShot(3, 1, 3)), 0

    def sample(self, generator: torch.Generator) -> Task:
        self.made += 1
        return self.inside.sample(generator)

    def identity(self) -> str:
        return "counted"


def learner(seed: int = 0) -> kshot.Learner:
    torch.manual_seed(seed)
    return kshot.learners.maml(kshot.encoders.mlp(6, (8,)), outputs=3, steps=2)


def train(folder: Path | None, start: kshot.Learner | None = None, **changes: Any) -> tuple[kshot.Run, int]:
    """The run, and how many training tasks this process made."""
    tasks = Counted()
    run = kshot.fit(
        start or learner(), Streamed(tasks, workers=0), validate=Counted(), folder=folder, **{**SETTINGS, **changes}
    )  # fmt: skip
    return run, tasks.made


def numbers(run: kshot.Run) -> list[float]:
    """All weights."""
    return torch.cat([p.detach().flatten() for p in run.learner.parameters()]).tolist()


def main(folder: Path) -> None:
    rank = int(os.environ["RANK"])

    def stop(entry: dict[str, float]) -> None:
        if entry["step"] == 4 and rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    whole, made = train(folder / "whole", learner(rank))  # the starts differ: the first process's counts
    try:
        train(folder / "stopped", on_validation=stop)
        stopped = ""
    except Stopped as said:
        stopped = str(said)
    resumed, _ = train(folder / "stopped")
    refused = []
    for changes in ({"meta_batch": 3}, {"seed": rank}):
        try:
            train(None, **changes)
        except SettingError as said:
            refused.append(str(said))
    found = {
        "numbers": numbers(whole), "resumed": fingerprint(resumed.learner) == fingerprint(whole.learner), "made": made,
        "stopped": stopped, "refused": refused, "history": whole.history,
    }  # fmt: skip
    (folder / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
