"""Commands of the service's database: upgrade, backup, copy, sweep, drop-features, check, rebase."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kshot.commandline.output import JSON_HELP, finish, guarded, say
from kshot.commandline.serving import ArtifactsUrl, DatabaseUrl, DataDir, named, open_store

db = typer.Typer(help="The database of the service.", no_args_is_help=True)
_HERE = Path("kshot-data")


@db.command("upgrade")
@guarded
def upgrade(data_dir: DataDir = _HERE, database: DatabaseUrl = None) -> None:
    """Bring the database to the schema of this kshot. Make a backup first; killed, it leaves the old one.

    Example:  kshot db upgrade --data-dir data
    """
    from kshot.serving import upgrading
    from kshot.serving.database import Database

    opened = Database(database or f"sqlite:///{(data_dir / 'kshot.db').absolute()}")
    try:
        before, now = upgrading.upgrade(opened)
    finally:
        opened.close()
    say(
        f"The database is at schema {now} already."
        if before == now
        else f"Schema {before or 'none'} -> {now}."
    )


@db.command("backup")
@guarded
def backup(
    out: Path, data_dir: DataDir = _HERE, database: DatabaseUrl = None, artifacts: ArtifactsUrl = None
) -> None:
    """Copy the database whole into a SQLite file, also while it is served; large blobs go to OUT.artifacts.

    The file is served by: kshot serve --database sqlite:///OUT --artifacts file:///OUT.artifacts

    Example:  kshot db backup copy.db --data-dir data
    """
    store = open_store(data_dir, database, artifacts)
    try:
        say(f"Written: {store.backup(out)}")
    finally:
        store.close()


@db.command("copy")
@guarded
def copy(
    to: Annotated[str, typer.Option(help="URL of an empty database.")],
    to_artifacts: Annotated[str | None, typer.Option(help="Where its large blobs go.")] = None,
    data_dir: DataDir = _HERE,
    database: DatabaseUrl = None,
    artifacts: ArtifactsUrl = None,
) -> None:
    """Copy everything into another database: from SQLite to PostgreSQL, or a backup back.

    Example:  kshot db copy --to postgresql://me@host/kshot --to-artifacts s3://bucket/kshot
    """
    store = open_store(data_dir, database, artifacts)
    try:
        say(f"{store.copy_to(to, to_artifacts)} rows copied.")
    finally:
        store.close()


@db.command("sweep")
@guarded
def sweep(
    keep_versions: Annotated[
        int | None, typer.Option(min=1, help="Newest versions of each model to keep.")
    ] = None,
    keep_answers: Annotated[
        float, typer.Option(min=0, help="Hours that idempotency answers are kept.")
    ] = 24.0,
    data_dir: DataDir = _HERE,
    database: DatabaseUrl = None,
    artifacts: ArtifactsUrl = None,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Drop old versions, examples that no version names any more, old answers, and large blobs without a row.

    Example:  kshot db sweep --keep-versions 10 --data-dir data
    """
    from kshot.serving.service import space_left

    store = open_store(data_dir, database, artifacts)
    try:
        store.keep_versions, store.keep_answers = keep_versions, keep_answers * 3600
        gone = store.sweep(space_left)
    finally:
        store.close()
    say("Dropped: " + ", ".join(f"{count} {what}" for what, count in gone.items()) + ".")
    finish(gone, json)


@db.command("drop-features")
@guarded
def drop_features(
    fingerprint: Annotated[str | None, typer.Option(help="Only those of this base.")] = None,
    data_dir: DataDir = _HERE,
    database: DatabaseUrl = None,
    artifacts: ArtifactsUrl = None,
) -> None:
    """Drop the cache of features. They are made again from the examples when a model is asked.

    Example:  kshot db drop-features --data-dir data
    """
    store = open_store(data_dir, database, artifacts)
    try:
        say(f"{store.drop_features(fingerprint)} blobs of features dropped.")
    finally:
        store.close()


@db.command("check")
@guarded
def check(data_dir: DataDir = _HERE, database: DatabaseUrl = None, artifacts: ArtifactsUrl = None) -> None:
    """Read everything and name what is damaged; exit code 1 where something is.

    Example:  kshot db check --data-dir data
    """
    store = open_store(data_dir, database, artifacts)
    try:
        count, damaged = store.check()
    finally:
        store.close()
    for where in damaged:
        say(f"Damaged: {where}")
    say(f"{count} models read, {len(damaged)} faults.")
    if damaged:
        raise typer.Exit(1)


@db.command("rebase")
@guarded
def rebase(
    old: Annotated[str, typer.Option("--from", help="Name of the base that models are on.")],
    new: Annotated[str, typer.Option("--to", help="Name of the base they go to.")],
    base: Annotated[
        list[str], typer.Option(help="name=spec of both, as for serve; the old one is only judged.")
    ],
    report: Annotated[
        Path | None, typer.Option(help="A line per model; by default in the data folder.")
    ] = None,
    data_dir: DataDir = _HERE,
    database: DatabaseUrl = None,
    artifacts: ArtifactsUrl = None,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Move every model to a better base: a new version each, encoded anew. Stopped, it goes on where it was.

    Example:  kshot db rebase --from desk --to desk2 --base desk=hash:ngram --base desk2=small.kshot
    """
    from kshot.commandline import sources
    from kshot.serving.rebasing import rebase_all
    from kshot.serving.service import Service

    bases = {name: sources.base_of(spec) for name, spec in named(base)}
    service = Service(open_store(data_dir, database, artifacts), bases)
    file = report or data_dir / f"rebase-{old}-{new}.jsonl"
    columns = (TextColumn("models"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("models", total=None)
            done = rebase_all(
                service,
                old,
                new,
                file,
                told=lambda count, total: bar.update(task, completed=count, total=total),
            )
    finally:
        service.close()
    say(f"{done}. A line per model is in {file}")
    finish({name: n for name, n in dataclasses.asdict(done).items() if isinstance(n, int)}, json)
