"""The command `kshot`. Thin: parse, call one function, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kshot.commandline import (
    calibration,
    catalogue,
    choosing,
    explaining,
    forgetting,
    gathered,
    golden,
    labelling,
    learn,
    use,
)
from kshot.commandline.output import JSON_HELP, SEED_HELP, console, finish, guarded, say
from kshot.demo import run_demo

app = typer.Typer(
    help="Teaches software by example: train once, then learn a new task from a handful of examples. "
    "Start with: kshot demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@guarded
def demo(
    data: Annotated[
        Path | None, typer.Option(help="A folder that holds Omniglot, for a second kind of handwriting.")
    ] = None,
    effort: Annotated[str, typer.Option(help="quick (about 4 minutes), normal or best.")] = "quick",
    seed: Annotated[int, typer.Option(help=SEED_HELP)] = 0,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the report, the base and the pictures.")
    ] = Path("demo"),
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """See it all once: train on invented characters, learn real handwriting, compare, explain, save.

    Needs no data and no graphics card.

    Example:  kshot demo
    """
    finish(run_demo(console(), out=out, effort=effort, seed=seed, data=data), as_json)


@guarded
def version() -> None:
    """Print the version of kshot."""
    import kshot

    say(kshot.__version__)


for command in (
    demo, learn.check, learn.train, learn.evaluate, calibration.calibrate, use.adapt, choosing.choose, use.add, use.remove, forgetting.restore, forgetting.forget, forgetting.retune, use.predict, explaining.explain, labelling.suggest, use.show, golden.diff, gathered.rebase, catalogue.encoders, catalogue.get,
    version,
):  # fmt: skip
    app.command()(command)


def main() -> None:
    """Entry point of the command `kshot`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a letter that the terminal lacks must not end a long run
            stream.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
