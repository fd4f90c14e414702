"""Commands about encoders: encoders, get."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from kshot.commandline.output import JSON_HELP, console, finish, guarded, say, show_table
from kshot.encoders import catalogue

Json = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


@guarded
def encoders(
    find: Annotated[str, typer.Argument(help="Only names that contain this, for example resnet.")] = "",
    as_json: Json = False,
) -> None:
    """List the networks that are there, and those that could be had.

    Example:  kshot encoders resnet
    """
    found = [entry for entry in catalogue.listing() if find.lower() in entry.name.lower()]
    rows = [
        [
            entry.name,
            entry.state,
            f"{entry.parameters / 1e6:.1f} million" if entry.parameters else "",
            f"{entry.megabytes:.0f} MB" if entry.megabytes else "",
        ]
        for entry in found
    ]
    show_table(["name", "state", "numbers", "size"], rows, right=[2, 3])
    say("\nbuilt in: trained by you (kshot train). available: kshot get NAME downloads its weights, once.")
    states = [entry.state for entry in found]
    finish(
        {"kshot": len(found), **{state.replace(" ", "_"): states.count(state) for state in set(states)}},
        as_json,
    )


@guarded
def get(
    name: Annotated[str, typer.Argument(help="A name that kshot encoders lists as available.")],
    as_json: Json = False,
) -> None:
    """Download a network trained on photos, check its hash, and keep it on this machine.

    After it, `kshot adapt NAME FOLDER` teaches it your own photos.

    Example:  kshot get resnet18
    """
    with Progress(
        "downloading", BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console()
    ) as bar:
        task = bar.add_task("", total=None)
        entry = catalogue.get(
            name, progress=lambda done, total: bar.update(task, completed=done, total=total or None)
        )
    say(f"{name}: {entry.parameters:,} numbers from {entry.source}; hash checked; kept as {entry.path}.")
    say(f"Next: kshot adapt {name} FOLDER -o task.kshot")
    finish({"kshot": name, "file": entry.path, "source": entry.source, "megabytes": entry.megabytes}, as_json)
