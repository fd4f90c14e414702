"""Commands that take examples out of a task, back in, or leave nothing of them, and that retune a task."""

from __future__ import annotations

from typing import Annotated

import typer

from kshot.commandline import sources
from kshot.commandline.golden import OnRegressionOption
from kshot.commandline.output import finish, guarded, say, show_table
from kshot.commandline.use import (
    BaseOption,
    Json,
    OutOption,
    TaskArgument,
    class_count,
    labels_of,
    save_changed,
)
from kshot.errors import DataError, SettingError
from kshot.learners import Adapted

ClassOption = Annotated[
    list[str] | None, typer.Option("--class", help="All examples of this class; several times for several.")
]
_REGRESSION = "Where a golden example becomes wrong: warn, refuse or ignore."


def chosen(task: Adapted, ids: list[str] | None, classes: list[str] | None) -> list[str]:
    """The examples named one by one, and all of the classes named by --class.

    Raises:
        SettingError: neither was given. DataError: a class that the task has no example of.
    """
    if not ids and not classes:
        raise SettingError(
            "0 examples were named; give their names, as kshot show lists them, or --class NAME"
        )
    found = dict.fromkeys(ids or [])
    targets = [str(target) for target in task.targets] if classes else []
    for name in classes or []:
        own = [id for id, target in zip(task.ids, targets, strict=True) if target == name]
        if not own:
            raise DataError(f"class {name!r} is not in this task; its classes are {sorted(set(targets))}")
        found |= dict.fromkeys(own)
    known = {*task.ids, *(task.removed.ids if task.removed else ())}
    for name in found:
        if name not in known and name in labels_of(task):
            raise DataError(f"{name!r} is a class, not the name of an example: kshot ... --class {name!r}")
    return list(found)


@guarded
def remove(
    task: TaskArgument,
    ids: Annotated[
        list[str] | None, typer.Argument(help="Names of examples, as kshot show lists them.")
    ] = None,
    classes: ClassOption = None,
    out: OutOption = None,
    on_regression: OnRegressionOption = "warn",
    base: BaseOption = None,
    as_json: Json = False,
) -> None:
    """Take examples out of a saved task, which then answers as if it had never seen them.

    They are kept aside in its file: kshot restore brings them back, kshot forget leaves nothing of them.

    Example:  kshot remove stamps.kshot penny/3.png
    """
    before = sources.task_of(task, base)
    named = chosen(before, ids, classes)
    after = before.remove(named, on_regression=on_regression)
    save_changed(task, after, out)
    say(f"Removed: {', '.join(named)}. {len(before)} -> {len(after)} examples, {class_count(after)} classes.")
    say(
        "They are kept aside in the file: kshot restore brings them back, kshot forget leaves nothing of them."
    )
    finish({"kshot": len(after), "removed": len(before) - len(after), "file": str(out or task)}, as_json)


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
    ids: Annotated[list[str] | None, typer.Argument(help="Names of examples, in use or kept aside.")] = None,
    classes: ClassOption = None,
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
    named = chosen(before, ids, classes)
    after = before.forget(named, on_regression=on_regression)
    save_changed(task, after, out)
    say(f"Forgotten for good: {len(named)}. {len(after)} examples, {after.space.size} classes are left.")
    finish({"kshot": len(after), "forgotten": len(named), "file": str(out or task)}, as_json)


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
