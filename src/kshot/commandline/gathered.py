"""Tasks gathered in use: a base learns on from them, and they move to a better base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from kshot import storage
from kshot.bundles import SUFFIX, bundled, load_learned
from kshot.commandline import sources
from kshot.commandline.columns import Columns
from kshot.commandline.golden import OnRegressionOption
from kshot.commandline.output import JSON_HELP, finish, guarded, say, show_table
from kshot.data import Episodes, GlyphTasks
from kshot.errors import BundleError, DataError, RegressionError, SettingError
from kshot.learners import Adapted, Learner, save_learner
from kshot.seeds import generator
from kshot.tasks import NWayKShot, TaskSource
from kshot.training import LearnedOn, Move, SavedTasks, Settings, learn_on
from kshot.training.learn_on import SETTINGS

FromTasksOption = Annotated[
    Path | None,
    typer.Option(
        "--from-tasks",
        help="A folder of tasks saved in use: the base named by --learner learns on from them. It is saved only if "
        "tasks kept aside do not become worse.",
    ),
]
_SHOWN = 15


def train_on(
    folder: Path,
    learner: str,
    out: Path,
    data: str | None,
    *,
    steps: int | None,
    seed: int,
    device: Any,
    as_json: bool,
) -> None:
    """`kshot train --from-tasks`: exit code 1, and nothing saved, where the new base is worse."""
    base = _base(learner).to(device)
    tasks = SavedTasks.read(folder, base=base)
    say(f"{folder}: {len(tasks.tasks)} saved tasks.")
    run = out.with_suffix(".run")
    settings = SETTINGS if steps is None else replace(SETTINGS, **_shorter(steps))
    besides = None if data is None else _besides(data, base, seed)
    found = learn_on(
        base, tasks, besides=besides, folder=run, settings=replace(settings, seed=seed), seed=seed
    )
    show(found)
    if found.adopted:
        name = base.name or learner
        save_learner(
            found.candidate, out, {**found.candidate.card, "learned on from": name, "tasks": len(tasks.tasks)}
        )
        say(f"Saved {out}. Move tasks to it: kshot rebase {out} {folder}")
    else:
        say(f"Nothing was saved; the log is in {run}.")
    finish(_flat(found, out), as_json)
    if not found.adopted:
        raise typer.Exit(1)


def _base(name: str) -> Learner:
    if not (name.endswith(SUFFIX) or name in bundled()):
        raise SettingError(
            f"--learner is {name!r}; with --from-tasks it names the base that learns on: a {SUFFIX} file or one of "
            f"{', '.join(bundled())}"
        )
    return sources.base_of(name)


def _shorter(steps: int) -> dict[str, Any]:
    Settings(steps=steps)
    return {
        "steps": steps,
        "warmup": min(SETTINGS.warmup, steps),
        "validate_every": max(min(steps // 5, 50), 1),
    }


def _besides(data: str, base: Learner, seed: int) -> TaskSource:
    """What the base goes on training on beside the gathered tasks."""
    if data == "glyphs":
        return GlyphTasks.draw(400, 8, generator(seed, "besides"), ways=20, queries=5)
    pool = sources.pool(data, columns=Columns.asked(None, base=base), seed=seed)
    sources.check_fits(base.encoder, pool)
    return Episodes(pool, NWayKShot(min(20, len(pool.classes)), 1, max(min(5, min(pool.sizes) - 1), 1)))


def show(found: LearnedOn) -> None:
    """Which tasks gained, which lost, and the decision."""
    moved = [*found.better()[:_SHOWN], *reversed(found.worse()[:_SHOWN])]
    if moved:
        show_table(["task", "served", "before", "after"], [_row(move) for move in moved], right=[2, 3])
    same = len(found.moves) - len(found.better()) - len(found.worse())
    say(f"{len(found.better())} tasks became better, {len(found.worse())} worse, {same} stayed equal (each example "
        "answered by its task without it).")  # fmt: skip
    say(f"{found.why[:1].upper()}{found.why[1:]}.")


def _row(move: Move) -> list[str]:
    served = {"train": "to train", "validation": "to choose by"}.get(move.part, "to decide by")
    return [move.file.name, served, f"{100 * move.before:.1f} %", f"{100 * move.after:.1f} %"]


def _flat(found: LearnedOn, out: Path) -> dict[str, Any]:
    gain = found.gain()
    held = [move for move in found.moves if move.part == "held back"]
    return {
        "kshot": found.adopted, "file": str(out) if found.adopted else None, "held_back_tasks": len(held),
        "before": 100 * sum(m.before for m in held) / len(held), "after": 100 * sum(m.after for m in held) / len(held),
        "gain": 100 * gain.mean, "gain_low": 100 * gain.low, "gain_high": 100 * gain.high,
        "better": len(found.better()), "worse": len(found.worse()), "tasks": len(found.moves),
    }  # fmt: skip


@guarded
def rebase(
    base: Annotated[str, typer.Argument(help="The base to move to: a .kshot file or 'glyphs'.")],
    tasks: Annotated[
        list[Path], typer.Argument(help="Saved tasks, or folders of them; they are changed in place.")
    ],
    old: Annotated[
        str | None,
        typer.Option("--old", help="Their present base, where it lies neither inside nor beside them."),
    ] = None,
    on_regression: OnRegressionOption = "warn",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Move saved tasks to another base: the same examples, learned anew.

    With --on-regression refuse, a task whose golden examples would become wrong stays as it is, and the exit code is 1.

    Example:  kshot rebase better.kshot my_tasks/
    """
    learner = sources.base_of(base)
    files = _files(tasks)
    moved, refused, rows = 0, 0, []
    for file in files:
        task = load_learned(file, base=sources.base_of(old) if old else None)
        if not isinstance(task, Adapted):
            raise BundleError(f"{file} is a base, not a task; name tasks or folders of them")
        try:
            found = task.rebase(learner, on_regression="ignore" if on_regression == "warn" else on_regression)
        except RegressionError as broken:
            refused += 1
            rows.append([file.name, "refused: " + ", ".join(r.id for r in broken.examples[:5])])
            continue
        moved += 1
        inside = "record" in (storage.peek(file) or {}).get("base", {})
        found.task.save(file, include_base=inside)
        if found.regressions and on_regression == "warn":
            rows.append(
                [file.name, "golden examples became wrong: " + ", ".join(r.id for r in found.regressions[:5])]
            )
    if rows:
        show_table(["task", ""], rows)
    say(f"{moved} of {len(files)} tasks moved to {base}, {refused} refused.")
    finish({"kshot": moved, "refused": refused, "tasks": len(files)}, as_json)
    if refused:
        raise typer.Exit(1)


def _files(paths: list[Path]) -> list[Path]:
    """Saved tasks: the given files, and those of folders; bases that lie there are passed over.

    Raises:
        DataError: a path that is not there, or a folder without tasks.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [
                f for f in sorted(path.rglob(f"*{SUFFIX}")) if (storage.peek(f) or {}).get("what") == "task"
            ]
            if not inside:
                raise DataError(f"{path} holds no saved tasks; name tasks or folders of them")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise DataError(f"{path} does not exist; check the path")
    return files
