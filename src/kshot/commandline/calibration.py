"""The command calibrate: let a base measure its own answers on tasks of the kind it will meet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kshot.commandline import sources
from kshot.commandline.columns import Columns
from kshot.commandline.evaluating import unseen
from kshot.commandline.output import JSON_HELP, SEED_HELP, console, finish, guarded, say, show_table
from kshot.data import Episodes
from kshot.learners import save_learner
from kshot.learners.records import fingerprint
from kshot.learners.self_knowledge import cells
from kshot.tasks import NWayKShot
from kshot.trust import calibrate as measure


@guarded
def calibrate(
    base: Annotated[str, typer.Argument(help="A base: 'glyphs' or a .kshot file.")],
    data: Annotated[str, typer.Option(help=sources.DATA_HELP + " Of classes that it was not trained on.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to save the calibrated base.")] = Path(
        "calibrated.kshot"
    ),
    tasks: Annotated[int, typer.Option(help="Random tasks of each size.")] = 100,
    refused: Annotated[
        float, typer.Option(help="Share of known inputs that may wrongly be called unknown.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help=SEED_HELP)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Measure when a base should say "unknown", how sure it is, and how often it is right, on your kind of data.

    Weights stay as they are. What it promises afterwards holds over tasks like these.

    Example:  kshot calibrate glyphs --data my_symbols/ -o symbols.kshot
    """
    learner = sources.base_of(base)
    source = Episodes(unseen(learner, data, Columns.asked(None, base=learner), seed), NWayKShot(2, 1, 1))
    with console().status("measuring ..."):
        measure(learner, source, tasks=tasks, refused=refused, seed=seed)
    name = source.pool.name or data
    save_learner(learner, out, {**learner.card, "calibrated on": f"{name}, {tasks} tasks of each size"})
    found = cells(learner)
    rows = [
        [
            f"{c.ways:.0f}",
            f"{c.shots:.3g}",
            f"{100 * c.accuracy:.1f} %",
            f"{100 * c.low:.0f} to {100 * c.high:.0f} %",
        ]
        for c in found
    ]
    show_table(["classes", "examples each", "accuracy", "nine of ten tasks"], rows, right=range(4))
    say(f"Saved {out}. These figures are marginal over tasks like those of {data}.")
    flat = {f"accuracy_{c.ways:.0f}way_{c.shots:.0f}shot": 100 * c.accuracy for c in found}
    finish({"kshot": len(found), "file": str(out), "fingerprint": fingerprint(learner), **flat}, as_json)
