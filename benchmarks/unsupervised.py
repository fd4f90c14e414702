"""Meta-training without a single label, judged on Omniglot's usual few-shot tasks.

python -m benchmarks.unsupervised                  one training (about 12 CPU minutes), four rows
python -m benchmarks.unsupervised --seed 1
python -m benchmarks.unsupervised --steps 150      a CPU minute

Every training image (of the 1,028 training characters, turned by quarter turns, their names thrown away) is a
class of its own, and its examples are changed copies: UMTRA, Khodadadeh et al. (2019), 83.80 / 95.43 / 74.25 / 92.12
for 5/20-way 1/5-shot; CACTUs, Hsu et al. (2019), 68.84 / 87.78 with MAML. The last weights are taken, so labels
of validation characters play no part in a run; they served to choose the changes and the number of steps.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

import kshot
from benchmarks.omniglot import DATA, FOUR, METRIC
from benchmarks.rows import append, data_folder
from kshot.data import Unlabelled
from kshot.learners import ProtoNet

STEPS = 1800


def train(images: torch.Tensor, seed: int, steps: int, folder: Path | None) -> kshot.Run:
    """90 images are 90 classes; three changed copies are told apart by the fourth, in turn."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        **METRIC,
        "steps": steps,
        "validate_every": steps,
        "validation_tasks": 20,
        "seed": seed,
    }
    return kshot.fit(
        ProtoNet(kshot.encoders.conv4(64), rounds=True),
        Unlabelled(images),
        folder=folder,
        settings=kshot.Settings(**settings),
    )


def main() -> None:
    """Train, then judge on tasks of the test characters, or with --validation on those of the validation ones."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=None, help="checkpoint; default: none")
    parser.add_argument("--validation", action="store_true", help="judge on validation characters; no rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    splits = kshot.vision.omniglot(data_folder() / "omniglot")
    start = time.process_time()
    run = train(splits.train.pool.inputs, options.seed, options.steps, options.folder)
    cpu = time.process_time() - start
    for ways, shots in FOUR:
        source = splits.validation if options.validation else splits.test
        report = kshot.evaluate(run.learner, source.using(ways=ways, shots=shots), tasks=options.tasks)
        print(f"unsupervised protonet, {cpu:.0f} CPU seconds: {report}", flush=True)
        if not options.validation:
            note(options.seed, ways, shots, report, cpu)


def note(seed: int, ways: int, shots: int, report: kshot.Report, cpu: float) -> None:
    """One row."""
    append(
        "unsupervised",
        what="protonet, no labels",
        data=DATA["vinyals"],
        encoder="conv4-64",
        protocol=f"{ways}w{shots}s",
        regime=report.regime,
        value=100 * report.mean,
        low=100 * report.interval.low,
        high=100 * report.interval.high,
        n_tasks=len(report.values),
        seeds=[seed],
        cpu_seconds=round(cpu),
    )


if __name__ == "__main__":
    main()
