"""The demo from start to end. It tells through the console it is given and returns its figures."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from kshot.data import Episodes, GlyphTasks, Pool
from kshot.demo import compare, learn, lesson, report
from kshot.demo.handwriting import digits, omniglot_folder, omniglot_test
from kshot.demo.plan import Plan, plan
from kshot.errors import BundleError
from kshot.evaluation import Confusion, Row, confusion
from kshot.evaluation.table import figure, milliseconds
from kshot.explanation import evidence_bars, picture_lines
from kshot.learners import Learner
from kshot.storage import replace_file
from kshot.tasks import NWayKShot
from kshot.training import Run


@dataclass(frozen=True)
class _Scene:
    """What all acts share."""

    console: Console
    out: Path
    chosen: Plan
    seed: int
    started: float

    def act(self, number: int, title: str) -> None:
        """A heading with the time gone by."""
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        self.console.print()
        self.console.rule(f"[bold]{number}. {title}[/bold]  [dim]{minutes}:{seconds:02d}[/dim]", align="left")

    def say(self, text: str) -> None:
        """A line of plain text."""
        self.console.print(text, highlight=False)


def run_demo(
    console: Console,
    *,
    out: Path,
    effort: str = "quick",
    seed: int = 0,
    data: Path | None = None,
    chosen: Plan | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train, compare, explain, save and check; returns one JSON object with all figures.

    Args:
        out: folder for report.html, base.kshot, digits.kshot and pictures/.
        effort: quick, normal or best. chosen: a plan of your own instead.
        data: a folder that holds Omniglot, for a second kind of handwriting.

    Raises:
        SettingError: no such effort.
        BundleError: the saved task answers differently in a fresh process.
    """
    scene = _Scene(console, out, chosen or plan(effort), seed, time.monotonic())
    train, run = _learn(scene, effort, progress)
    pools = _handwriting(scene, data)
    rows = _compare(scene, run.learner, pools)
    base = learn.keep_base(run, scene.chosen, seed, out / "base.kshot")
    run.learner.name = "base"
    taught = _explain(scene, run.learner, pools[0])
    matrix, same = _keep(scene, taught, run.learner, pools[0])
    commands = next_commands(base, out / "pictures", lesson.asked_name(taught, taught.place))
    page = _write_report(scene, run, train, rows, pools[0], taught, matrix, commands)
    _end(scene, page, commands)
    return {
        **compare.figures(rows),
        "lesson_right": taught.right,
        "lesson_asked": len(taught.asked),
        "same_in_fresh_process": same,
        "training_seconds": round(run.history[-1]["seconds"], 1),
        "seconds": round(time.monotonic() - scene.started, 1),
        "report": str(page),
        "seed": seed,
        "effort": effort,
    }


def _learn(scene: _Scene, effort: str, progress: bool) -> tuple[GlyphTasks, Run]:
    chosen = scene.chosen
    scene.act(1, "Learning to learn, on characters that do not exist")
    table = Table(
        "setting", "value", "why", title=f"effort: {effort}", box=None, title_justify="left", pad_edge=False
    )
    for row in chosen.reasons():
        table.add_row(*row)
    scene.console.print(table)
    scene.say(
        f"\nDrawing {2 * chosen.classes * chosen.drawings:,} pictures of {chosen.classes} invented characters ..."
    )
    train, other = learn.invent(chosen, scene.seed)
    scene.say(
        f"Training. {len(other.pen)} characters are kept aside: the accuracy below is measured on them, "
        f"{other.ways} at a time, with one example of each (pure guessing: {100 / other.ways:.0f} %)."
    )
    run = learn.meta_train(chosen, train, other, scene.seed, progress=progress)
    last = run.history[-1]
    scene.say(f"Trained in {last['seconds']:.0f} seconds.")
    return train, run


def _handwriting(scene: _Scene, data: Path | None) -> list[Pool]:
    scene.act(2, "Real handwriting it has never seen")
    pools = [digits()]
    scene.say("Digits: 1,797 scans of 8 x 8 pixels that come with scikit-learn.")
    folder = omniglot_folder(data)
    if folder is not None:
        pools.append(omniglot_test(folder))
        scene.say(f"Omniglot: {len(pools[1].classes)} characters of many alphabets, from {folder}.")
    elif data is not None:
        scene.say(
            f"[yellow]{data} holds no Omniglot (looked for omniglot_28x28_uint8.npz); going on with digits.[/]"
        )
    return pools


def _compare(scene: _Scene, base: Learner, pools: list[Pool]) -> list[Row]:
    scene.say(
        "Each task: 5 signs with 1 or 5 examples of each, then 50 other pictures to name (guessing: 20 %)."
    )
    with scene.console.status("measuring ...") as status:
        rows = compare.compare(
            base,
            pools,
            scene.chosen,
            scene.seed,
            lambda row: status.update(f"measured: {row.data}, {row.learner}"),
        )
    scene.console.print(comparison_table(rows))
    scene.say(
        "[dim]shown: examples of each sign. right: share of pictures named correctly, with its 95 % interval over "
        "the tasks; all methods got the same tasks (fine-tuning, being slow, the first of them). learns in: "
        "milliseconds from the pictures of a new task to a model of it.[/]"
    )
    return rows


