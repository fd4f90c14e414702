"""The robot: joints break in mid-run, unannounced; a model that adapts, one that does not, and an oracle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from kshot.bundles import load_learned
from kshot.control import (
    MPC,
    Dynamics,
    Fault,
    Handover,
    Life,
    Lived,
    Practice,
    Practised,
    Robots,
    controlled,
    live,
    why,
)
from kshot.control.controller import Controller, replayed
from kshot.control.film import film, gif, strip
from kshot.control.reasons import reasons_picture, recovery_picture
from kshot.errors import MissingExtraError
from kshot.evaluation import Interval
from kshot.seeds import generator
from kshot.storage import replace_file

BASES = {"adaptive": "half_cheetah", "plain": "half_cheetah_plain"}
"""Bases that travel with kshot, made by `python -m benchmarks.control gather` and `train`. The
oracle is the model that adapts, told."""

FAULT, FAULT_IS = (
    Fault(strength=(0.15, 1, 0.15, 1, 1, 1)),
    "back thigh and back foot keep a seventh of their strength",
)
FAMILY = Robots(weak=(1, 3), strength=(0.1, 0.7), payload=(1.0, 5.0), friction=(0.4, 4.0), whole=0.1)
"""What is practised on: the faults that the models which travel with kshot were trained on, drawn anew."""

PRACTICE = Practice(
    simulated=0, shaken=2, rounds=1, lives=4, first=1, last=150, again=0.2,
    settings={"rate": 3e-4, "warmup": 10, "clip": 1.0, "average": 0.98},
)  # fmt: skip
"""A minute's worth: a few lives of each model, what they had in mind rehearsed, and training on all of it."""

BROKEN, SETTLED, STEPS = 100, 150, 300
"""Steps: when it breaks, when a window of transitions is full of the broken robot, and the end."""


def run_robot(
    console: Console, *, out: Path, seed: int = 0, robots: int = 8, steps: int = STEPS, mpc: MPC | None = None,
    practice: Practice = PRACTICE, filmed: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Practise, break robots in mid-run, compare, ask why, draw; returns one JSON object with all figures.

    Args:
        out: folder for the pictures. robots: to break, each from a start of its own. practice: before that.
        filmed: draw a film too.
    """
    models = _practised(console, practice, seed)
    fault = FAULT
    family = Robots(steps=steps, change=(BROKEN, BROKEN))
    lives = [Life(seed + place, fault, BROKEN) for place in range(robots)]
    console.rule(f"2. {robots} cheetahs run. At step {BROKEN} joints break, unannounced", align="left")
    console.print(
        f"From then on {FAULT_IS}. All plan in the same way. Up to the break the plain one drives them all, so that each "
        "goes on from the same state of the same robot."
    )
    planning = mpc or MPC(horizon=12)
    lived: dict[str, Lived] = {}
    reasons = None
    for name, model in models.items():
        begun = time.process_time()
        kind = "told" if name == "oracle" else name
        acting, tell = controlled(model, kind, family, lives, planning, generator(seed, "plans"))
        driver, _ = controlled(models["plain"], "plain", family, lives, planning, generator(seed, "drive"))
        lived[name] = live(family, lives, Handover(driver, acting, BROKEN), at_step=tell)
        if name == "adaptive":
            assert isinstance(acting, Controller)
            reasons = why(acting.task())
        each = 1000 * (time.process_time() - begun) / (steps * robots)
        console.print(f"{name}: {each:.1f} ms of one core for a step of one robot, physics included.")
    errors = _errors(models, lived["plain"], fault)
    rewards = {name: found.rewards.numpy() for name, found in lived.items()}
    console.rule("3. What the models predict, one step ahead, on the same lives", align="left")
    figures = _table(console, errors, "error", 3)
    console.print(
        "The model adapts: its error comes back towards that of the oracle, which is told the true parameters."
    )
    console.rule("4. What the robots earn a step", align="left")
    figures |= _table(console, rewards, "reward", 2)
    figures |= _gain(console, rewards)
    assert reasons is not None
    path = replace_file(out / "robot.png", recovery_picture(errors, rewards, BROKEN, FAULT_IS))
    console.print(f"Wrote both: [bold]{path}[/bold]")
    figures |= _why(console, reasons, out) | {"picture": str(path), "robots": robots, "seed": seed}
    return figures | (_filmed(console, family, lives, lived, out) if filmed else {})


def _base(name: str) -> Dynamics:
    found = load_learned(name)
    assert isinstance(found, Dynamics)
    return found


def _practised(console: Console, practice: Practice, seed: int) -> dict[str, Dynamics]:
    """The models that travel with kshot, trained further on robots that are broken here and now."""
    console.rule("1. Practice, on robots that are broken anew", align="left")
    start = {name: _base(base) for name, base in BASES.items()}
    console.print(
        "To train from nothing takes half an hour of one core, so the models were trained before, on randomised faults of "
        "joints, load and floor, and travel with kshot. Here they go on: both from the same lives, for as many steps."
    )
    begun = time.process_time()
    models = Practised(
        FAMILY, practice, seed=seed, start=start, told=lambda said: console.print(f"  {said}")
    ).run()
    console.print(f"{time.process_time() - begun:.0f} s of one core.")
    return {"adaptive": models["adaptive"], "plain": models["plain"], "oracle": models["adaptive"]}


def _errors(models: dict[str, Any], lived: Lived, fault: Fault) -> dict[str, np.ndarray]:
    """Errors of predictions on the plain controller's lives, [robots, steps] of each model."""
    found = {}
    for name, model in models.items():
        spans, known = [], [Fault().numbers(6), fault.numbers(6)]
        for truth in known:
            told = torch.stack([truth] * len(lived.seen)) if name == "oracle" else None
            spans.append(
                replayed(model, lived.seen, lived.actions, robot=FAMILY.body, known=told).mean(2).numpy()
            )
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


def _gain(console: Console, rewards: dict[str, np.ndarray]) -> dict[str, Any]:
    """What adapting earned, robot by robot: each pair went on from the same state."""
    each = (rewards["adaptive"] - rewards["plain"])[:, BROKEN:].mean(1)
    gain = Interval.of(each.tolist())
    if gain.low > 0:
        said = f"[green]Adapting earns {gain.mean:.2f} ± {gain.half:.2f} more a step after the break.[/green]"
    else:
        said = (
            f"[yellow]Adapting earns {gain.mean:.2f} ± {gain.half:.2f} more a step after the break: on {len(each)} robots "
            "that shows no difference.[/yellow]"
        )
    console.print(
        f"{said} [dim]docs/control.md has the figures of many faults, and those that it does not help with.[/dim]"
    )
    return {"gain": round(gain.mean, 4), "gain_low": round(gain.low, 4), "gain_high": round(gain.high, 4)}


def _why(console: Console, reasons: Any, out: Path) -> dict[str, Any]:
    console.rule("5. Why? What one robot's last transitions did to the model", align="left")
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
    console: Console, family: Robots, lives: list[Life], lived: dict[str, Lived], out: Path
) -> dict[str, Any]:
    console.rule("6. The film, of the robot that adapting helps as much as half of them", align="left")
    more = (lived["adaptive"].rewards - lived["plain"].rewards).sum(1)
    place = int(more.argsort()[len(more) // 2])
    every = 4
    try:
        rows = {
            name: film(family, lives[place], lived[name].actions[place].numpy(), every=every)
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
