"""Commands about data and bases: train, check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from kshot.commandline import recipes, sources
from kshot.commandline.columns import Columns, InputOption, LabelOption, is_table
from kshot.commandline.devices import DeviceOption, pick_device
from kshot.commandline.evaluating import report_figures
from kshot.commandline.gathered import FromTasksOption, train_on
from kshot.commandline.golden import check_task, is_task
from kshot.commandline.output import JSON_HELP, SEED_HELP, finish, guarded, say, show_table
from kshot.commandline.prepare import channels_of, task_source
from kshot.data import Pool, Table, inspect
from kshot.encoders import Encoder, VectorEncoder
from kshot.errors import SettingError
from kshot.learners import save_learner
from kshot.tasks import NWayKShot
from kshot.tracking import tracker
from kshot.training import Run, fit, speaks

Json = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
Seed = Annotated[int, typer.Option(help=SEED_HELP)]


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
    device: DeviceOption = "auto",
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
        figures |= report_figures("kshot", run.best)
    say(f"Saved {out}; log and checkpoint are in {folder}.")
    if len(test.classes) >= judged.ways:
        say(f"Next: kshot evaluate {out} --data DATA --ways {judged.ways} --shots {judged.shots}")
    finish(figures, as_json)


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
