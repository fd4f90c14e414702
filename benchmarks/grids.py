"""Policies with a memory in rooms whose goal cannot be seen, and in random decision processes; and what is possible.

python -m benchmarks.grids                    all worlds, 3 seeds
python -m benchmarks.grids grid dark          some of: grid, dark, grid-reward, dark-reward, mdp10, mdp25
python -m benchmarks.grids dark-reward --seeds 1

`grid` is the 5 x 5 grid of VariBAD, `dark` the dark room of DPT, `mdp10` and `mdp25` the decision processes of RL^2 with
10 and 25 episodes, acted in by a policy that plans and learned a bonus for what is little known (`process_policy`); its like without
a bonus is a row of its own. In `grid` and `dark` the policy is taught: it imitates walks of the optimum, which was computed, and is
judged by what it then does on its own. In the others it learns from reward alone. A task is new to every policy, and what counts is the return over all of its lives, learning
included. Beside it on the same tasks: acting at random, the oracle that is told the task, for rooms the optimum of one
who is not, computed exactly, and for decision processes posterior sampling (PSRL). A room is played once with each goal
that it may have, so that only training is left to chance, and intervals are over seeds; decision processes are 2,000,
and intervals are over them. The checkpoint is the best on 1,000 tasks drawn anew; the last one is told too.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from scipy.stats import t as student

import kshot
from benchmarks.rows import append
from kshot.control import (
    GoalRooms,
    ProcessPolicy,
    TabularMDPs,
    World,
    WorldTask,
    best_seeking,
    dark_room,
    process_policy,
    psrl,
    recurrent_policy,
    small_grid,
)
from kshot.control.recurrent import RecurrentPolicy
from kshot.control.worlds import random_actions
from kshot.evaluation import Interval
from kshot.seeds import generator

WORLDS: dict[str, GoalRooms | TabularMDPs] = {
    "grid": small_grid(),
    "dark": dark_room(),
    "grid-reward": small_grid(),
    "dark-reward": dark_room(),
    "mdp10": TabularMDPs(10, 5, horizon=100, lives=10),
    "mdp25": TabularMDPs(10, 5, horizon=250, lives=25),
}
NAMES = {
    "grid": "5x5 grid, 4 lives of 15 steps", "dark": "dark room, 10x10, 100 steps", "mdp10": "MDPs, 10 episodes",
    "mdp25": "MDPs, 25 episodes",
}  # fmt: skip
TAUGHT: dict[str, Any] = {"policy": {"taught": True}, "steps": 150, "meta_batch": 32, "rate": 5e-3}
SIZES: dict[str, dict[str, Any]] = {
    "grid": TAUGHT | {"steps": 300},
    "dark": TAUGHT,
    "grid-reward": {"policy": {"entropy": 0.02}, "steps": 700, "meta_batch": 64, "rate": 3e-3},
    "dark-reward": {"policy": {"novelty": 0.1}, "steps": 400, "meta_batch": 64, "rate": 5e-3},
    "mdp10": {"policy": {}, "steps": 120, "meta_batch": 64, "rate": 1e-2},
    "mdp25": {"policy": {}, "steps": 80, "meta_batch": 64, "rate": 1e-2},
}
"""Chosen on other tasks, by the returns of one seed."""


def train(name: str, seed: int, folder: Path) -> kshot.training.Run:
    """A policy for one world."""
    world, size = WORLDS[name], dict(SIZES[name])
    torch.manual_seed(seed)
    made = process_policy if isinstance(world, TabularMDPs) else recurrent_policy
    learner = made(world, **size.pop("policy"))  # type: ignore[operator]
    settings = kshot.Settings(
        **size, warmup=10, clip=1.0, average=0.95, seed=seed, validate_every=size["steps"] // 5, validation_tasks=1000
    )  # fmt: skip
    return kshot.fit(
        learner, world, validate=world, folder=folder / f"grids-{name}-{seed}", settings=settings
    )


def played(policy: RecurrentPolicy | ProcessPolicy, world: World, hidden: torch.Tensor) -> np.ndarray:
    """The return on each task; chance in the worlds is the same for every policy."""
    rng = generator(0, "grids", "play")
    if isinstance(policy, ProcessPolicy):
        tasks = [WorldTask(world.answers, name=world.name, world=world, hidden=row) for row in hidden]
        return np.array(policy.play_many(tasks, rng))
    return policy.live(world, hidden, rng, greedy=policy.greedy).rewards.sum(0).numpy().astype(np.float64)


def at_random(world: World, hidden: torch.Tensor) -> np.ndarray:
    """The mean return of actions drawn evenly, of 50 episodes of each task."""
    rng, many = generator(0, "grids", "random"), hidden.repeat_interleave(50, 0)
    state, total = world.reset(many, rng), torch.zeros(len(many))
    for _ in range(world.horizon):
        state, reward, _ = world.step(many, state, random_actions(world, len(many), rng), rng)
        total += reward
    return total.view(-1, 50).mean(1).numpy().astype(np.float64)


def beside(world: GoalRooms | TabularMDPs, hidden: torch.Tensor) -> dict[str, np.ndarray]:
    """What others earn on the same tasks."""
    found = {"random": at_random(world, hidden)}
    if isinstance(world, TabularMDPs):
        found["PSRL"] = psrl(world, hidden, generator(0, "grids", "psrl")).numpy().astype(np.float64)
        found["planning in the mean, no bonus"] = played(process_policy(world), world, hidden)
    else:
        found["optimum, exact"] = np.full(len(hidden), best_seeking(world).value)
    return found | {"oracle, told the task": world.optimum(hidden).numpy().astype(np.float64)}


def over_seeds(values: list[float]) -> tuple[float, float | None, float | None]:
    """Mean and 95 % interval of few values, by Student's distribution; of one value there is no interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1)) / len(values) ** 0.5
    return mean, mean - half, mean + half


