"""Commands that take removed examples back or leave nothing of them, and that retune a task."""

from __future__ import annotations

from typing import Annotated

import typer

from kshot.commandline import sources
from kshot.commandline.output import finish, guarded, say, show_table
from kshot.commandline.use import BaseOption, Json, OutOption, TaskArgument, save_changed

_REGRESSION = "Where a golden example becomes wrong: warn, refuse or ignore."


@guarded
def restore(
    task: TaskArgument,
    ids: Annotated[
        list[str] | None, typer.Argument(help="Names of examples that were removed; none: all of them.")
    ] = None,
    out: OutOption = None,
    on_regression: Annotated[str, typer.Option(help=_REGRESSION)] = "warn",
    base: BaseOption = None,
    as_json: Json = False,
) -> None:
    """Bring examples back that kshot remove took out of a saved task.

    Example:  kshot restore stamps.kshot penny/3.png
    """
    before = sources.task_of(task, base)
    after = before.restore(ids or None, on_regression=on_regression)
    save_changed(task, after, out)
    aside = len(after.removed) if after.removed else 0
    say(f"{len(before)} -> {len(after)} examples, {after.space.size} classes; {aside} still kept aside.")
    finish(
        {
            "kshot": len(after),
            "restored": len(after) - len(before),
            "kept_aside": aside,
            "file": str(out or task),
        },
        as_json,
    )


@guarded
def forget(
    task: TaskArgument,
    ids: Annotated[list[str], typer.Argument(help="Names of examples, in use or kept aside.")],
    out: OutOption = None,
    on_regression: Annotated[str, typer.Option(help=_REGRESSION)] = "warn",
    base: BaseOption = None,
    as_json: Json = False,
) -> None:
    """Leave nothing of examples in a saved task: no input, no name, no trace in the file. Cannot be undone.

    Other files that hold them, such as older copies, are yours to delete.

    Example:  kshot forget stamps.kshot penny/3.png
    """
    before = sources.task_of(task, base)
    after = before.forget(ids, on_regression=on_regression)
    save_changed(task, after, out)
    say(f"Forgotten for good: {len(set(ids))}. {len(after)} examples, {after.space.size} classes are left.")
    finish({"kshot": len(after), "forgotten": len(set(ids)), "file": str(out or task)}, as_json)


@guarded
def retune(
    task: TaskArgument,
    out: OutOption = None,
    on_regression: Annotated[str, typer.Option(help=_REGRESSION)] = "warn",
    base: BaseOption = None,
    as_json: Json = False,
) -> None:
    """Choose the scalars of a saved task's head anew by leaving each of its examples out, and say what changed.

    Example:  kshot retune stamps.kshot
    """
    before = sources.task_of(task, base)
    found = before.retune(on_regression=on_regression)
    rows = [[name, f"{old:.4g}", f"{found.after[name]:.4g}"] for name, old in found.before.items()]
    show_table(["scalar", "before", "now"], rows, right=[1, 2])
    say(f"{found.reason[:1].upper()}{found.reason[1:]}.")
    save_changed(task, found.task, out)
    finish(
        {"kshot": found.loss_after, "before": found.loss_before, "changed": found.changed,
         "examples": found.examples, "file": str(out or task)}, as_json,
    )  # fmt: skip
