"""A PostgreSQL of our own for tests: started on loopback in a temporary folder, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_USERS = ("postgres", "nobody")


def programs() -> Path | None:
    """The folder with initdb and postgres: KSHOT_POSTGRES, on the PATH, or where Debian puts the newest."""
    named = os.environ.get("KSHOT_POSTGRES")
    if named:
        return Path(named)
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    kept = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return kept[-1].parent if kept else None


class Postgres:
    """A running server. `url` is that of a fresh database each time it is asked for."""

    def __init__(self, bin_: Path, folder: Path) -> None:
        self.bin, self.folder, self._count = bin_, folder, 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._as: dict[str, int] = {}
        if os.getuid() == 0:  # initdb refuses root
            user = next(pwd.getpwnam(name) for name in _USERS if _known(name))
            self._as = {"user": user.pw_uid, "group": user.pw_gid}
            os.chown(folder, user.pw_uid, user.pw_gid)
        self.data = folder / "data"
        self._run("initdb", "-D", str(self.data), "-U", "kshot", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder}"
        )
        self._run(
            "pg_ctl", "-D", str(self.data), "-w", "-l", str(self.folder / "log"), "-o", settings, "start"
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; "immediate" is a crash."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def url(self) -> str:
        """A fresh database."""
        import psycopg

        self._count += 1
        name = f"store{self._count}"
        with psycopg.connect(
            f"postgresql://kshot@127.0.0.1:{self.port}/postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
        return f"postgresql://kshot@127.0.0.1:{self.port}/{name}"

    def files(self) -> list[Path]:
        """Files of tables and indexes, after a checkpoint; not the write-ahead log."""
        import psycopg

        with psycopg.connect(
            f"postgresql://kshot@127.0.0.1:{self.port}/postgres", autocommit=True
        ) as connection:
            connection.execute("CHECKPOINT")
        time.sleep(0.05)
        return [path for path in (self.data / "base").rglob("*") if path.is_file()]

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self.bin / program), *words], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=900, env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}, **self._as,  # type: ignore[arg-type]
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()


def _known(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


@contextmanager
def running() -> Iterator[Postgres]:
    """A server in a temporary folder. Raises FileNotFoundError where PostgreSQL is not installed."""
    found = programs()
    if found is None:
        raise FileNotFoundError("no PostgreSQL")
    folder = Path(tempfile.mkdtemp(prefix="kshot-postgres-"))
    server = Postgres(found, folder)
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
