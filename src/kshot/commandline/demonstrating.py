"""The command demo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from kshot.commandline.output import JSON_HELP, SEED_HELP, console, finish, guarded
from kshot.demo import run_demo
from kshot.demo.bandit import run_bandit
from kshot.demo.detect import run_detect
from kshot.demo.entities import run_entities
from kshot.demo.maze import run_maze
from kshot.demo.robot import run_robot
from kshot.demo.service import run_service
from kshot.errors import SettingError


@guarded
def demo(
    about: Annotated[
        str,
        typer.Argument(
            help="pictures; service: a service desk that you can talk to; detect: things found in pictures; entities: "
            "what is marked in texts; maze: planning a way; bandit: exploring; robot: joints break in mid-run."
        ),
    ] = "pictures",
    data: Annotated[
        Path | None,
        typer.Option(
            help="A folder that holds Omniglot, for a second kind of handwriting; for service, one with banking77; for "
            "detect, one with bccd or playing_cards; for entities, one with wnut17."
        ),
    ] = None,
    effort: Annotated[str, typer.Option(help="quick (about 4 minutes), normal or best.")] = "quick",
    seed: Annotated[int, typer.Option(help=SEED_HELP)] = 0,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the report, the base and the pictures.")
    ] = Path("demo"),
    encoder: Annotated[
        str | None, typer.Option(help="For service and entities: what reads texts, for example hash:ngram.")
    ] = None,
    script: Annotated[
        Path | None, typer.Option(help="For service: a file with what to say, a message a line.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """See it all once: train on invented characters, learn real handwriting, compare, explain, save.

    Needs no data and no graphics card. `kshot demo service` learns intents of a service desk from five sentences
    each, answers what you type, and is taught by you. `kshot demo detect` finds and names things in pictures,
    `kshot demo entities` in texts. `kshot demo maze` learns to plan in a new kind of map from 16 solved ones,
    `kshot demo bandit` learns which arm to pull, `kshot demo robot` breaks joints of a running robot; each writes
    its pictures.

    Example:  kshot demo
    """
    known = ("pictures", "service", "detect", "entities", "maze", "bandit", "robot")
    if about not in known:
        raise SettingError(f"demo is about {about!r}; there are {', '.join(known)}")
    if about == "entities":
        finish(run_entities(console(), out=out, data=data, spec=encoder, seed=seed), as_json)
        return
    if about == "detect":
        finish(run_detect(console(), out=out, data=data, seed=seed), as_json)
        return
    played: dict[str, Callable[..., dict[str, Any]]] = {
        "maze": run_maze,
        "bandit": run_bandit,
        "robot": run_robot,
    }
    if about in played:
        finish(played[about](console(), out=out, seed=seed), as_json)
        return
    if about == "service":
        finish(run_service(console(), data=data, spec=encoder, script=script), as_json)
        return
    finish(run_demo(console(), out=out, effort=effort, seed=seed, data=data), as_json)
