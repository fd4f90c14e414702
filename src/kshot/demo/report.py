"""Act 4: one HTML file that tells the whole story."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kshot.demo.compare import OURS, shots_of
from kshot.demo.lesson import SHOTS, Lesson
from kshot.demo.plan import Plan
from kshot.evaluation import Confusion, Row, Sweep
from kshot.evaluation.charts import Curve, confusion, curves
from kshot.evaluation.html import sweep_chart
from kshot.evaluation.page import code, grid, note, page, section
from kshot.evaluation.table import figure, milliseconds, regimes
from kshot.explanation import evidence, gallery
from kshot.training import Run

LEAD = (
    "A small network was trained on characters that the program invented and drew itself. Then it was shown real "
    "handwriting for the first time, a few examples of each sign, and it learned them in milliseconds."
)


def build(
    chosen: Plan,
    run: Run,
    invented: Tensor,
    rows: Sequence[Row],
    sweeps: Sequence[Sweep],
    lesson: Lesson,
    matrix: Confusion,
    commands: str,
    facts: str,
) -> str:
    """The page. `invented` are a few training drawings [n, height, width]; `facts` is the last line."""
    sections = [
        _headline(rows),
        _training(chosen, run, invented),
        _results(rows),
        _shots(sweeps, rows),
        _lesson(lesson),
        _why(lesson),
        _confusion(matrix),
        section("What to try next", "These three commands work as they stand.", code(commands)),
    ]
    return page("It learned handwriting from a few examples", LEAD, sections, facts)


def _headline(rows: Sequence[Row]) -> str:
    own = [row for row in rows if row.own]
    lines = []
    for row in own:
        rivals = [
            r for r in rows if not r.own and (r.data, r.report.protocol) == (row.data, row.report.protocol)
        ]
        best = max(rivals, key=lambda r: r.report.mean)
        shots = "1 example" if shots_of(row) == "1" else f"{shots_of(row)} examples"
        lines.append(
            [row.data, f"{shots} of each of 5 signs", figure(row.report),
             f"{figure(best.report)} ({best.learner})"]
        )  # fmt: skip
    text = "How often the right one of five signs was named, with its 95 % interval. Pure chance is 20 %."
    return section(
        "In short",
        text,
        grid(["handwriting", "shown", OURS, "best without meta-training"], lines),
    )


def _training(chosen: Plan, run: Run, invented: Tensor) -> str:
    history = run.history
    xs = [h["step"] for h in history]
    line = Curve(
        "characters it has not trained on",
        xs,
        [h["validation_accuracy"] for h in history],
        [h["validation_half"] for h in history],
    )
    text = (
        f"{chosen.classes:,} characters were invented and drawn {chosen.drawings} times each, every time a little "
        f"differently. In each of {chosen.steps:,} training tasks the network saw one drawing of each of "
        f"{chosen.ways} characters and had to recognise further drawings of them."
    )
    names = [""] * len(invented)
    return section(
        "Training on invented characters",
        text,
        gallery(list(invented), names, side=52),
        curves([line], x="training tasks", y="one-shot accuracy", percent=True),
        note("The band is the 95 % interval over 100 validation tasks."),
    )


def _results(rows: Sequence[Row]) -> str:
    text = (
        "Every method got the same tasks. The time is what it takes to learn one new task from its pictures, on this "
        "machine's processor. Fine-tuning is slow, so it answered the first of the tasks only; the table says how many."
    )
    head = ["method", "handwriting", "examples", "right", "tasks", "learns in"]
    cells = [
        [row.learner, row.data, shots_of(row), figure(row.report), str(row.report.interval.count),
         f"{milliseconds(row.report.adapt_ms)} ms"]
        for row in rows
    ]  # fmt: skip
    own = [place for place, row in enumerate(rows) if row.own]
    ruled = grid(head, cells, numeric=[2, 3, 4, 5], own=own, rules=own[1:])
    regime = f"Regime: {', '.join(regimes(rows))} (every picture is answered on its own)."
    right = "Right: the share of pictures named correctly, with its 95 % interval over the tasks."
    return section("Real handwriting, never seen before", text, ruled, note(f"{right} {regime}"))


def _shots(sweeps: Sequence[Sweep], rows: Sequence[Row]) -> str:
    data = rows[0].data
    text = f"Five signs of {data}; the band is the 95 % interval."
    return section("More examples, better answers", text, sweep_chart(sweeps))


def _lesson(lesson: Lesson) -> str:
    first = [k for k in range(len(lesson.task)) if k % SHOTS < 2]
    taught = gallery(
        [lesson.task.inputs[k] for k in first], [str(lesson.task.targets[k]) for k in first], side=48
    )
    shown = list(range(0, len(lesson.asked), 2))
    names = [
        f"{lesson.answers.labels[k]} {'✓' if lesson.answers.labels[k] == lesson.truth[k] else '✗ is ' + lesson.truth[k]}"
        for k in shown
    ]
    asked = gallery([lesson.asked[k] for k in shown], names, side=48)
    text = (
        f"All ten digits at once, {SHOTS} pictures of each (two of the five are shown). Then {len(lesson.asked)} other "
        f"pictures were asked and {lesson.right} of them answered right (every second one is shown)."
    )
    return section(
        "One lesson", text, "<h2>Taught</h2>", taught, "<h2>Asked, with the answers given</h2>", asked
    )


def _why(lesson: Lesson) -> str:
    found = lesson.explanation
    text = (
        f"The picture below was answered with “{found.label}” at a probability of {100 * found.probability:.0f} % (it is "
        f"“{lesson.truth[lesson.place]}”). Each bar says by how many points that probability would fall had the "
        "example never been shown; red bars spoke for another answer. This is exact: the lesson was repeated "
        "without each example in turn."
    )
    asked = gallery([lesson.asked[lesson.place]], ["asked"], side=96)
    return section("Why this answer?", text, asked, evidence(lesson.task, found))


def _confusion(matrix: Confusion) -> str:
    text = (
        "All ten digits, five examples each, over many random lessons. Rows: what it was; columns: what was "
        "answered; each row adds up to 100 %."
    )
    return section("Which digits are mistaken for which", text, confusion(matrix.labels, matrix.counts))
