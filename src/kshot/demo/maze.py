"""The maze: a planner that saw other kinds of maps learns mazes from 16 solved ones, and looks at fewer cells."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from kshot.control import (
    Family,
    Guidance,
    MapEncoder,
    PathPlanner,
    PlanningTasks,
    Solved,
    choose_weight,
    draw_family,
    path_planner,
    search,
)
from kshot.control.pictures import planner_picture
from kshot.control.planner import far_starts
from kshot.seeds import drawing, generator
from kshot.storage import replace_file
from kshot.training import fit

LEARNED = ("forest", "gaps", "traps", "rooms")
SHOWN, STARTS = 16, 4


def run_maze(
    console: Console, *, out: Path, seed: int = 0, steps: int = 200, maps: int = 150, progress: bool = True
) -> dict[str, Any]:
    """Train on four kinds of maps, adapt to mazes, compare, draw; returns one JSON object with all figures.

    Args:
        out: folder for maze.png. steps: of meta-training. maps: of each kind to train on; half as many test it.
    """
    console.rule("1. Maps that kshot draws: " + ", ".join(LEARNED), align="left")
    rng = generator(seed, "maze", "maps")
    families = tuple(draw_family(kind, maps, rng) for kind in LEARNED)
    mazes = draw_family("maze", SHOWN + maps // 2, rng)
    with drawing(torch.device("cpu"), seed, "weights"):
        start = Guidance(MapEncoder())
    run = fit(start, PlanningTasks(families, 4, 4), steps=steps, meta_batch=4, rate=4e-3, warmup=min(20, steps), clip=1.0,
              average=0.95, seed=seed, progress=progress)  # fmt: skip
    console.print(
        f"Trained in {run.history[-1]['cpu_seconds']:.0f} seconds of one core. No maze was among the maps."
    )
    console.rule(f"2. {SHOWN} solved mazes", align="left")
    begun = time.perf_counter()
    shown = mazes.take(range(SHOWN))
    task = run.learner.adapt(shown.maps, shown.fields)
    took = 1000 * (time.perf_counter() - begun)
    planner = path_planner(task, starts=STARTS, seed=seed)
    tuned = choose_weight(_questions(shown, seed))
    console.print(
        f"Learned in {took:.0f} ms. On these 16, weight {planner.trial.weight:g} for it and {tuned.weight:g} for "
        "weighted A* expand least at 2 % extra cost; it is asked about each as if it had not seen it."
    )
    return _compared(console, planner, tuned.weight, mazes, out, seed) | {"adapt_ms": took, "seed": seed}


def _questions(maps: Family, seed: int) -> list[Solved]:
    rng, found = generator(seed, "starts"), []
    for place in range(len(maps)):
        grid, goal = maps.problem(place)
        field = maps.fields[place].numpy()
        found += [Solved(grid, start, goal, float(field[start])) for start in far_starts(field, STARTS, rng)]
    return found


def _compared(
    console: Console, planner: PathPlanner, weight: float, mazes: Family, out: Path, seed: int
) -> dict[str, Any]:
    test = _questions(mazes.take(range(SHOWN, len(mazes))), seed + 1)
    console.rule(f"3. {len(test)} other questions", align="left")
    guides: dict[int, np.ndarray] = {}
    for asked in test:
        if id(asked.grid) not in guides:
            guides[id(asked.grid)] = planner.field(asked.grid, asked.goal)
    rules = {
        "kshot": [
            search(q.grid, q.start, q.goal, guide=guides[id(q.grid)], weight=planner.trial.weight)
            for q in test
        ],
        "weighted A*": [search(q.grid, q.start, q.goal, weight=weight) for q in test],
        "A*": [search(q.grid, q.start, q.goal) for q in test],
        "Dijkstra": [search(q.grid, q.start, q.goal, weight=0) for q in test],
    }
    table = Table("method", "cells expanded", "extra cost", box=None)
    figures: dict[str, Any] = {}
    for name, routes in rules.items():
        cells = float(np.mean([route.expansions for route in routes]))
        extra = 100 * float(np.mean([r.cost / q.least - 1 for r, q in zip(routes, test, strict=True)]))
        table.add_row(name, f"{cells:.0f}", f"{extra:.1f} %", style="bold green" if name == "kshot" else "")
        key = name.lower().replace(" ", "_").replace("*", "_star")
        figures |= {key: round(cells, 1), f"{key}_extra_percent": round(extra, 2)}
    console.print(table)
    console.print(
        "[dim]Fewer cells is what is claimed, not less time: on a map this small the network costs more than it "
        "saves. It pays where looking at a cell is dear.[/dim]"
    )
    saved = [b.expansions - a.expansions for a, b in zip(rules["kshot"], rules["weighted A*"], strict=True)]
    middle = int(np.argsort(saved)[len(saved) // 2])
    asked = test[middle]
    png = planner_picture(planner, asked.grid, asked.start, asked.goal, weight=weight)
    path = replace_file(out / "maze.png", png)
    console.print(f"Wrote the question whose saving is the median, as a picture: [bold]{path}[/bold]")
    return figures | {"questions": len(test), "picture": str(path)}
