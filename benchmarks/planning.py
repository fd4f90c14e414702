"""Path planning: trained on four families of maps, adapted to the fifth from 16 solved maps; A* guided by it.

python -m benchmarks.planning                     every family in turn, 3 seeds
python -m benchmarks.planning forest_32 --seeds 1
python -m benchmarks.planning --speed             milliseconds of the network and of the searches, one thread

Beside it, on the same 100 test maps and the same starts: A*, weighted A* with its weight tuned on the same 16 maps,
Dijkstra, and the base with the mean head that it starts from. Both weights are the ones of fewest expansions at a
mean extra cost of at most 2 % on the 16 maps; ours sees each of them through the task adapted without it. The two may
then pay unequally on the test maps, so there is a third: of all weights of A* that pay no more than kshot *there*, the
one of fewest expansions, which no user could know beforehand.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import kshot
from benchmarks.rows import append, data_folder
from kshot.control import (
    Family,
    Guidance,
    MapEncoder,
    PathPlanner,
    PlanningTasks,
    Solved,
    choose_weight,
    path_planner,
    planning_dataset,
    search,
)
from kshot.control.planner import WEIGHTS, far_starts
from kshot.seeds import generator

FAMILIES = ("forest_32", "gaps_and_forest_32", "mazes_32", "shifting_gaps_32", "single_bugtrap_32")
SOLVED, STARTS = 16, 6
ENVIED = "weighted A*, best weight at kshot's extra cost"
SETTINGS: dict[str, Any] = {
    "steps": 300, "meta_batch": 4, "rate": 4e-3, "warmup": 20, "clip": 1.0, "average": 0.99,
    "validate_every": 150, "validation_tasks": 8,
}  # fmt: skip


def family(name: str, split: str) -> Family:
    """One family of the planning datasets."""
    return planning_dataset(data_folder() / "grid_planning" / f"{name}.npz", split)


def train(held: str, seed: int, folder: Path) -> tuple[kshot.Learner, float]:
    """A base trained on the four other families, and the CPU seconds it took."""
    others = [name for name in FAMILIES if name != held]
    torch.manual_seed(seed)
    run = kshot.fit(
        Guidance(MapEncoder()),
        PlanningTasks(tuple(family(name, "train") for name in others), shots=4, queries=4),
        validate=PlanningTasks(tuple(family(name, "valid") for name in others), 16, 16, turned=False),
        folder=folder / f"planning-{held}-{seed}",
        settings=kshot.Settings(**SETTINGS, seed=seed),
    )
    return run.learner, run.history[-1]["cpu_seconds"]


class Counted(NamedTuple):
    """Expansions and extra cost (share of the least) of each test map, means over its starts."""

    expansions: np.ndarray
    extra: np.ndarray


def questions(maps: Family, count: int, seed: int) -> list[list[Solved]]:
    """`count` starts for each map, all far from the goal."""
    rng, found = generator(seed, "starts"), []
    for place in range(len(maps)):
        grid, goal = maps.problem(place)
        field = maps.fields[place].numpy()
        found.append([Solved(grid, s, goal, float(field[s])) for s in far_starts(field, count, rng)])
    return found


def count(asked: list[list[Solved]], weight: float, guides: list[np.ndarray | None]) -> Counted:
    """Search each question."""
    rows = []
    for own, guide in zip(asked, guides, strict=True):
        routes = [search(q.grid, q.start, q.goal, guide=guide, weight=weight) for q in own]
        over = [r.cost / q.least - 1 for r, q in zip(routes, own, strict=True)]
        rows.append((np.mean([r.expansions for r in routes]), np.mean(over)))
    return Counted(*np.array(rows).T)


def one_seed(held: str, seed: int, folder: Path) -> dict[str, Any]:
    """Everything for one family and one seed."""
    base, cpu = train(held, seed, folder)
    known, test = family(held, "train"), family(held, "test")
    chosen = torch.randperm(len(known), generator=generator(seed, "solved"))[:SOLVED].tolist()
    own = known.take(chosen)
    planner = path_planner(base.adapt(own.maps, own.fields), starts=STARTS, seed=seed)
    tuned = choose_weight([q for row in questions(own, STARTS, seed) for q in row])
    asked = questions(test, STARTS, 1000)  # the same for every seed, so that maps pair
    nothing: list[np.ndarray | None] = [None] * len(test)
    unadapted = base.respond(
        {"weights": base.prior.detach()}, planner.task.embed(test.maps), planner.task.space
    )
    before = [f.detach().numpy().astype(np.float64) for f in unadapted]
    ours = count(asked, planner.trial.weight, guides(planner, test))
    return {
        "cpu": cpu,
        "kshot": ours,
        ENVIED: at_cost(asked, float(ours.extra.mean())),
        "not adapted": count(asked, planner.trial.weight, list(before)),
        "weighted A*": count(asked, tuned.weight, nothing),
        "A*": count(asked, 1.0, nothing),
        "Dijkstra": count(asked, 0.0, nothing),
        "weights": (planner.trial.weight, tuned.weight),
    }


def at_cost(asked: list[list[Solved]], extra: float) -> Counted:
    """Weighted A* with the weight of fewest expansions among those whose mean extra cost is at most `extra`."""
    nothing: list[np.ndarray | None] = [None] * len(asked)
    found = [count(asked, weight, nothing) for weight in WEIGHTS if weight >= 1]
    return min((c for c in found if c.extra.mean() <= extra + 1e-12), key=lambda c: c.expansions.mean())


def guides(planner: PathPlanner, maps: Family) -> list[np.ndarray | None]:
    """The fields that guide the search on each map."""
    return [f.astype(np.float64) for f in planner.task.predict(maps.maps).fields]


def bootstrap(values: np.ndarray, statistic: Any) -> tuple[float, float, float]:
    """A statistic over maps, and its 95 % interval by resampling maps, which keeps pairs together."""
    rng = np.random.default_rng(0)
    drawn = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(2000)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(statistic(values)), float(low), float(high)


def measure(held: str, options: argparse.Namespace) -> None:
    """Rows of one family: expansions and extra cost of each method, and the paired reduction."""
    seeds = list(range(options.seeds))
    found = [one_seed(held, seed, options.folder) for seed in seeds]
    shared = {
        "data": held, "regime": "inductive", "n_tasks": len(found[0]["A*"].extra), "seeds": seeds,
        "protocol": f"trained on the 4 other families, {SOLVED} solved maps, {STARTS} starts a map",
        "cpu_seconds": round(sum(one["cpu"] for one in found)), "weights": [one["weights"] for one in found],
    }  # fmt: skip
    maps: dict[str, Counted] = {}
    for name in ("kshot", "not adapted", "weighted A*", ENVIED, "A*", "Dijkstra"):
        # seeds share the test maps, so they are averaged per map before the interval over maps
        maps[name] = Counted(*(np.mean([one[name][part] for one in found], 0) for part in (0, 1)))
        for part, unit, scale in ((0, "expansions", 1), (1, "% extra cost", 100)):
            value, low, high = bootstrap(scale * maps[name][part], np.mean)
            append("planning", what=name, metric=unit, unit=unit, value=value, low=low, high=high, **shared)
    for other in ("weighted A*", ENVIED, "A*", "not adapted"):
        pair = np.stack([maps["kshot"].expansions, maps[other].expansions], 1)
        value, low, high = bootstrap(pair, lambda rows: 100 * (1 - rows[:, 0].mean() / rows[:, 1].mean()))
        name = f"fewer expansions than {other}"
        append("planning", what=name, metric="reduction", unit="%", value=value, low=low, high=high, **shared)
        print(f"{held}: {name}: {value:.1f} % ({low:.1f} to {high:.1f})")
    print({name: (c.expansions.mean().round(1), (100 * c.extra.mean()).round(2)) for name, c in maps.items()})


def speed(options: argparse.Namespace) -> None:
    """Milliseconds of a search, and of the network before it, on mazes; medians over maps, CPU time."""
    base, _ = train("mazes_32", 0, options.folder)
    own, test = family("mazes_32", "train").take(range(SOLVED)), family("mazes_32", "test")
    planner = path_planner(base.adapt(own.maps, own.fields))
    asked = [row[0] for row in questions(test, 1, 1000)]
    fields = guides(planner, test)
    jobs = {
        "network, one map": lambda place: planner.field(asked[place].grid, asked[place].goal),
        "guided A*, without the network": lambda place: _search(
            asked[place], fields[place], planner.trial.weight
        ),
        "A*": lambda place: _search(asked[place], None, 1.0),
        "adapting to 16 maps": lambda place: base.adapt(own.maps, own.fields),
    }
    for name, job in jobs.items():
        job(0)
        times = []
        for place in range(len(asked)):
            start = time.process_time()
            job(place)
            times.append(1000 * (time.process_time() - start))
        value, low, high = bootstrap(np.array(times), np.median)
        print(f"{name}: {value:.2f} ms")
        append(
            "planning", what=name, data="mazes_32", protocol="one map of 32 x 32, CPU time on one thread", regime="inductive", metric="ms",
            unit="ms", value=value, low=low, high=high, n_tasks=len(times), seeds=[0],
        )  # fmt: skip


def _search(asked: Solved, guide: np.ndarray | None, weight: float) -> Any:
    return search(asked.grid, asked.start, asked.goal, guide=guide, weight=weight)


def main() -> None:
    """Measure one family or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("families", nargs="*", default=list(FAMILIES), help="held out, each in turn")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="checkpoints and logs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.speed:
        speed(options)
        return
    for name in options.families:
        measure(name, options)


if __name__ == "__main__":
    main()
