"""Commands about bases: train, evaluate, check."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from kshot.commandline import recipes, sources
from kshot.commandline.columns import Columns, InputOption, LabelOption, is_table
from kshot.commandline.gathered import FromTasksOption, train_on
from kshot.commandline.golden import check_task, is_task
from kshot.commandline.judged import judge_task, no_settings
from kshot.commandline.output import JSON_HELP, SEED_HELP, console, finish, guarded, say, show_table
from kshot.commandline.prepare import channels_of, task_source
from kshot.data import Episodes, Pool, Table, inspect
from kshot.encoders import Encoder, VectorEncoder, identity
from kshot.errors import SettingError, UnsupportedError
from kshot.evaluation import CrossDomain, cross_domain, write_report
from kshot.evaluation.baselines import LogisticRegression, logistic_regression, nearest_mean
from kshot.evaluation.files import SUFFIXES
from kshot.evaluation.reliability import sentence
from kshot.evaluation.table import HEAD, NUMERIC, cells
from kshot.learners import Learner, ProtoNet, save_learner
from kshot.tasks import NWayKShot
from kshot.tracking import tracker
from kshot.training import Run, fit, speaks

Json = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
Seed = Annotated[int, typer.Option(help=SEED_HELP)]
Device = Annotated[
    str,
    typer.Option(help="'cpu', 'cuda', ...; 'auto' takes a CUDA card where there is one, else the processor."),
]


@guarded
def train(
    data: Annotated[
        str | None, typer.Option(help=sources.DATA_HELP + " With --from-tasks: trained on besides.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to save the base.")] = Path("base.kshot"),
    from_tasks: FromTasksOption = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="The network that sees: conv4, resnet12, resnet50, ... for pictures; mlp, or identity for none, for rows "
            "of numbers. By default conv4 or mlp."
        ),
    ] = None,
    learner: Annotated[str, typer.Option(help=f"How it learns. {recipes.explained()}.")] = "protonet",
    effort: Annotated[
        str, typer.Option(help="quick, normal or best: ever more training steps; the number is printed.")
    ] = "quick",
    seed: Seed = 0,
    size: Annotated[
        int | None, typer.Option(help="Height and width in pixels that the network sees.")
    ] = None,
    ways: Annotated[int, typer.Option(help="Classes per task that the base is judged on.")] = 5,
    shots: Annotated[int, typer.Option(help="Examples per class that the base is judged on.")] = 1,
    steps: Annotated[int | None, typer.Option(help="Training steps, instead of the effort's.")] = None,
    input: InputOption = None,
    label: LabelOption = None,
    track: Annotated[list[str] | None, typer.Option(help="Also log to tensorboard or wandb.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Meta-train a base of your own, on data with many classes.

    It trains on some classes and is judged on others that it never saw. Ctrl-C stops; the same command goes on.
    Weights and numbers are float32 on every device. Started by torchrun (-m kshot train ...) it trains in several
    processes.

    Example:  kshot train --data my_photos/ --effort quick -o photos.kshot
    """
    where = pick_device(device)
    if from_tasks is not None:
        train_on(from_tasks, learner, out, data, steps=steps, seed=seed, device=where, as_json=as_json)
        return
    if data is None:
        raise SettingError(
            f"--data is {data}; name what to train on, or a folder of saved tasks with --from-tasks"
        )
    _train_on_data(
        data, out, Columns.asked(input, label), encoder, learner, effort,
        {"ways": ways, "shots": shots, "steps": steps, "seed": seed}, size, track or [], where, as_json,
    )  # fmt: skip


def _train_on_data(
    data: str, out: Path, columns: Columns, encoder: str | None, learner: str, effort: str,
    asked: dict[str, Any], size: int | None, track: list[str], device: torch.device, as_json: bool,
) -> None:  # fmt: skip
    """Derive everything from the data and the effort, train, save. `asked`: ways, shots, steps, seed."""
    seed = asked["seed"]
    found = sources.parts(data, columns=columns, seed=seed)
    encoder = encoder or recipes.usual_encoder(found.train)
    plan = recipes.derive(
        effort,
        learner,
        encoder,
        (found.train, found.validation),
        **asked,
    )
    say(f"{data}: {len(found.train.classes)} classes to train on, {len(found.validation.classes)} to choose by, "
        f"{len(found.test.classes)} kept for the end.")  # fmt: skip
    net = recipes.make_encoder(encoder, found.train, size=size, channels=channels_of(found.train), seed=seed)
    classes = len(found.train.classes)
    made = recipes.make_learner(learner, net, min(plan.judged.ways, classes), classes)
    made = made.to(device)
    show_table(["setting", "value", "why"], plan.reasons)
    folder = out.with_suffix(".run")
    run = fit(
        made,
        task_source(found.train, plan.sampler, net, training=True),
        validate=task_source(found.validation, plan.judged, net),
        folder=folder,
        trackers=[tracker(name, folder) for name in track],
        settings=plan.settings,
    )
    card = _card(data, found, encoder, learner, effort, plan.settings.to_json()) | _columns(
        data, columns, net
    )
    if speaks():
        save_learner(run.learner, out, card)
    _trained(run, out, folder, found.test, plan.judged, as_json)


def _card(
    data: str, found: sources.Parts, encoder: str, learner: str, effort: str, settings: Any
) -> dict[str, Any]:
    """How a base was made; the classes are named so that nobody judges it on them."""
    used = {str(c).partition("@")[0] for part in (found.train, found.validation) for c in part.classes}
    made = {"encoder": encoder, "learner": learner, "effort": effort, "settings": settings}
    return {"data": found.train.name or data, **made, "classes": sorted(used)}


