"""The robot: a joint breaks in mid-run, unannounced; a model that adapts, one that does not, and an oracle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from kshot.bundles import load_learned
from kshot.control import MPC, Dynamics, Fault, Life, Lived, Robots, controlled, live, why
from kshot.control.controller import Controller, replayed
from kshot.control.film import film, gif, strip
from kshot.control.reasons import reasons_picture, recovery_picture
from kshot.errors import MissingExtraError
from kshot.evaluation import Interval
from kshot.seeds import generator
from kshot.storage import replace_file

BASES = {"adaptive": "half_cheetah", "plain": "half_cheetah_plain", "oracle": "half_cheetah_told"}
"""Bases that travel with kshot. They were made by `python -m benchmarks.control gather` and `train`."""

JOINT, STRENGTH = 1, 0.2
BROKEN, SETTLED, STEPS = 100, 150, 300
"""Steps: when it breaks, when a window of transitions is full of the broken robot, and the end."""


def run_robot(
    console: Console, *, out: Path, seed: int = 0, robots: int = 8, steps: int = STEPS, mpc: MPC | None = None,
    filmed: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Break robots in mid-run, compare, ask why, draw; returns one JSON object with all figures.

    Args:
        out: folder for the pictures. robots: to break, each from a start of its own. filmed: draw a film too.
    """
    models = {name: load_learned(base) for name, base in BASES.items()}
    fault = Fault(strength=tuple(STRENGTH if joint == JOINT else 1.0 for joint in range(6)))
    family = Robots(steps=steps, change=(BROKEN, BROKEN))
    lives = [Life(seed + place, fault, BROKEN) for place in range(robots)]
    broken = f"the {family.body.joints[JOINT]} keeps {STRENGTH:.0%} of its strength"
    console.rule(f"1. {robots} cheetahs run. At step {BROKEN} {broken}, unannounced", align="left")
    console.print(
        "Nothing is trained here, for that takes longer than a demo: the models were trained before, on randomised faults, and "
        "travel with kshot. All plan in the same way."
    )
    lived: dict[str, Lived] = {}
    reasons = None
    for name, model in models.items():
        assert isinstance(model, Dynamics)
        begun = time.process_time()
        kind = "told" if name == "oracle" else name
        acting, tell = controlled(
            model, kind, family, lives, mpc or MPC(horizon=12), generator(seed, "plans")
        )
        lived[name] = live(family, lives, acting, at_step=tell)
        if name == "adaptive":
            assert isinstance(acting, Controller)
            reasons = why(acting.task())
        each = 1000 * (time.process_time() - begun) / (steps * robots)
        console.print(f"{name}: {each:.1f} ms of one core for a step of one robot, physics included.")
    errors = _errors(models, lived["plain"], fault)
    rewards = {name: found.rewards.numpy() for name, found in lived.items()}
    console.rule("2. What the models predict, one step ahead, on the same lives", align="left")
    figures = _table(console, errors, "error", 3)
    console.print(
        "The model adapts: its error comes back towards that of the oracle, which is told the true parameters."
    )
    console.rule("3. What the robots earn a step", align="left")
    figures |= _table(console, rewards, "reward", 2)
    console.print(
        "[yellow]What recovers is the model. The return does not: as trained here, planning by the better model earns no more "
        "than by the plain one.[/yellow] [dim]Robots turn over, and on its back a cheetah earns little under any of them. "
        "docs/control.md has the measured figures.[/dim]"
    )
    assert reasons is not None
    path = replace_file(out / "robot.png", recovery_picture(errors, rewards, BROKEN, broken))
    console.print(f"Wrote both: [bold]{path}[/bold]")
    figures |= _why(console, reasons, out) | {"picture": str(path), "robots": robots, "seed": seed}
    return figures | (_filmed(console, family, lives[0], lived, out) if filmed else {})


def _errors(models: dict[str, Any], lived: Lived, fault: Fault) -> dict[str, np.ndarray]:
    """Errors of predictions on the plain controller's lives, [robots, steps] of each model."""
    found = {}
    for name, model in models.items():
        spans, known = [], [Fault().numbers(6), fault.numbers(6)]
        for truth in known:
            told = torch.stack([truth] * len(lived.seen)) if name == "oracle" else None
            spans.append(replayed(model, lived.seen, lived.actions, known=told).mean(2).numpy())
        found[name] = np.concatenate([spans[0][:, :BROKEN], spans[1][:, BROKEN:]], 1)
    return found


def _table(console: Console, rows: dict[str, np.ndarray], what: str, digits: int) -> dict[str, Any]:
    spans = {
        "before": slice(BROKEN // 2, BROKEN),
        "during": slice(BROKEN, SETTLED),
        "after": slice(SETTLED, None),
    }
    table = Table("model", *spans, box=None)
    figures: dict[str, Any] = {}
    for name, found in rows.items():
        cells = []
        for span, where in spans.items():
            mean = Interval.of(found[:, where].mean(1).tolist())
            cells.append(f"{mean.mean:.{digits}f} ± {mean.half:.{digits}f}")
            figures[f"{'kshot' if name == 'adaptive' else name}_{what}_{span}"] = round(mean.mean, 4)
        table.add_row(name, *cells, style="bold green" if name == "adaptive" else "")
    console.print(table)
    return figures


def _why(console: Console, reasons: Any, out: Path) -> dict[str, Any]:
    console.rule("4. Why? What one robot's last transitions did to the model", align="left")
    before, after = reasons.errors
    console.print(
        f"Error of the predicted change, not adapted: {before:.3f}; adapted to the other transitions: {after:.3f} (in "
        "squared standard deviations)."
    )
    for name, moved in reasons.strongest(3):
        console.print(
            f"Without transition {name} the model would be {moved:.1f} standard deviations elsewhere."
        )
    names = {8: "the forward velocity", 2: "the back thigh's angle", 12: "the back shin's speed"}
    path = replace_file(out / "robot_why.png", reasons_picture(reasons, names))
    console.print(f"Wrote predicted against seen: [bold]{path}[/bold]")
    return {"error_before": round(before, 4), "error_adapted": round(after, 4), "why": str(path)}


def _filmed(
    console: Console, family: Robots, life: Life, lived: dict[str, Lived], out: Path
) -> dict[str, Any]:
    console.rule("5. The film", align="left")
    every = 4
    try:
        rows = {
            name: film(family, life, lived[name].actions[0].numpy(), every=every)
            for name in ("adaptive", "plain")
        }
    except MissingExtraError as cause:
        console.print(f"[yellow]No film: {cause}[/yellow]")
        return {"film": None}
    steps = [BROKEN - 40, BROKEN - 8, BROKEN + 20, BROKEN + 60, BROKEN + 120, family.steps - every]
    places = [min(step // every, len(rows["adaptive"]) - 1) for step in steps]
    chosen = {name: [frames[place] for place in places] for name, frames in rows.items()}
    picture = replace_file(
        out / "robot_strip.png", strip(chosen, [f"step {place * every}" for place in places])
    )
    both = [np.concatenate(pair) for pair in zip(*rows.values(), strict=True)]
    moving = replace_file(out / "robot.gif", gif(both))
    console.print(f"Wrote [bold]{picture}[/bold] and [bold]{moving}[/bold] (above adaptive, below plain).")
    return {"film": str(moving), "strip": str(picture)}
