"""The command that compares what could learn a task: kshot choose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kshot.commandline import sources
from kshot.commandline.columns import Columns, InputOption, LabelOption
from kshot.commandline.output import SEED_HELP, finish, guarded, say, show_table
from kshot.commandline.use import Json
from kshot.data import Pool
from kshot.data.inspect import kind_of
from kshot.learners import Learner
from kshot.tuning import Candidate
from kshot.tuning import choose as compare

ROWS = "rows"
_USUAL = {"rows": ROWS, "texts": "hash:ngram"}
"""What is compared on where nobody says, by what the data are."""


@guarded
def choose(
    data: Annotated[str, typer.Argument(help=sources.DATA_HELP)],
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            help=f"As for kshot adapt; '{ROWS}' for numbers whose columns are scaled as they need it. By default '{ROWS}' "
            "for numbers, 'hash:ngram' for texts, 'glyphs' for pictures.",
        ),
    ] = None,
    budget: Annotated[float, typer.Option("--budget", help="Seconds that comparing may take.")] = 30.0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to save the task, adapted with the choice.")
    ] = None,
    input: InputOption = None,
    label: LabelOption = None,
    seed: Annotated[int, typer.Option(help=SEED_HELP)] = 0,
    as_json: Json = False,
) -> None:
    """Compare heads and adapters on your own few examples, and say which learns them best and why.

    Each is judged on examples that were left out. An adapter is taken only where it measurably helps.

    Example:  kshot choose my_stamps/ --base glyphs --budget 30 -o stamps.kshot
    """
    learner, pool = _read(data, base, input, label)
    if learner is not None:
        sources.check_fits(learner.encoder, pool)
    ids = sources.names(pool, Path(data))
    found = compare(pool.inputs, sources.labels(pool), base=learner, budget=budget, ids=ids, seed=seed)
    show_table(
        ["candidate", "right", "95 %", "log-loss", "left out", "seconds", "why"],
        [_cells(row) for row in found.table],
        right=[1, 2, 3, 4, 5],
    )
    say(found.reason)
    if out is not None:
        found.task.save(out, include_base=True)
        say(f"Saved as {out}.")
    taken = next(row for row in found.table if row.name == found.name)
    finish(
        {
            "kshot": taken.accuracy,
            "choice": found.name,
            "log_loss": taken.log_loss,
            "low": taken.low,
            "high": taken.high,
            "judged": taken.judged,
            "seconds": sum(row.seconds for row in found.table),
            "candidates": [row.name for row in found.table],
            "reason": found.reason,
            "file": None if out is None else str(out),
        },
        as_json,
    )


def _cells(row: Candidate) -> list[str]:
    if row.accuracy is None or row.low is None or row.high is None or row.log_loss is None:
        return [row.name, "", "", "", "", "", row.note]
    return [
        row.name,
        f"{100 * row.accuracy:.0f} %",
        f"{100 * row.low:.0f} to {100 * row.high:.0f}",
        f"{row.log_loss:.3f}",
        str(row.judged),
        f"{row.seconds:.2f}",
        row.note,
    ]


def _read(
    data: str, base: str | None, input: list[str] | None, label: str | None
) -> tuple[Learner | None, Pool]:
    """The base, None for rows, and the data; where no base was named the data say which."""
    if base is not None:
        learner = None if base == ROWS else sources.base_of(base)
        return learner, sources.pool(data, columns=Columns.asked(input, label, learner))
    pool = sources.pool(data, columns=Columns.asked(input, label))
    kind = kind_of(pool.inputs)
    base = _USUAL.get(kind, "glyphs")
    say(f"{data} holds {kind}: compared on {base}; another base with --base.")
    return (None if base == ROWS else sources.base_of(base)), pool