def measure(name: str, options: argparse.Namespace) -> None:
    """Rows of one world: each policy's return, and how far the learned one is from the mark."""
    world, seeds, rng = WORLDS[name], list(range(options.seeds)), generator(0, "grids", "test")
    room = isinstance(world, GoalRooms)
    hidden = world.goals() if isinstance(world, GoalRooms) else world.hide(options.tasks, rng)
    runs = [train(name, seed, options.folder) for seed in seeds]
    each = np.stack(
        [played(cast(RecurrentPolicy | ProcessPolicy, run.learner), world, hidden) for run in runs]
    )
    cpu = round(sum(run.history[-1]["cpu_seconds"] for run in runs))
    last = [run.history[-1]["validation_return"] for run in runs]
    best = [max(entry["validation_return"] for entry in run.history) for run in runs]
    shared = {
        "data": NAMES[name.partition("-")[0]],
        "regime": "in context",
        "n_tasks": len(hidden),
        "unit": "",
    }
    more = {"seeds": seeds, "cpu_seconds": cpu, "per_seed": each.mean(1).tolist(), "validated_last": last,
            "validated_best": best, "protocol": "return of an episode, learning included"}  # fmt: skip

    def interval(values: np.ndarray) -> tuple[float, float | None, float | None]:
        """Over seeds in rooms, where every goal is played; else over tasks."""
        if room:
            return over_seeds(values.mean(1).tolist())
        over = Interval.of(values.mean(0).tolist())
        return over.mean, over.low, over.high

    def row(what: str, metric: str, values: tuple[float, float | None, float | None], **others: Any) -> None:
        value, low, high = values
        print(f"{name} {what}: {value:.2f} ({low} to {high})")
        append("grids", what=what, metric=metric, value=value, low=low, high=high, **(shared | others))

    kind = "kshot, taught" if SIZES[name]["policy"].get("taught") else "kshot, by reward alone"
    kind = kind if room else "kshot, planning with a learned bonus"
    row(kind, "return", interval(each), **more)
    print(f"{name}: validated last {last}, best {best}, {cpu} CPU seconds")
    others = beside(world, hidden)
    for what, values in others.items():
        if name.endswith("-reward"):
            continue  # told beside the taught one
        mean = float(values.mean())
        exact = room and what != "random"
        alone = (mean, mean, mean) if exact else (mean, None, None)
        told = alone if room else interval(values[None])
        row(what, "return", told, seeds=[] if exact else [0], cpu_seconds=0, protocol=more["protocol"])
    mark = "optimum, exact" if room else "PSRL"
    share = 100 * (each / others[mark].mean() if room else (each - others[mark]) / others[mark].mean())
    what = f"{kind}: share of the optimum" if room else "kshot over PSRL"
    row(what, "share" if room else "paired difference", interval(share), **more | {"unit": "%"})


def main() -> None:
    """Measure one world or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("worlds", nargs="*", default=list(WORLDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=2000, help="decision processes")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="checkpoints and logs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.worlds:
        measure(name, options)


if __name__ == "__main__":
    main()