def comparison_table(rows: list[Row]) -> Table:
    """Rows of the comparison for a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", no_wrap=True)
    table.add_column("writing", no_wrap=True)
    table.add_column("shown", justify="right", no_wrap=True)
    table.add_column("right", justify="right", no_wrap=True)
    table.add_column("tasks", justify="right")
    table.add_column("learns in", justify="right", no_wrap=True)
    before = rows[0] if rows else None
    for row in rows:
        if before is not None and (row.data, row.report.protocol) != (before.data, before.report.protocol):
            table.add_section()
            table.add_row()
        before = row
        table.add_row(
            row.learner, row.data, compare.shots_of(row), figure(row.report), str(row.report.interval.count),
            f"{milliseconds(row.report.adapt_ms)} ms", style="bold green" if row.own else "",
        )  # fmt: skip
    return table


def _explain(scene: _Scene, base: Learner, pool: Pool) -> lesson.Lesson:
    scene.act(3, "Why this answer?")
    taught = lesson.teach(base, pool, scene.seed)
    found = taught.explanation
    scene.say(
        f"It was just taught ten digits from {lesson.SHOTS} pictures each, then asked {len(taught.asked)} others: "
        f"{taught.right} right. One of them:\n"
    )
    unicode = (scene.console.encoding or "").lower().startswith("utf")
    for line in picture_lines(taught.asked[taught.place].unsqueeze(0), height=8, unicode=unicode):
        scene.console.print(f"   {line}", markup=False, highlight=False)
    scene.say(
        f"\nAnswer: [bold]{found.label}[/bold], probability {100 * found.probability:.0f} % (it is "
        f"{taught.truth[taught.place]}). The examples that decided it, with what each one added:"
    )
    for line in evidence_bars(found, unicode=unicode):
        scene.console.print(f"   {line}", markup=False, highlight=False)
    scene.say("[dim]Exact, not a guess: the lesson was repeated without each example in turn.[/]")
    return taught


def _keep(scene: _Scene, taught: lesson.Lesson, base: Learner, pool: Pool) -> tuple[Confusion, bool]:
    scene.act(4, "Keeping it")
    bundle = taught.task.save(scene.out / "digits.kshot", include_base=True)
    _, ask = lesson.write_pictures(taught, scene.out / "pictures")
    scene.say(f"Saved the lesson with its base: {bundle} ({bundle.stat().st_size / 1024:.0f} KiB).")
    pictures = sorted(ask.glob("*.png"))
    here = lesson.fingerprint_of(taught.task.predict(pictures))
    if lesson.answers_again(bundle, ask) != here:
        raise BundleError(f"{bundle} answers differently in a fresh process; please report this as a bug")
    scene.say(f"Loaded it in a fresh process: the same {len(pictures)} answers, equal in every bit.")
    ten = Episodes(pool, NWayKShot(10, lesson.SHOTS, 10))
    return confusion(base, ten, tasks=max(scene.chosen.tasks // 4, 1), seed=scene.seed), True


def next_commands(base: Path, pictures: Path, asked: str) -> str:
    """The three commands to try next, to be typed where the demo was started."""
    mine, why = quoted(base.with_name("mine.kshot")), quoted(base.with_name("why.html"))
    return "\n".join(
        [
            f"kshot adapt {quoted(base)} {quoted(pictures / 'teach')} -o {mine}",
            f"kshot predict {mine} {quoted(pictures / 'ask')} --csv {quoted(base.with_name('answers.csv'))}",
            f"kshot explain {mine} {quoted(pictures / 'ask' / asked)} --html {why}",
        ]
    )


def quoted(path: Path) -> str:
    """A path as a shell of any system takes it."""
    text = str(path)
    return f'"{text}"' if any(c in text for c in " '&()$;") else text


def _write_report(
    scene: _Scene, run: Run, train: GlyphTasks, rows: list[Row], pool: Pool, taught: lesson.Lesson,
    matrix: Confusion, commands: str,
) -> Path:  # fmt: skip
    sweeps = compare.sweeps(run.learner, pool, scene.chosen, scene.seed)
    invented = torch.cat([train.pen[:8, 0], train.scanned[8:16, 0]])
    facts = (
        f"Made by kshot demo, seed {scene.seed}, on {platform.system()} {platform.machine()}, Python "
        f"{platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} processor threads, in "
        f"{time.monotonic() - scene.started:.0f} seconds."
    )
    text = report.build(scene.chosen, run, invented, rows, sweeps, taught, matrix, commands, facts)
    return replace_file(scene.out / "report.html", text.encode())


def _end(scene: _Scene, page: Path, commands: str) -> None:
    scene.say(f"Wrote the report with curves and pictures: [bold]{page}[/bold] (open it in a browser).")
    scene.act(5, "Your turn")
    scene.say("Replace the folder by pictures of your own, one folder per class:\n")
    for line in commands.splitlines():
        scene.console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    scene.console.print()
