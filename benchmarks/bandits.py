"""Bernoulli bandits of RL^2 (pulls, arms): 10,5 / 100,5 / 100,10, on 20,000 tasks that all methods share.

python -m benchmarks.bandits              all three, 3 seeds
python -m benchmarks.bandits 100,10       one
python -m benchmarks.bandits --seeds 1    one seed

What is counted is the mean that each pulled arm pays, summed over the pulls: its expectation is that of the rewards, its
noise is less. The learned policy is the permutation-equivariant one, which is given the counts of each arm; it is
no generic sequence model. The width of UCB is the best of several on 4,000 other tasks,
the checkpoint the best of three on 2,000.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch

import kshot
from benchmarks.rows import append
from kshot.control import Bandits, arm_policy, gittins, greedy, oracle, play, thompson, ucb, uniform
from kshot.control.arm_policy import ArmPolicy
from kshot.control.bandits import Index
from kshot.evaluation import Interval
from kshot.seeds import generator

SIZES = {"10,5": (300, 512, 16), "100,5": (150, 256, 32), "100,10": (300, 256, 32)}
"""Pulls and arms; steps of training, bandits a step, and the width of the policy."""
WIDTHS = (0.1, 0.2, 0.3, 0.5, 0.8, math.sqrt(2))


def earned(bandits: Bandits, hidden: torch.Tensor, rule: Index) -> np.ndarray:
    """What a rule earns on each task; the same draws for every rule."""
    return play(bandits, hidden, rule, generator(0, "bandits", "play")).earned.numpy().astype(np.float64)


def train(bandits: Bandits, size: str, seed: int, folder: Path) -> tuple[ArmPolicy, float]:
    """A policy and the CPU seconds it took."""
    torch.manual_seed(seed)
    steps, batch, width = SIZES[size]
    settings = kshot.Settings(
        steps=steps,
        meta_batch=batch,
        rate=0.01,
        warmup=10,
        clip=1.0,
        average=0.95,
        seed=seed,
        validate_every=steps // 3,
        validation_tasks=2000,
    )
    place = folder / f"bandits-{size}-{seed}"
    run = kshot.fit(arm_policy(bandits, width), bandits, validate=bandits, folder=place, settings=settings)
    assert isinstance(run.learner, ArmPolicy)
    return run.learner, run.history[-1]["cpu_seconds"]


def tuned(bandits: Bandits) -> float:
    """The width of UCB that earns most on other tasks."""
    hidden = bandits.hide(4000, generator(0, "bandits", "validation"))
    return max(WIDTHS, key=lambda width: earned(bandits, hidden, ucb(width)).mean())


def measure(size: str, options: argparse.Namespace) -> None:
    """Rows of one size: what each method earns, and how far the learned one is from Gittins and Thompson."""
    pulls, arms = map(int, size.split(","))
    bandits, seeds = Bandits(arms, pulls), list(range(options.seeds))
    hidden = bandits.hide(options.tasks, generator(0, "bandits", "test"))
    trained = [train(bandits, size, seed, options.folder) for seed in seeds]
    shared = {
        "data": f"{pulls} pulls, {arms} arms", "protocol": "Bernoulli, chances uniform", "regime": "in context",
        "n_tasks": options.tasks,
    }  # fmt: skip
    each = [earned(bandits, hidden, policy.index) for policy, _ in trained]
    ours, cpu = np.mean(each, 0), round(sum(seconds for _, seconds in trained), 1)
    width = tuned(bandits)
    rules = {"random": uniform, "greedy mean": greedy, "Thompson": thompson, "UCB, width tuned": ucb(width),
             "Gittins, computed": gittins(bandits), "oracle": oracle(hidden)}  # fmt: skip
    found = {name: earned(bandits, hidden, rule) for name, rule in rules.items()}
    for name, values in {"kshot": ours, **found}.items():
        interval = Interval.of(values.tolist())
        more = (
            {"seeds": seeds, "per_seed": [float(one.mean()) for one in each]}
            if name == "kshot"
            else {"seeds": [0]}
        )
        print(f"{size} {name}: {interval.mean:.3f} +- {interval.half:.3f} {more.get('per_seed', '')}")
        append(
            "bandits", what=name, metric="earned", unit="", value=interval.mean, low=interval.low,
            high=interval.high, cpu_seconds=cpu if name == "kshot" else 0, **more, **shared,
        )  # fmt: skip
    for name in ("Gittins, computed", "Thompson"):
        gap = Interval.of((100 * (ours - found[name]) / found[name].mean()).tolist())
        z = gap.mean / (gap.half / 1.96)
        print(f"{size} kshot over {name}: {gap.mean:.2f} % +- {gap.half:.2f}, paired z {z:.1f}")
        append(
            "bandits", what=f"kshot over {name}", metric="paired difference", unit="%", value=gap.mean,
            low=gap.low, high=gap.high, paired_z=round(z, 2), seeds=seeds, cpu_seconds=cpu, **shared,
        )  # fmt: skip


def main() -> None:
    """Measure one size or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=20000)
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="checkpoints and logs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for size in options.sizes:
        measure(size, options)


if __name__ == "__main__":
    main()
