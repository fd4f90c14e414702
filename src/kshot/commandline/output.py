"""How commands speak: tables and sentences on standard output, errors on standard error, JSON as the last line."""

from __future__ import annotations

import functools
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from kshot.errors import InputWarning, KshotError, RegressionWarning

SPOKEN = (InputWarning, RegressionWarning)
P = ParamSpec("P")
R = TypeVar("R")

JSON_HELP = "Print one JSON object with all figures as the last line, for programs."
SEED_HELP = "A whole number that decides everything random; the same number gives the same result."


def console() -> Console:
    """A console on standard output; lines of plain files are never folded."""
    return Console(soft_wrap=not sys.stdout.isatty(), highlight=False)


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Errors as one clear sentence with exit code 2, Ctrl-C as 130 with how to go on; no traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with spoken_warnings():
                return command(*args, **kwargs)
        except KshotError as error:
            stopped = isinstance(error, SystemExit)  # training that was interrupted: `training.Stopped`
            typer.echo(f"{'Stopped' if stopped else 'Error'}: {error}", err=True)
            raise typer.Exit(130 if stopped else 2) from None
        except KeyboardInterrupt:
            typer.echo(
                "Stopped by Ctrl-C; nothing was half-written. Run the same command to start again.", err=True
            )
            raise typer.Exit(130) from None

    return run


@contextmanager
def spoken_warnings() -> Iterator[None]:
    """Warnings about inputs as plain sentences on standard error, each one once."""
    with warnings.catch_warnings():
        for spoken_kind in SPOKEN:
            warnings.simplefilter("always", spoken_kind)
        spoken: set[str] = set()
        before = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if not issubclass(category, SPOKEN):
                before(message, category, *rest, **more)
            elif str(message) not in spoken:
                spoken.add(str(message))
                typer.echo(f"Warning: {message}", err=True)

        warnings.showwarning = show
        yield


def finish(figures: Mapping[str, Any], as_json: bool) -> None:
    """Print the JSON line, if it was asked for."""
    if as_json and _speaks():
        typer.echo(json.dumps({key: _plain(value) for key, value in figures.items()}))


def _plain(value: Any) -> Any:
    """Numbers that JSON does not know become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """A table of plain text on standard output; columns in `right` are set flush right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    if _speaks():
        console().print(table)


def say(text: str) -> None:
    """A sentence on standard output; of several processes of torchrun the first one speaks."""
    if _speaks():
        typer.echo(text)


def _speaks() -> bool:
    """Of several processes of torchrun the first one speaks; where there is but one, torch is not asked, nor imported."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return True
    from kshot.training import speaks

    return speaks()
