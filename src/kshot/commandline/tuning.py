"""Fitting the network itself to one task's examples, where the command asks for it: `kshot adapt --tune`."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from kshot.commandline.output import say
from kshot.errors import SettingError
from kshot.learners import Adapted

if TYPE_CHECKING:
    from kshot.vision import Tuned

TuneOption = Annotated[
    float | None,
    typer.Option(
        "--tune",
        help="Of pictures with boxes: seconds of processor time to fit the network itself to them, for example 20; kept "
        "only where pictures held out gain by it.",
        metavar="SECONDS",
    ),
]


def refuse_tuning(seconds: float | None, what: str) -> None:
    """Raise SettingError where --tune was given for something that is not tuned."""
    if seconds is not None:
        raise SettingError(f"--tune is {seconds:g}, but {what}; it is for pictures with boxes: leave it out")


def tuned(task: Adapted, seconds: float | None) -> Adapted:
    """The task, tuned for as long as asked; a bar shows how far it is."""
    if seconds is None:
        return task
    from kshot.vision import Detector, tune

    if not isinstance(task.learner, Detector):
        refuse_tuning(seconds, f"this base answers with {task.space.kind}")
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(20), TimeRemainingColumn(),
        console=Console(file=sys.stderr), disable=not sys.stderr.isatty(),
    )  # fmt: skip
    with bar:
        part = bar.add_task("tuning", total=1.0)
        found = tune(task, seconds=seconds, watch=lambda share: bar.update(part, completed=share))
    say(what_was_done(found))
    return found.task


def what_was_done(found: Tuned) -> str:
    """What tuning gained, in a line."""
    if math.isnan(found.before):
        return "Not tuned: no picture could be held out to judge it by; mark more pictures, so that two show each class."
    did = f"tuned in {found.cpu_seconds:.0f} s" if found.kept else "not tuned, since that did not help"
    if found.by_parts:
        did += "; boxes are named by their parts now, which names more of them right"
    return (
        f"Found and named, on pictures held out: {100 * found.before:.0f} % untuned, {100 * found.after:.0f} % in a "
        f"trial; {did}."
    )
