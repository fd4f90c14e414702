"""2D navigation after the authors of MAML: adapt a policy to a goal that it cannot see, by policy gradients.

python -m benchmarks.navigation               trained for one step and for two, 3 seeds
python -m benchmarks.navigation 1 --seeds 1   trained for one step

Finn et al. (2017): the reward is minus the distance, a step is taken on 20 episodes of 100 steps, actions are drawn. 200
goals, the same for all. Beside it: the same policy gradient from a start that was not trained, actions drawn evenly,
and the oracle that is told the goal. `validated` is the return on 40 other goals ten times on the way, by which the
checkpoint is chosen.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

import kshot
from benchmarks.rows import append
from kshot.control import PointGoals, WorldTask, gradient_policy
from kshot.control.gradient_policy import GradientPolicy
from kshot.control.worlds import random_actions
from kshot.evaluation import Interval
from kshot.seeds import generator

WORLD, SHOWN = PointGoals(), 3
SIZES: dict[int, dict[str, Any]] = {1: {"steps": 200}, 2: {"steps": 200}}
"""Inner steps that are trained, and outer steps."""


def train(rounds: int, seed: int, folder: Path) -> kshot.training.Run:
    """A policy trained for so many inner steps."""
    torch.manual_seed(seed)
    steps = SIZES[rounds]["steps"]
    settings = kshot.Settings(
        steps=steps, meta_batch=20, rate=6e-3, warmup=10, clip=1.0, average=0.95, seed=seed,
        validate_every=steps // 10, validation_tasks=40,
    )  # fmt: skip
    return kshot.fit(
        gradient_policy(WORLD, rounds=rounds), WORLD, validate=WORLD, folder=folder / f"navigation-{rounds}-{seed}",
        settings=settings,
    )  # fmt: skip


def returns(policy: GradientPolicy, tasks: list[WorldTask]) -> np.ndarray:
    """Mean return on each goal after 0, 1, ... SHOWN steps, [goals, 1 + SHOWN]."""
    parts = [
        policy.returns(tasks[at : at + 20], generator(0, "navigation", str(at)), SHOWN)
        for at in range(0, len(tasks), 20)
    ]
    return torch.cat(parts).numpy().astype(np.float64)


def at_random(hidden: torch.Tensor) -> np.ndarray:
    """Mean return on each goal of 20 episodes of actions drawn evenly."""
    rng, many = generator(0, "navigation", "random"), hidden.repeat_interleave(20, 0)
    state, total, going = WORLD.reset(many, rng), torch.zeros(len(many)), torch.ones(len(many))
    for _ in range(WORLD.horizon):
        state, reward, done = WORLD.step(many, state, random_actions(WORLD, len(many), rng), rng)
        total, going = total + reward * going, going * (~done).float()
    return total.view(-1, 20).mean(1).numpy().astype(np.float64)


def tell(what: str, steps: int, values: np.ndarray, **more: Any) -> None:
    """A row: the return over goals, after so many steps."""
    found = Interval.of(values.tolist())
    print(f"{what}, after {steps} steps: {found.mean:.2f} +- {found.half:.2f}")
    append(
        "navigation", what=what, data="2D navigation, goals unseen", protocol=f"after {steps} steps of 20 episodes",
        regime="interactive", metric="return", unit="", value=found.mean, low=found.low, high=found.high,
        n_tasks=len(values), **more,
    )  # fmt: skip


def measure(rounds: int, seeds: list[int], tasks: list[WorldTask], folder: Path) -> None:
    """Rows of policies trained for `rounds` inner steps."""
    runs = [train(rounds, seed, folder) for seed in seeds]
    each = np.stack([returns(cast(GradientPolicy, run.learner), tasks) for run in runs])
    cpu = round(sum(run.history[-1]["cpu_seconds"] for run in runs))
    validated = [[round(entry["validation_return"], 2) for entry in run.history] for run in runs]
    for run in validated:
        print(f"validated: {run}")
    for steps in range(SHOWN + 1):
        tell(
            f"kshot, trained for {rounds}", steps, each[:, :, steps].mean(0), seeds=seeds, cpu_seconds=cpu,
            per_seed=each[:, :, steps].mean(1).tolist(), validated=validated,
        )  # fmt: skip


def main() -> None:
    """Measure one or both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rounds", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--goals", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="checkpoints and logs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks = WORLD.sample_batch(options.goals, generator(0, "navigation", "test"))
    hidden = torch.stack([task.hidden for task in tasks])
    for rounds in options.rounds:
        measure(rounds, list(range(options.seeds)), tasks, options.folder)
    torch.manual_seed(0)
    start = returns(gradient_policy(WORLD), tasks)
    for steps in range(SHOWN + 1):
        tell("not trained", steps, start[:, steps], seeds=[0], cpu_seconds=0)
    tell("actions drawn evenly", 0, at_random(hidden), seeds=[0], cpu_seconds=0)
    tell(
        "oracle, told the goal", 0, WORLD.optimum(hidden).numpy().astype(np.float64), seeds=[], cpu_seconds=0
    )


if __name__ == "__main__":
    main()
