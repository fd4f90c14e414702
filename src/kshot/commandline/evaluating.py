"""The command evaluate: a base on many random tasks, or a saved task on examples that it was not taught."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kshot.commandline import sources
from kshot.commandline.columns import Columns, InputOption, LabelOption
from kshot.commandline.devices import DeviceOption, pick_device
from kshot.commandline.golden import is_task
from kshot.commandline.judged import judge_task, no_settings
from kshot.commandline.output import JSON_HELP, SEED_HELP, console, finish, guarded, say, show_table
from kshot.data import Episodes, Pool
from kshot.encoders import Encoder, VectorEncoder, identity
from kshot.errors import SettingError, UnsupportedError
from kshot.evaluation import CrossDomain, cross_domain, write_report
from kshot.evaluation.baselines import LogisticRegression, logistic_regression, nearest_mean
from kshot.evaluation.files import SUFFIXES
from kshot.evaluation.reliability import sentence
from kshot.evaluation.table import HEAD, NUMERIC, cells
from kshot.learners import Learner, ProtoNet
from kshot.tasks import NWayKShot

Json = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
Seed = Annotated[int, typer.Option(help=SEED_HELP)]
_WAYS, _QUERIES = 5, 15
"""What is judged on where nobody says and the data have it."""


@guarded
def evaluate(
    context: typer.Context,
    base: Annotated[
        str,
        typer.Argument(help="A base: 'glyphs', 'hash:ngram' for texts, or a .kshot file. Or a saved task."),
    ],
    data: Annotated[list[str], typer.Option(help=sources.DATA_HELP + " Give it several times to compare.")],
    ways: Annotated[
        int | None, typer.Option(help="Classes per task; by default 5, or all where the data have fewer.")
    ] = None,
    shots: Annotated[int, typer.Option(help="Examples per class.")] = 1,
    queries: Annotated[
        int | None,
        typer.Option(help="Inputs to answer per class; by default 15, or what the smallest class has left."),
    ] = None,
    tasks: Annotated[int, typer.Option(help="How many random tasks; more make the interval narrower.")] = 600,
    seed: Seed = 0,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also judge raw pixels, or raw numbers, on the same tasks.")
    ] = False,
    input: InputOption = None,
    label: LabelOption = None,
    out: Annotated[
        list[Path] | None, typer.Option("--out", "-o", help="Report file: .json, .md or .html.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: Json = False,
) -> None:
    """Measure a base on many random tasks, with a 95 % interval; or a saved task on examples that it was not taught.

    Classes that the base was trained on are left out where its card names them. A saved task is asked every example of
    DATA; the settings of random tasks are not for it.

    Example:  kshot evaluate glyphs --data digits --shots 5 --out report.html

    Example:  kshot evaluate desk.kshot --data test.csv
    """
    if is_task(base):
        no_settings(context)
        judge_task(base, data, (input, label), as_json)
        return
    _check_reports(out or [])
    learner = sources.base_of(base).to(pick_device(device))
    learners: dict[str, Learner] = {"kshot": learner}
    if baselines:
        learners |= _baselines(learner.encoder)
    tested: dict[str, Episodes] = {}
    for name in data:
        found = unseen(learner, name, Columns.asked(input, label, learner), seed)
        source = Episodes(found, _sampler(name, found, ways, shots, queries))
        tested[name if source.pool.name in tested else source.pool.name or name] = source
    with console().status("measuring ..."):
        table = cross_domain(learners, tested, tasks=tasks, seed=seed)
    _show_measured(table, len(data) > 1)
    for file in out or []:
        say(f"Report: {write_report(table.rows, file, title=f'{base}: {_sizes(tested)}')}")
    finish(_flat(table), as_json)


def _check_reports(out: list[Path]) -> None:
    for file in out:
        if file.suffix.lower() not in SUFFIXES:
            raise SettingError(
                f"{file} ends in {file.suffix or 'nothing'!r}; a report is {', '.join(SUFFIXES)}"
            )


def _show_measured(table: CrossDomain, several: bool) -> None:
    show_table(HEAD, [cells(row) for row in table.rows], right=NUMERIC)
    if several:
        say("")
        show_table(table.head, table.cells, right=range(2, len(table.head)))
    for row in table.rows:
        if told := sentence(row.report.reliability):
            say(f"{row.learner} on {row.data}: {told}")


def _baselines(encoder: Encoder) -> dict[str, Learner]:
    if encoder.modality == "text":
        raise UnsupportedError("--baselines are raw pixels or numbers, which texts do not have: leave it out")
    if isinstance(encoder, VectorEncoder):
        raw = identity(encoder.inputs, mean=encoder.mean, std=encoder.std)
        return {"nearest_mean": ProtoNet(raw), "logistic_regression": LogisticRegression(raw)}
    return {"nearest_mean": nearest_mean(), "logistic_regression": logistic_regression()}


def unseen(learner: Learner, data: str, columns: Columns, seed: int) -> Pool:
    """The classes of DATA that the base was not trained on."""
    pool = sources.pool(data, columns=columns, seed=seed)
    sources.check_fits(learner.encoder, pool)
    card = getattr(learner, "card", {})
    used = set(card.get("classes", ())) if card.get("data") == pool.name else set()
    kept = [place for place, label in enumerate(pool.classes) if str(label) not in used]
    if 0 < len(kept) < len(pool.classes):
        say(f"{data}: {len(pool.classes) - len(kept)} classes that the base was trained on are left out.")
        pool = pool.only(kept)
    return pool


def _sampler(data: str, pool: Pool, ways: int | None, shots: int, queries: int | None) -> NWayKShot:
    """Tasks of the size that was asked for; where nothing was, of one that the data can make, and it is said.

    Raises:
        TaskError: the data cannot make such tasks; names the class that is too small.
    """
    classes, least = len(pool.classes), min(pool.sizes)
    chosen = NWayKShot(
        max(2, min(_WAYS, classes)) if ways is None else ways,
        shots,
        max(1, min(_QUERIES, least - shots)) if queries is None else queries,
    )
    chosen.check(pool.sizes, pool.names)
    if ways is None and chosen.ways < _WAYS:
        say(f"{data} has {classes} classes: tasks have {chosen.ways} (--ways sets it).")
    if queries is None and chosen.queries < _QUERIES:
        name = pool.names[pool.sizes.index(least)]
        say(
            f"Class {name!r} of {data} has {least} examples: {chosen.queries} a class {_are(chosen.queries)} asked beside the "
            f"{shots} taught (--queries sets it)."
        )
    return chosen


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _sizes(tested: dict[str, Episodes]) -> str:
    """For example "5-way 1-shot"."""
    samplers = [source.sampler for source in tested.values()]
    said = dict.fromkeys(f"{s.ways}-way {s.shots}-shot" for s in samplers if isinstance(s, NWayKShot))
    return ", ".join(said)


def report_figures(name: str, report: Any) -> dict[str, Any]:
    """Flat figures of a report; accuracies in per cent."""
    scale = 100.0 if report.metric == "accuracy" else 1.0
    i = report.interval
    return {
        name: scale * i.mean, f"{name}_low": scale * i.low, f"{name}_high": scale * i.high,
        f"{name}_tasks": i.count, f"{name}_regime": report.regime,
        **{f"{name}_{figure}": value for figure, value in report.reliability.items()},
    }  # fmt: skip


def _flat(table: CrossDomain) -> dict[str, Any]:
    """Flat figures: plain names where there is one kind of data, else with the data behind them."""
    several = len({row.data for row in table.rows}) > 1
    out: dict[str, Any] = {}
    for row in table.rows:
        out |= report_figures(f"{row.learner}_{row.data}" if several else row.learner, row.report)
    if several:
        own = [row.report.mean for row in table.rows if row.learner == "kshot"]
        out = {"kshot": 100 * sum(own) / len(own), **out}
    return out
