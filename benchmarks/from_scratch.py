"""stable-baselines3's PPO from scratch on one new task, beside policies that adapt to it.

python -m benchmarks.from_scratch            every world, 5 tasks
python -m benchmarks.from_scratch grid       one: bandits, grid, dark, navigation

PPO has its own settings and 20,000 steps in the one task, then its greedy episodes count; it starts each task anew, since
it carries nothing from one to the next. What kshot's policies earn of the same worlds in 1 episode (navigation: 40) is in
results/grids.jsonl, results/bandits.jsonl and results/navigation.jsonl.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
import torch

from benchmarks.rows import append
from kshot.control import Bandits, PointGoals, World, dark_room, gymnasium_env, small_grid
from kshot.evaluation import Interval
from kshot.seeds import generator

WORLDS: dict[str, tuple[World, str]] = {
    "bandits": (Bandits(5, 100), "100 pulls, 5 arms"),
    "grid": (small_grid(), "5x5 grid, 4 lives of 15 steps"),
    "dark": (dark_room(), "dark room, 10x10, 100 steps"),
    "navigation": (PointGoals(), "2D navigation, goals unseen"),
}


def trained_return(world: World, hidden: torch.Tensor, steps: int, seed: int) -> float:
    """Mean return of 5 greedy episodes of the task after so many steps of PPO in it."""
    from stable_baselines3 import PPO

    env = gymnasium_env(world, hidden)
    agent = PPO("MlpPolicy", env, seed=seed, device="cpu", verbose=0)
    agent.learn(total_timesteps=steps)
    return float(np.mean([episode(env, agent) for _ in range(5)]))


def episode(env: Any, agent: Any) -> float:
    """The return of one episode."""
    seen, _ = env.reset()
    total, over = 0.0, False
    while not over:
        action, _ = agent.predict(seen, deterministic=True)
        seen, reward, ended, cut, _ = env.step(action)
        total, over = total + reward, ended or cut
    return total


def measure(name: str, options: argparse.Namespace) -> None:
    """A row of one world."""
    world, data = WORLDS[name]
    hidden = world.hide(options.tasks, generator(0, "from scratch", name))
    start, found = time.process_time(), []
    for seed, task in enumerate(hidden):
        found.append(trained_return(world, task, options.steps, seed))
    interval = Interval.of(found)
    cpu = round(time.process_time() - start)
    print(f"{name}: {interval.mean:.2f} +- {interval.half:.2f}, {cpu} CPU seconds for {len(found)} tasks")
    append(
        "from_scratch", what="PPO of stable-baselines3, from scratch", data=data, regime="one task",
        protocol=f"after {options.steps} steps in the task", metric="return", unit="", value=interval.mean,
        low=interval.low, high=interval.high, n_tasks=len(found), seeds=list(range(len(found))), cpu_seconds=cpu,
        per_task=found,
    )  # fmt: skip


def main() -> None:
    """Measure one world or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("worlds", nargs="*", default=list(WORLDS))
    parser.add_argument("--tasks", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in options.worlds:
        measure(name, options)


if __name__ == "__main__":
    main()