def _columns(data: str, columns: Columns, net: Encoder) -> dict[str, Any]:
    """The columns of numbers that it was trained on, so that it finds them again in other tables."""
    if not (isinstance(net, VectorEncoder) and is_table(Path(data))):
        return {}
    table = Table.read(data)
    used = table.columns(columns.of(table), columns.label)
    shown = ", ".join(used[:8]) + (f", ... ({len(used)} in all)" if len(used) > 8 else "")
    say(f"An input is made of the columns {shown}.")
    return {"columns": list(used)} if len(used) == net.inputs else {}


def _trained(run: Run, out: Path, folder: Path, test: Pool, judged: NWayKShot, as_json: bool) -> None:
    figures: dict[str, Any] = {"file": str(out), "folder": str(folder), "steps": run.history[-1]["step"]}
    if run.best is not None:
        say(f"On classes it did not train on: {run.best}")
        figures |= _figures("kshot", run.best)
    say(f"Saved {out}; log and checkpoint are in {folder}.")
    if len(test.classes) >= judged.ways:
        say(f"Next: kshot evaluate {out} --data DATA --ways {judged.ways} --shots {judged.shots}")
    finish(figures, as_json)


def _figures(name: str, report: Any) -> dict[str, Any]:
    """Flat figures of a report; accuracies in per cent."""
    scale = 100.0 if report.metric == "accuracy" else 1.0
    i = report.interval
    return {
        name: scale * i.mean, f"{name}_low": scale * i.low, f"{name}_high": scale * i.high,
        f"{name}_tasks": i.count, f"{name}_regime": report.regime,
        **{f"{name}_{figure}": value for figure, value in report.reliability.items()},
    }  # fmt: skip


@guarded
def evaluate(
    context: typer.Context,
    base: Annotated[
        str,
        typer.Argument(help="A base: 'glyphs', 'hash:ngram' for texts, or a .kshot file. Or a saved task."),
    ],
    data: Annotated[list[str], typer.Option(help=sources.DATA_HELP + " Give it several times to compare.")],
    ways: Annotated[int, typer.Option(help="Classes per task.")] = 5,
    shots: Annotated[int, typer.Option(help="Examples per class.")] = 1,
    queries: Annotated[int, typer.Option(help="Pictures to answer per class.")] = 15,
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
    device: Device = "auto",
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
    sampler = NWayKShot(ways, shots, queries)
    tested: dict[str, Episodes] = {}
    for name in data:
        source = unseen(learner, name, Columns.asked(input, label, learner), sampler, seed)
        tested[name if source.pool.name in tested else source.pool.name or name] = source
    with console().status("measuring ..."):
        table = cross_domain(learners, tested, tasks=tasks, seed=seed)
    _show_measured(table, len(data) > 1)
    for file in out or []:
        say(f"Report: {write_report(table.rows, file, title=f'{base}: {ways}-way {shots}-shot')}")
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


def unseen(learner: Learner, data: str, columns: Columns, sampler: NWayKShot, seed: int) -> Episodes:
    """Tasks of the classes of DATA that the base was not trained on."""
    pool = sources.pool(data, columns=columns, seed=seed)
    sources.check_fits(learner.encoder, pool)
    card = getattr(learner, "card", {})
    used = set(card.get("classes", ())) if card.get("data") == pool.name else set()
    kept = [place for place, label in enumerate(pool.classes) if str(label) not in used]
    if 0 < len(kept) < len(pool.classes):
        say(f"{data}: {len(pool.classes) - len(kept)} classes that the base was trained on are left out.")
        pool = pool.only(kept)
    return Episodes(pool, sampler)


def _flat(table: CrossDomain) -> dict[str, Any]:
    """Flat figures: plain names where there is one kind of data, else with the data behind them."""
    several = len({row.data for row in table.rows}) > 1
    out: dict[str, Any] = {}
    for row in table.rows:
        out |= _figures(f"{row.learner}_{row.data}" if several else row.learner, row.report)
    if several:
        own = [row.report.mean for row in table.rows if row.learner == "kshot"]
        out = {"kshot": 100 * sum(own) / len(own), **out}
    return out


@guarded
def check(
    data: Annotated[str, typer.Argument(help=sources.DATA_HELP + " Or a saved task.")],
    input: InputOption = None,
    label: LabelOption = None,
    base: Annotated[
        str | None, typer.Option("--base", help="The base of a task that is neither inside nor beside it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what data are, what is wrong with them, and which tasks can be made of them.

    A saved task is asked its golden examples instead; one wrong answer gives exit code 1.

    Example:  kshot check my_photos/
    """
    if is_task(data):
        check_task(data, base, as_json)
        return
    found = inspect(sources.pool(data, columns=Columns.asked(input, label)))
    say(str(found))
    say("usable" if found.usable else "not usable as it is: see above")
    flat = {
        "kshot": found.usable, "kind": found.kind, "examples": found.examples, "classes": found.classes,
        "unreadable": len(found.unreadable), "duplicates": len(found.duplicates),
        "contradictions": len(found.contradictions), **found.works,
    }  # fmt: skip
    finish(flat, as_json)


def pick_device(name: str) -> torch.device:
    """A device by name; "auto" is the CUDA card where there is one, else the processor.

    Raises:
        SettingError: the machine has no such device.
    """
    if name == "auto":
        card = "cuda:" + os.environ.get("LOCAL_RANK", "0")  # torchrun gives each of its processes a card
        return torch.device(card if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as cause:
        raise SettingError(
            f"device {name!r} cannot be used here ({str(cause).splitlines()[0]}); use cpu or auto"
        ) from None
    return device
