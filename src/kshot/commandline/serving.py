"""Commands of the service: serve, keys."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import urllib.request
import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kshot.commandline.output import guarded, say
from kshot.errors import SettingError, need

if TYPE_CHECKING:
    from kshot.serving.service import Service
    from kshot.serving.store import Store

keys = typer.Typer(help="Keys of the service.", no_args_is_help=True)
DataDir = Annotated[Path, typer.Option("--data-dir", help="Folder of the store.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database", envvar="KSHOT_DATABASE", help="postgresql://... instead of a file in the folder."
    ),
]
ArtifactsUrl = Annotated[
    str | None,
    typer.Option("--artifacts", envvar="KSHOT_ARTIFACTS", help="Where large blobs go: file:///..., s3://..."),
]
_HERE = ("127.0.0.1", "::1", "localhost")
_LOCAL_NAMES = ("127.0.0.1", "[::1]", "localhost")


def open_store(folder: Path, database: str | None, artifacts: str | None) -> Store:
    """The store of a folder, or of a database by URL.

    Raises:
        SettingError: its schema is older or newer, or the URL is of no database that is known.
    """
    for module in ("sqlalchemy", "cryptography", "fsspec"):
        need(module, "serve")
    from kshot.serving.store import Store

    return Store.at(folder, artifacts) if database is None else Store(database, artifacts)


def _service(
    folder: Path, bases: dict[str, Any], database: str | None = None, artifacts: str | None = None
) -> Service:
    for module in ("fastapi", "uvicorn", "httptools", "prometheus_client", "pydantic_settings"):
        need(module, "serve")
    from kshot.serving.service import Service

    return Service(open_store(folder, database, artifacts), bases)


@guarded
def serve(
    base: Annotated[
        list[str] | None, typer.Option("--base", help="name=spec, or a name; may be given several times.")
    ] = None,
    host: Annotated[str, typer.Option(help="Another than 127.0.0.1 needs keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where to listen.")] = 8000,
    data_dir: DataDir = Path("kshot-data"),
    database: DatabaseUrl = None,
    artifacts: ArtifactsUrl = None,
    keep_versions: Annotated[
        int | None, typer.Option(min=1, help="Drop all but so many versions of each model at the start.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Processor threads of one encoding.")] = 1,
    log: Annotated[bool, typer.Option(help="Write a JSON line per request to standard error.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve bases over HTTP: post examples, get a model, ask it. Open http://127.0.0.1:8000 to teach by hand.

    A spec is a bundled base (glyphs), your own .kshot file, a text encoder (hash:ngram), or the name of a
    downloaded network. Limits are environment variables such as KSHOT_BODY_BYTES; see docs/serve.md.

    Example:  kshot serve --base glyphs --base desk=hash:ngram --port 8000 --data-dir data
    """
    from kshot.commandline import sources

    bases = {name: sources.base_of(spec) for name, spec in named(base or ["glyphs"])}
    service = _service(data_dir, bases, database, artifacts)
    try:
        from kshot.serving.service import space_left

        service.store.keep_versions = keep_versions
        service.store.sweep(space_left, orphans=False)
        with_keys = service.store.has_keys()
        if host not in _HERE and not with_keys:
            raise SettingError(
                f"host is {host!r} and there are no keys; make one first: kshot keys create TENANT, or stay on 127.0.0.1"
            )
        _free(host, port)
        import torch

        from kshot.serving.http import create_app, server

        torch.set_num_threads(threads)
        if log:
            server.log_requests()
        app = create_app(service, keys=with_keys, hosts=None if with_keys else _LOCAL_NAMES)
        who = "keys are needed" if with_keys else "for this machine alone, without keys"
        say(f"kshot serves {', '.join(service.bases)} at http://{host}:{port} ({who}); Ctrl-C stops it")
        if open_page:
            open_soon(f"http://{host if host in _HERE else '127.0.0.1'}:{port}")
        server.serve(app, host, port)
    finally:
        service.close()


def _free(host: str, port: int) -> None:
    """Raise SettingError where nobody can listen at the address, before it is said that somebody does."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(found[0], found[1]) as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(found[4])
    except (OSError, OverflowError) as cause:
        raise SettingError(
            f"{host}:{port} cannot be listened at ({getattr(cause, 'strerror', None) or cause}); stop what listens there, or "
            f"choose another --port, for example {port + 1 if 0 < port < 65535 else 8000}"
        ) from None


def open_soon(address: str, patience: float = 30.0) -> threading.Thread:
    """Open a browser at an address as soon as it answers; without a browser nothing happens."""

    def wait() -> None:
        end = time.monotonic() + patience
        while time.monotonic() < end:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/livez", timeout=2):
                webbrowser.open(address)
                return
            time.sleep(0.1)

    started = threading.Thread(target=wait, name="kshot-open", daemon=True)
    started.start()
    return started


def named(bases: list[str]) -> list[tuple[str, str]]:
    """Names and specs of `--base`.

    Raises:
        SettingError: a name that cannot stand in a request, or one that is given twice.

    >>> named(["glyphs", "desk=hash:ngram"])
    [('glyphs', 'glyphs'), ('desk', 'hash:ngram')]
    """
    found: dict[str, str] = {}
    for item in bases:
        name, given, spec = item.partition("=")
        if not given:
            name, spec = (Path(item).name.removesuffix(".kshot") if item.endswith(".kshot") else item), item
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", name):
            raise SettingError(
                f"base name {name!r}: 1 to 64 letters, digits, '.', '_', ':' or '-'; give one: --base NAME={spec}"
            )
        if name in found:
            raise SettingError(f"base name {name!r} is given twice; give each its own: --base NAME={spec}")
        found[name] = spec
    return list(found.items())


@keys.command("create")
@guarded
def create(
    tenant: str,
    scopes: Annotated[str, typer.Option(help="Of read, predict, adapt, admin.")] = "read,predict,adapt",
    data_dir: DataDir = Path("kshot-data"),
    database: DatabaseUrl = None,
) -> None:
    """Make a key for a tenant and show it, once.

    Example:  kshot keys create acme --data-dir data
    """
    service = _service(data_dir, {}, database)
    from kshot.serving.http import make_key

    say(make_key(service, tenant, scopes))
    service.close()


@keys.command("list")
@guarded
def list_keys(data_dir: DataDir = Path("kshot-data")) -> None:
    """Show every key's first characters, tenant, scopes and day.

    Example:  kshot keys list --data-dir data
    """
    service = _service(data_dir, {})
    found = service.store.list_keys()
    service.close()
    for prefix, tenant, scopes, made in found:
        say(f"{prefix}...  {tenant}  {scopes}  {datetime.fromtimestamp(made, UTC):%Y-%m-%d}")
    if not found:
        say("There are no keys; make one: kshot keys create TENANT")


@keys.command("revoke")
@guarded
def revoke(prefix: str, data_dir: DataDir = Path("kshot-data"), database: DatabaseUrl = None) -> None:
    """Revoke the key that starts with these 11 characters.

    Example:  kshot keys revoke ks_Ab3dEf9h
    """
    service = _service(data_dir, {}, database)
    count = service.store.revoke(prefix)
    service.close()
    if not count:
        raise SettingError(f"no key starts with {prefix!r}; give the first 11 characters")
    say(f"{count} key revoked.")
