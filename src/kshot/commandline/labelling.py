"""The command that says which inputs to label next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kshot.commandline import sources
from kshot.commandline.columns import Columns, InputOption
from kshot.commandline.output import SEED_HELP, finish, guarded, say, show_table
from kshot.commandline.questions import questions
from kshot.commandline.use import BaseOption, Json, TaskArgument
from kshot.trust import next_to_label


@guarded
def suggest(
    task: TaskArgument,
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Inputs without labels: pictures or folders of pictures; tables; arrays (.npy, .npz)."
        ),
    ],
    count: Annotated[int, typer.Option("--count", "-n", help="How many inputs to label.")] = 10,
    seed: Annotated[int, typer.Option(help=SEED_HELP)] = 0,
    input: InputOption = None,
    base: BaseOption = None,
    as_json: Json = False,
) -> None:
    """Say which inputs to label next: those that the task is least sure of, no two alike.

    Label them, add them with "kshot add", and ask again.

    Example:  kshot suggest stamps.kshot unlabelled_pictures/ --count 10
    """
    ready = sources.task_of(task, base)
    asked = list(questions(ready.learner.encoder, paths, Columns.asked(input, base=ready.learner)))
    found = next_to_label(ready, [item.input for item in asked], count=count, seed=seed)
    show_table(["label next", "because it is"], [[asked[one.place].name, one.reason] for one in found])
    if found.skipped:
        say(f"{len(found.skipped)} of {len(asked)} inputs equal an example or one another, and are left out.")
    say(f"By its own probabilities the task answers {found.expected_error:.0%} of these inputs wrong.")
    finish(
        {
            "kshot": len(found),
            "names": [asked[place].name for place in found.places],
            "skipped": len(found.skipped),
            "expected_error": found.expected_error,
        },
        as_json,
    )
