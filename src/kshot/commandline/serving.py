"""Commands of the service: serve, keys, db."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kshot.commandline.output import guarded, say
from kshot.errors import SettingError, need

keys = typer.Typer(help="Keys of the service.", no_args_is_help=True)
db = typer.Typer(help="The database of the service.", no_args_is_help=True)
DataDir = Annotated[Path, typer.Option("--data-dir", help="Folder of the store.")]
_HERE = ("127.0.0.1", "::1", "localhost")


def _service(folder: Path, bases: dict[str, Any]) -> Any:
    for module in ("sqlalchemy", "fastapi", "uvicorn", "prometheus_client"):
        need(module, "serve")
    from kshot.serving.service import Service
    from kshot.serving.store import Store

    return Service(Store.at(folder), bases)


@guarded
def serve(
    base: Annotated[
        list[str] | None, typer.Option("--base", help="name=spec, or a name; may be given several times.")
    ] = None,
    host: Annotated[str, typer.Option(help="Another than 127.0.0.1 needs keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where to listen.")] = 8000,
    data_dir: DataDir = Path("kshot-data"),
) -> None:
    """Serve bases over HTTP: post examples, get a model, ask it.

    Example:  kshot serve --base glyphs --port 8000 --data-dir data
    """
    from kshot.commandline import sources

    pairs = [item.partition("=") for item in base or ["glyphs"]]
    service = _service(data_dir, {name: sources.base_of(spec or name) for name, _, spec in pairs})
    try:
        with_keys = service.store.has_keys()
        if host not in _HERE and not with_keys:
            raise SettingError(
                f"host is {host!r} and there are no keys; make one first: kshot keys create TENANT, or stay on 127.0.0.1"
            )
        import uvicorn

        from kshot.serving.http import create_app

        app = create_app(service, keys=with_keys)
        say(f"kshot serves {', '.join(service.bases)} at http://{host}:{port}")
        uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=8)
    finally:
        service.close()


@keys.command("create")
@guarded
def create(
    tenant: str,
    scopes: Annotated[str, typer.Option(help="Of read, predict, adapt.")] = "read,predict,adapt",
    data_dir: DataDir = Path("kshot-data"),
) -> None:
    """Make a key for a tenant and show it, once.

    Example:  kshot keys create acme --data-dir data
    """
    service = _service(data_dir, {})
    from kshot.serving.http import make_key

    say(make_key(service, tenant, scopes))
    service.close()


@keys.command("revoke")
@guarded
def revoke(prefix: str, data_dir: DataDir = Path("kshot-data")) -> None:
    """Revoke the key that starts with these 11 characters.

    Example:  kshot keys revoke ks_Ab3dEf9h
    """
    service = _service(data_dir, {})
    count = service.store.revoke(prefix)
    service.close()
    if not count:
        raise SettingError(f"no key starts with {prefix!r}; give the first 11 characters")
    say(f"{count} key revoked.")


@db.command("backup")
@guarded
def backup(out: Path, data_dir: DataDir = Path("kshot-data")) -> None:
    """Copy the database whole, also while it is served.

    Example:  kshot db backup copy.db --data-dir data
    """
    service = _service(data_dir, {})
    say(f"Written: {service.store.backup(out)}")
    service.close()
