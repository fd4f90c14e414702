"""The bandit: a policy that learns to explore, beside the rules of the textbooks on the same arms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from kshot.control import Bandits, Counts, arm_policy, gittins, greedy, oracle, play, thompson, ucb, uniform
from kshot.control.arm_policy import ArmPolicy
from kshot.control.pictures import arms_picture, both_indices
from kshot.evaluation import Interval
from kshot.seeds import drawing, generator
from kshot.storage import replace_file
from kshot.training import fit

STOP = 12
"""Pulls after which it is asked why."""


def run_bandit(
    console: Console, *, out: Path, seed: int = 0, steps: int = 60, pulls: int = 50, tasks: int = 4000,
    progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Train, compare on the same bandits, ask why, draw; returns one JSON object with all figures.

    Args:
        out: folder for bandit.png. steps: of meta-training. pulls: of five arms. tasks: bandits to compare on.
    """
    bandits = Bandits(5, pulls)
    console.rule(f"1. Five arms, {pulls} pulls: learning to explore", align="left")
    console.print(
        "It starts from pulling what paid most so far. That trying the others pays is for it to find out."
    )
    with drawing(torch.device("cpu"), seed, "weights"):
        start = arm_policy(bandits)
    run = fit(start, bandits, steps=steps, meta_batch=128, rate=0.01, warmup=min(10, steps), average=0.95, clip=1.0,
              seed=seed, progress=progress)  # fmt: skip
    policy = run.learner
    assert isinstance(policy, ArmPolicy)
    console.print(f"Trained in {run.history[-1]['cpu_seconds']:.0f} seconds of one core.")
    console.rule(f"2. {tasks:,} other bandits, the same for all", align="left")
    hidden = bandits.hide(tasks, generator(seed, "bandit", "test"))
    rules = {"kshot": policy.index, "Gittins": gittins(bandits), "UCB": ucb(0.3), "greedy": greedy,
             "Thompson": thompson, "random": uniform, "oracle": oracle(hidden)}  # fmt: skip
    table = Table("method", "earned", box=None)
    figures: dict[str, Any] = {}
    for name, rule in rules.items():
        found = Interval.of(play(bandits, hidden, rule, generator(seed, "play")).earned.tolist())
        table.add_row(
            name, f"{found.mean:.2f} ± {found.half:.2f}", style="bold green" if name == "kshot" else ""
        )
        figures[name.lower()] = round(found.mean, 3)
    console.print(table)
    console.print(
        "[dim]Gittins is computed for this number of pulls; the oracle knows what the arms pay.[/dim]"
    )
    path = _why(console, policy, hidden[:1], out, seed)
    return figures | {"pulls": pulls, "tasks": tasks, "seed": seed, "picture": str(path)}


def _why(console: Console, policy: ArmPolicy, hidden: torch.Tensor, out: Path, seed: int) -> Path:
    bandits = policy.bandits
    console.rule(f"3. Why? One bandit after {STOP} pulls", align="left")
    short = Bandits(bandits.arms, STOP)
    # the policy believes that all pulls are still to come, as it would in the longer game
    ahead = bandits.pulls - STOP
    done = play(
        short, hidden, lambda b, k, g: policy.index(bandits, _longer(k, ahead), g), generator(seed, "why")
    )
    known = _longer(done.counts, ahead)
    indices = both_indices(policy, known)
    table = Table("arm", "paid", "of pulls", "index learned", "Gittins, same scale", "really pays", box=None)
    best = int(indices["learned"].argmax())
    for arm in range(bandits.arms):
        table.add_row(
            f"{arm}", f"{known.total[0, arm]:g}", f"{known.count[0, arm]:g}", f"{indices['learned'][arm]:.2f}",
            f"{indices['Gittins'][arm]:.2f}", f"{hidden[0, arm]:.2f}", style="bold" if arm == best else "",
        )  # fmt: skip
    console.print(table)
    console.print(f"It pulls arm {best} next: its index is the largest.")
    path = replace_file(out / "bandit.png", arms_picture(policy, known))
    console.print(f"Wrote the picture: [bold]{path}[/bold]")
    return path


def _longer(known: Counts, ahead: int) -> Counts:
    return Counts(known.count, known.total, known.left + ahead)
