"""Golden checks on the command line: options of adapt, add and remove, `kshot check TASK`, and the command diff."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from kshot import storage
from kshot.bundles import SUFFIX
from kshot.commandline import sources
from kshot.commandline.columns import Columns, InputOption, LabelOption, is_table
from kshot.commandline.output import JSON_HELP, finish, guarded, say, show_table
from kshot.commandline.questions import questions
from kshot.data import Table
from kshot.data.folder import SUFFIXES
from kshot.errors import DataError
from kshot.learners import Adapted
from kshot.tasks.spaces import Spans
from kshot.text import read_spans
from kshot.trust import Difference, Differences
from kshot.trust import diff as differences

GoldenOption = Annotated[
    str | None,
    typer.Option(
        "--golden",
        help="Examples that must stay right, in the same form. They are not learned from, but travel with the task; "
        "kshot check asks them.",
    ),
]
OnRegressionOption = Annotated[
    str,
    typer.Option(
        "--on-regression",
        help="Where a golden example was right and would be wrong: warn, refuse (nothing is changed), or ignore.",
    ),
]
_SHOWN = 40


def with_golden(task: Adapted, data: str | None, columns: Columns) -> Adapted:
    """The task with the golden examples that DATA holds; unchanged without DATA."""
    if data is None:
        return task
    if isinstance(task.space, Spans):
        own = read_spans(data)
        after = task.with_golden(own.inputs, own.targets)
        return _told(after, len(own))
    pool = sources.pool(data, columns=columns)
    sources.check_fits(task.learner.encoder, pool)
    names = sources.names(pool, Path(data))
    taken = set(task.golden.ids) if task.golden else set()
    ids = None if names is None else free_names(names, taken)
    after = task.with_golden(pool.inputs, sources.labels(pool), ids=ids)
    return _told(after, len(pool))


def _told(after: Adapted, count: int) -> Adapted:
    found = after.check()
    say(
        f"{count} golden examples travel with the task; {found.right} of {found.total} are answered right now."
    )
    return after


def free_names(wanted: Sequence[str], taken: set[str]) -> list[str]:
    """Each name as it is, or with a number behind it where it is taken."""
    out = []
    for name in wanted:
        free, number = name, 2
        while free in taken:
            free, number = f"{name} ({number})", number + 1
        taken.add(free)
        out.append(free)
    return out


def is_task(name: str) -> bool:
    """Does `kshot check` get a saved task, not data?"""
    path = Path(name)
    return path.suffix == SUFFIX and (not path.is_file() or (storage.peek(path) or {}).get("what") == "task")


def check_task(name: str, base: str | None, as_json: bool) -> None:
    """Ask the golden examples of a saved task; exit code 1 where one is wrong."""
    found = sources.task_of(name, base).check()
    rows = [[found.ids[place], str(want), str(got)] for place, want, got in found.wrong]
    if rows:
        show_table(["golden example", "right is", "answered"], rows[:_SHOWN])
    say(f"{found.right} of {found.total} golden checks are right.")
    flat = {
        "kshot": found.passed,
        "right": found.right,
        "total": found.total,
        "wrong": [row[0] for row in rows],
    }
    finish(flat, as_json)
    if not found.passed:
        raise typer.Exit(1)


@guarded
def diff(
    first: Annotated[str, typer.Argument(help="A saved task, for example the version in use.")],
    second: Annotated[str, typer.Argument(help="Another version of it.")],
    data: Annotated[str | None, typer.Argument(help="Also ask these. " + sources.DATA_HELP)] = None,
    input: InputOption = None,
    label: LabelOption = None,
    base: Annotated[
        str | None,
        typer.Option("--base", help="The base of both, where it lies neither inside nor beside them."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Show what two versions of a task answer differently.

    Both are asked the golden examples and the taught examples of either, and DATA where given. Labels of DATA
    count as right; a folder of pictures without subfolders has none, nor has a table with labels missing.

    Example:  kshot diff stamps.kshot new_stamps.kshot more_stamps/
    """
    before, after = sources.task_of(first, base), sources.task_of(second, base)
    if data is None:
        found = differences(before, after)
    elif _without_labels(Path(data), label):
        columns = Columns.asked(input, base=before.learner)
        asked = list(questions(before.learner.encoder, [Path(data)], columns))
        found = differences(before, after, [a.input for a in asked], ids=[a.name for a in asked])
    else:
        pool = sources.pool(data, columns=Columns.asked(input, label, before.learner))
        sources.check_fits(before.learner.encoder, pool)
        found = differences(
            before, after, pool.inputs, sources.labels(pool), ids=sources.names(pool, Path(data))
        )
    show(found, first, second)
    finish(_flat(found), as_json)


def _without_labels(data: Path, label: str | None) -> bool:
    """A folder of pictures without one subfolder per class, a single picture, or a table without a full column of labels."""
    if label is None and data.is_file() and is_table(data):
        try:
            Table.read(data).labels()
        except DataError as cause:
            say(f"No answer of {data} counts as right: {cause}")
            return True
    if data.is_dir():
        return not any(entry.is_dir() for entry in data.iterdir())
    return data.is_file() and data.suffix.lower() in SUFFIXES


def show(found: Differences, first: str, second: str) -> None:
    """The differences as a table, and a sentence for each group that was asked."""
    if found.found:
        head = ["kind", "example", "right is", Path(first).name, Path(second).name, ""]
        show_table(head, [_row(d) for d in found.found[:_SHOWN]])
    if len(found) > _SHOWN:
        say(f"... and {len(found) - _SHOWN} more")
    for group, count in found.asked.items():
        if count:
            say(f"{group}: {len(found.of(group))} of {count} are answered differently.")
    for what, classes in (("Gone", found.gone), ("New", found.new)):
        if classes:
            say(f"{what} classes: {', '.join(map(str, classes))}")
    say(f"{len(found.repairs)} became right, {len(found.regressions)} became wrong.")


def _row(d: Difference) -> list[str]:
    verdict = "better" if d.second == d.expected else "worse" if d.first == d.expected else ""
    right = "" if d.expected is None else str(d.expected)
    return [d.group, d.id, right, str(d.first), str(d.second), verdict]


def _flat(found: Differences) -> dict[str, object]:
    groups = {f"{group}_asked": count for group, count in found.asked.items()}
    groups |= {f"{group}_different": len(found.of(group)) for group in found.asked}
    return {
        "kshot": len(found), **groups, "regressions": [d.id for d in found.regressions],
        "repairs": [d.id for d in found.repairs], "gone": list(found.gone), "new": list(found.new),
    }  # fmt: skip
