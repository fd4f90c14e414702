"""Which columns of a table are inputs and labels: what people say on the command line, or what the base knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from kshot.data import Table
from kshot.learners import Learner

TABLES = (".csv", ".tsv", ".jsonl")

InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="In a table: the column to learn from or to ask; several times for several columns of numbers. By default "
        "a column of a usual name (path, text, message, x, ...), else all columns of numbers.",
    ),
]
LabelOption = Annotated[
    str | None,
    typer.Option(
        "--label", help="In a table: the column of the answers; by default label, class, intent, ..."
    ),
]


@dataclass(frozen=True)
class Columns:
    """Names of columns.

    Attributes:
        input: those that make an input, in this order; empty: the usual ones.
        label: the one of the labels; None: a usual one.
        known: the columns that the base was trained on; used where nothing was asked for and all are there, so
            that another order of columns in the file changes nothing.
        kind: "text" where the base takes texts, whatever they look like; else "auto".
    """

    input: tuple[str, ...] = ()
    label: str | None = None
    known: tuple[str, ...] = ()
    kind: str = "auto"

    @classmethod
    def asked(
        cls, input: Sequence[str] | None, label: str | None = None, base: Learner | None = None
    ) -> Columns:
        """From the command line, and from the card of the base."""
        known: Any = base.card.get("columns", ()) if base is not None else ()
        texts = base is not None and base.encoder.modality == "text"
        return cls(tuple(input or ()), label, tuple(known), "text" if texts else "auto")

    def of(self, table: Table) -> str | tuple[str, ...] | None:
        """What `Table.inputs` is to take."""
        if self.input:
            return self.input[0] if len(self.input) == 1 else self.input
        return self.known if self.known and set(self.known) <= set(table.names) else None


def is_table(path: Path) -> bool:
    """True for the name of a .csv, .tsv or .jsonl file, also with .gz behind it."""
    return any(suffix.lower() in TABLES for suffix in path.suffixes[-2:])
