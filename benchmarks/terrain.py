"""Ground whose costs nobody told: learned from a few walks that were shown, then planned on new maps.

python -m benchmarks.terrain              3 seeds, 1 to 8 walks, 200 tasks
python -m benchmarks.terrain --tasks 50

A task has four kinds of ground with hidden costs of 1 to 10; walks are the cheapest ones, on maps of their own. What counts is
what planned paths truly cost on new maps, over the least: by the learned costs; by A* on the map as it is, which must take all
ground to be alike (Dijkstra finds paths of the same cost); and by costs that are read off use, the share of a kind in the maps
over its share in the walks. Dijkstra that is told the true costs is the least, 0 by definition. Base: meta-trained on other
tasks of two walks; not trained: its prior takes all ground to be alike.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import kshot
from benchmarks.rows import append
from kshot.control import TerrainCosts, TerrainEncoder, Terrains, search, terrain_planner
from kshot.control.walks import BESIDE
from kshot.evaluation import Interval
from kshot.seeds import generator

FAMILY = Terrains()
SHOTS, MAPS = (1, 2, 4, 8), 4
SETTINGS: dict[str, Any] = {
    "steps": 60, "meta_batch": 4, "rate": 5e-2, "average": 0.9, "executor": "loop", "validate_every": 30,
    "validation_tasks": 40,
}  # fmt: skip


def train(seed: int, folder: Path) -> tuple[kshot.Learner, float]:
    """A base, and the CPU seconds it took."""
    source = replace(FAMILY, shots=2, queries=4)
    run = kshot.fit(
        TerrainCosts(TerrainEncoder(FAMILY.kinds)), source, validate=source, folder=folder / f"terrain-{seed}",
        settings=kshot.Settings(**SETTINGS, seed=seed),
    )  # fmt: skip
    return run.learner, run.history[-1]["cpu_seconds"]


def extra(costs: np.ndarray, hidden: np.ndarray, asked: list[Any]) -> float:
    """Mean extra true cost of paths that are cheapest by `costs`, in %."""
    over = []
    for terrain, start, goal in asked:
        true = FAMILY.grid(terrain, hidden)
        path = search(FAMILY.grid(terrain, costs), start, goal).path
        assert path is not None
        paid = sum(float(true.cost[cell]) for cell in path[1:])
        over.append(100 * (paid / true.cost_to_go(goal)[start] - 1))
    return float(np.mean(over))


def by_use(maps: torch.Tensor, walks: torch.Tensor) -> np.ndarray:
    """Costs read off use: how often a kind is there over how often it is entered, with one entry of each to begin with."""
    kinds = maps[:, :-1]
    entered = (kinds * (walks > BESIDE).unsqueeze(1)).sum((0, 2, 3)) + 1
    there = kinds.sum((0, 2, 3)) + 1
    costs = (there / there.sum()) / (entered / entered.sum())
    return np.asarray((costs / costs.min()).double().numpy())


def one_task(place: int, bases: dict[str, kshot.Learner]) -> dict[tuple[str, int], float]:
    """Extra cost by each method and number of walks, on the same new maps."""
    rng = generator(place, "terrain", "test")
    hidden = FAMILY.hidden(rng)
    asked = [FAMILY.problem(hidden, rng) for _ in range(MAPS)]
    shown = [FAMILY.shown(hidden, rng) for _ in range(max(SHOTS))]
    alike = extra(np.ones(FAMILY.kinds), hidden, asked)
    found: dict[tuple[str, int], float] = {}
    for shots in SHOTS:
        maps, walks = (torch.stack(column) for column in zip(*shown[:shots], strict=True))
        for name, base in bases.items():
            found[name, shots] = extra(terrain_planner(base.adapt(maps, walks)).costs, hidden, asked)
        found["costs read off use", shots] = extra(by_use(maps, walks), hidden, asked)
        found["A*, all ground alike", shots] = alike
    return found


def timed(base: kshot.Learner) -> list[float]:
    """CPU milliseconds of adapting to 4 walks."""
    rng, found = generator(0, "terrain", "speed"), []
    hidden = FAMILY.hidden(rng)
    maps, walks = (torch.stack(c) for c in zip(*(FAMILY.shown(hidden, rng) for _ in range(4)), strict=True))
    for _ in range(20):
        start = time.process_time()
        base.adapt(maps, walks)
        found.append(1000 * (time.process_time() - start))
    return found[2:]


def main() -> None:
    """Train, measure, write rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="checkpoints and logs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    trained = [train(seed, options.folder) for seed in range(options.seeds)]
    bases = {f"kshot {seed}": base for seed, (base, _) in enumerate(trained)}
    bases["kshot, not meta-trained"] = TerrainCosts(TerrainEncoder(FAMILY.kinds))
    found = [one_task(place, bases) for place in range(options.tasks)]
    shared = {
        "data": f"terrain of {FAMILY.kinds} kinds, {FAMILY.size} x {FAMILY.size}", "regime": "inductive", "unit": "%",
        "n_tasks": options.tasks, "metric": "% extra cost", "cpu_seconds": round(sum(cpu for _, cpu in trained)),
    }  # fmt: skip
    for shots in SHOTS:
        rows = {what: np.array([one[what, shots] for one in found]) for what, k in found[0] if k == shots}
        ours = np.mean([rows.pop(f"kshot {seed}") for seed in range(options.seeds)], 0)
        rows = {"kshot": ours} | rows
        for what, values in rows.items():
            over = Interval.of(values.tolist())
            seeds = list(range(options.seeds)) if what == "kshot" else []
            print(f"{shots} walks, {what}: {over.mean:.2f} +- {over.half:.2f} %", flush=True)
            append("terrain", what=what, protocol=f"{shots} walks", value=over.mean, low=over.low, high=over.high, seeds=seeds,
                   **shared)  # fmt: skip
    each = timed(trained[0][0])
    append("terrain", what="adapting to 4 walks", data=shared["data"], protocol="CPU time on one thread, median",
           regime="inductive", metric="ms", unit="ms", value=float(np.median(each)), low=float(np.percentile(each, 2.5)),
           high=float(np.percentile(each, 97.5)), seeds=[0], n_tasks=len(each))  # fmt: skip
    print(f"adapting to 4 walks: {np.median(each):.1f} ms")


if __name__ == "__main__":
    main()
