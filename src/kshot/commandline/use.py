"""Commands about a task: adapt, add, remove, predict, explain, show."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from kshot.commandline import sources
from kshot.commandline.answers import Answer, Skipped, answer_files, write_csv
from kshot.commandline.output import JSON_HELP, console, finish, guarded, say, show_table
from kshot.commandline.shown import facts
from kshot.errors import DataError
from kshot.evaluation.page import note, page, section
from kshot.explanation import evidence, evidence_bars, gallery
from kshot.learners import Adapted, Explanation
from kshot.storage import replace_file

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
            help="A base: 'glyphs' (comes with kshot, for single characters), a .kshot file, or a network from kshot get."
        ),
    ],
    folder: Annotated[str, typer.Argument(help=sources.DATA_HELP)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to save the task.")] = Path("task.kshot"),
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be read.")
    ] = False,
    small: Annotated[
        bool, typer.Option("--small", help="Save without the base: smaller, but needs the base to load.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Teach a base new classes from a few examples each.

    One folder per class, a handful of pictures in each; the folders' names are the answers it will give.

    Example:  kshot adapt glyphs my_stamps/ -o stamps.kshot
    """
    learner = sources.base_of(base)
    pool = sources.pool(folder, skip_unreadable=skip_unreadable)
    start = time.perf_counter()
    task = learner.adapt(pool.inputs, sources.labels(pool), ids=sources.names(pool, Path(folder)))
    seconds = time.perf_counter() - start
    task.save(out, include_base=not small)
    counts = dict(zip(pool.classes, pool.sizes, strict=True))
    say(
        f"Learned {len(counts)} classes from {len(task)} examples in {1000 * seconds:.0f} ms; saved as {out}."
    )
    show_table(["class", "examples"], [[str(c), str(n)] for c, n in list(counts.items())[:_SHOWN]], right=[1])
    say(f"Next: kshot predict {out} FOLDER --csv answers.csv")
    finish(
        {"kshot": len(task), "classes": len(counts), "milliseconds": 1000 * seconds, "file": str(out)},
        as_json,
    )


@guarded
def add(
    task: TaskArgument,
    folder: Annotated[str, typer.Argument(help="More examples, in the same form as for kshot adapt.")],
    out: OutOption = None,
    base: BaseOption = None,
    as_json: Json = False,
) -> None:
    """Teach a saved task further examples, also of new classes. Nothing it knew is lost.

    Example:  kshot add stamps.kshot more_stamps/
    """
    before = sources.task_of(task, base)
    pool = sources.pool(folder)
    ids = sources.names(pool, Path(folder))
    free = None if ids is None else _free_names(ids, set(before.ids))
    after = before.add(pool.inputs, sources.labels(pool), ids=free)
    _save_changed(task, after, out)
    new = sorted(set(map(str, after.targets)) - set(map(str, before.targets)))
    say(f"{len(pool)} examples added: {len(before)} -> {len(after)} examples, {after.space.size} classes.")
    if new:
        say(f"New classes: {', '.join(new)}")
    finish(
        {"kshot": len(after), "added": len(pool), "classes": after.space.size, "file": str(out or task)},
        as_json,
    )


def _free_names(wanted: list[str], taken: set[str]) -> list[str]:
    """Each name as it is, or with a number behind it where it is taken."""
    out = []
    for name in wanted:
        free, number = name, 2
        while free in taken:
            free, number = f"{name} ({number})", number + 1
        taken.add(free)
        out.append(free)
    return out


def _save_changed(name: str, task: Adapted, out: Path | None) -> None:
    """Save as the file was: with its base inside where it had it."""
    inside = bool(facts(Path(name))["base_inside"])
    task.save(out or Path(name), include_base=inside)


@guarded
def remove(
    task: TaskArgument,
    ids: Annotated[list[str], typer.Argument(help="Names of examples, as kshot show lists them.")],
    out: OutOption = None,
    base: BaseOption = None,
    as_json: Json = False,
) -> None:
    """Make a saved task forget examples, as if it had never seen them.

    Example:  kshot remove stamps.kshot penny/3.png
    """
    before = sources.task_of(task, base)
    after = before.remove(ids)
    _save_changed(task, after, out)
    say(f"Forgotten: {', '.join(ids)}. {len(before)} -> {len(after)} examples, {after.space.size} classes.")
    finish({"kshot": len(after), "removed": len(before) - len(after), "file": str(out or task)}, as_json)


@guarded
def predict(
    task: TaskArgument,
    paths: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    csv: Annotated[Path | None, typer.Option("--csv", help="Write all answers to this file.")] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Name and count unreadable files instead of stopping.")
    ] = False,
    base: BaseOption = None,
    as_json: Json = False,
) -> None:
    """Answer pictures with a saved task, one or many thousands.

    "unknown" means: this looks like none of the classes.

    Example:  kshot predict stamps.kshot new_pictures/ --csv answers.csv
    """
    ready = sources.task_of(task, base)
    skipped = Skipped()
    answers = answer_files(ready, sources.pictures(paths), skipped if skip_unreadable else None)
    shown: list[Answer] = []
    unknown = 0

    def watched() -> Any:
        nonlocal unknown
        for answer in answers:
            unknown += answer.unknown
            if len(shown) < _SHOWN:
                shown.append(answer)
            yield answer

    count = write_csv(ready, watched(), csv) if csv else sum(1 for _ in watched())
    rows = [
        [str(a.file), str(a.label), f"{100 * a.probability:.0f} %", "unknown" if a.unknown else ""]
        for a in shown
    ]
    show_table(["file", "answer", "sure", ""], rows, right=[2])
    _summary(count, len(shown), unknown, skipped, csv)
    finish({"kshot": count, "unknown": unknown, "skipped": len(skipped.reasons), "csv": csv}, as_json)


def _summary(count: int, shown: int, unknown: int, skipped: Skipped, csv: Path | None) -> None:
    if count > shown:
        say(
            f"... and {count - shown} more"
            + ("." if csv else "; write them all to a file with --csv answers.csv")
        )
    say(
        f"{count} files answered, {unknown} of them unknown." + (f" All answers are in {csv}." if csv else "")
    )
    for reason in list(skipped.reasons.values())[:10]:
        typer.echo(f"Skipped: {reason}", err=True)
    if skipped.reasons:
        typer.echo(f"{len(skipped.reasons)} files could not be read and were left out.", err=True)


@guarded
def explain(
    task: TaskArgument,
    image: Annotated[Path, typer.Argument(help="One picture.")],
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page with the pictures.")] = None,
    base: BaseOption = None,
    as_json: Json = False,
) -> None:
    """Say which of the taught examples decided the answer to one picture, and by how much.

    Example:  kshot explain stamps.kshot new.png --html why.html
    """
    ready = sources.task_of(task, base)
    if not image.is_file():
        raise DataError(f"{image} is not a file; give one picture")
    found = ready.explain([image])
    say(f"Answer: {found.label}, probability {100 * found.probability:.0f} %. The examples that decided it:")
    unicode = (console().encoding or "").lower().startswith("utf")
    for line in evidence_bars(found, most=10, unicode=unicode):
        say(f"  {line}")
    say(
        "Points: how far the probability would fall without the example. Exact: adapted again without each in turn."
    )
    if html:
        replace_file(html, _why(ready, image, found).encode())
        say(f"With pictures: {html}")
    strongest = found.evidence[0]
    finish(
        {"kshot": found.probability, "label": found.label, "strongest": strongest.id,
         "contribution": strongest.contribution, "html": html}, as_json,
    )  # fmt: skip


def _why(task: Adapted, image: Path, found: Explanation) -> str:
    shown = task.learner.encoder.read([image])[0]
    lead = f"{image.name} was answered with “{found.label}”, probability {100 * found.probability:.0f} %."
    body = section(
        "The examples that decided it",
        "Each bar says by how many points the probability would fall had the example never been shown. Green "
        "examples spoke for the answer, red ones against it.",
        evidence(task, found, most=20),
        note(f"{found.method[:1].upper()}{found.method[1:]}."),
    )
    asked = section("The picture", "", gallery([shown], [image.name], side=140))
    return page("Why this answer?", lead, [asked, body], "Made by kshot explain.")


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
