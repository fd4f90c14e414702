"""Rows on disk: SQLite by default, PostgreSQL by URL. Examples are the truth, features a cache.

One writer thread gathers what is waiting into one transaction (group commit); a caller is answered
after that transaction is on disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, create_engine, delete, event, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from kshot.serving.faults import Conflict, Corrupt, KeyReused, NotFound, ServingError, StoreFull
from kshot.serving.schema import ANSWERS, EXAMPLES, KEYS, MODELS, VERSIONS, metadata

T = TypeVar("T")
_GATHER = 128
_DAY = 86400.0


class Row(NamedTuple):
    """One stored example: its label as JSON, the packed input, float16 features (None: not kept)."""

    id: str
    label: str
    input: bytes
    features: bytes | None
    fingerprint: str

    def digest(self) -> bytes:
        """SHA-256 over everything of it."""
        found = hashlib.sha256()
        for part in (
            self.id.encode(),
            self.label.encode(),
            self.input,
            self.features or b"",
            self.fingerprint.encode(),
        ):
            found.update(len(part).to_bytes(8, "little") + part)
        return found.digest()


class Version(NamedTuple):
    """One immutable version of a model."""

    model: str
    version: int
    base: str
    fingerprint: str
    space: str
    examples: tuple[str, ...]


class Store:
    """Models of tenants. There is no method that reads a model without a tenant.

    Args:
        url: an SQLAlchemy URL; `Store.at(folder)` makes the one of a SQLite file.
    """

    def __init__(self, url: str) -> None:
        self.engine: Engine = create_engine(url)
        self.sqlite = self.engine.dialect.name == "sqlite"
        if self.sqlite:
            event.listen(self.engine, "connect", _pragmas)
            event.listen(self.engine, "begin", _begin)
        metadata.create_all(self.engine)
        self._queue: queue.Queue[tuple[Callable[[Connection], Any], Future[Any]] | None] = queue.Queue(1024)
        self._writer = threading.Thread(target=self._write, name="kshot-writer", daemon=True)
        self._writer.start()

    @classmethod
    def at(cls, folder: Path) -> Store:
        """The SQLite store of a folder, made where there is none."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(f"sqlite:///{folder / 'kshot.db'}")

    def close(self) -> None:
        """Commit what waits and let go of the database."""
        self._queue.put(None)
        self._writer.join()
        self.engine.dispose()

    # writing

    def change(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in the writer's next transaction; returns when that is on disk."""
        done: Future[T] = Future()
        self._queue.put((work, done))
        return done.result()

    def _write(self) -> None:
        stopping = False
        while not stopping:
            first = self._queue.get()
            batch = [first]
            with contextlib.suppress(queue.Empty):
                while len(batch) < _GATHER:
                    batch.append(self._queue.get_nowait())
            stopping = any(item is None for item in batch)
            self._commit([item for item in batch if item is not None])

    def _commit(self, batch: list[tuple[Callable[[Connection], Any], Future[Any]]]) -> None:
        results: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with self.engine.begin() as connection:
                for work, done in batch:
                    try:
                        with connection.begin_nested():
                            results.append((done, work(connection), None))
                    except (ServingError, ValueError) as cause:
                        results.append((done, None, cause))
        except Exception as cause:
            for _, done in batch:
                done.set_exception(_fault(cause))
            return
        for done, value, error in results:
            if error is None:
                done.set_result(value)
            else:
                done.set_exception(error)

    def put_version(
        self,
        tenant: str,
        version: Version,
        rows: Sequence[Row],
        *,
        name: str = "",
        expected: int | None = None,
        key: tuple[str, str] | None = None,
        answer: str = "",
    ) -> str:
        """Store a version with its new examples; returns the answer of the first request with this key.

        Raises:
            Conflict: the model's newest version is not `expected`. KeyReused: another request had this key.
        """  # fmt: skip

        def work(connection: Connection) -> str:
            if key is not None and (found := _answered(connection, tenant, *key)) is not None:
                return found
            now = time.time()
            if expected is None:
                connection.execute(insert(MODELS).values(
                    id=version.model, tenant=tenant, name=name, base=version.base, version=version.version, made=now))  # fmt: skip
            else:
                moved = connection.execute(
                    update(MODELS)
                    .where(
                        MODELS.c.id == version.model, MODELS.c.tenant == tenant, MODELS.c.version == expected
                    )
                    .values(version=version.version, base=version.base)
                )
                if moved.rowcount != 1:
                    raise Conflict(f"model {version.model} is no longer at version {expected}; read it again")
            connection.execute(insert(VERSIONS).values(
                tenant=tenant, made=now, **{**version._asdict(), "examples": json.dumps(version.examples)}))  # fmt: skip
            if rows:
                connection.execute(insert(EXAMPLES), [
                    {"model": version.model, "tenant": tenant, "digest": row.digest(), **row._asdict()} for row in rows])  # fmt: skip
            if key is not None:
                connection.execute(insert(ANSWERS).values(
                    tenant=tenant, key=key[0], request=key[1], model=version.model, answer=answer, made=now))  # fmt: skip
            return answer

        return self.change(work)

    def forget(
        self, tenant: str, model: str, ids: Sequence[str], keep: Callable[[list[Row], str], str | None]
    ) -> None:
        """Delete examples from all versions, with the answers of idempotency keys; nothing stays in the files.

        `keep` gives a version's space without them, or None where it is of no use any more and is deleted too.

        Raises:
            NotFound: no such model or example.
        """

        def work(connection: Connection) -> None:
            rows = {row.id: row for row in _rows(connection, tenant, model)}
            missing = [name for name in ids if name not in rows]
            if missing:
                raise NotFound(f"example {missing[0]!r} is not in model {model}")
            gone = set(ids)
            newest = _newest(connection, tenant, model)
            for number, names, held in _versions(connection, tenant, model):
                stay = [n for n in names if n not in gone]
                here = (VERSIONS.c.tenant == tenant, VERSIONS.c.model == model, VERSIONS.c.version == number)
                if (space := keep([rows[n] for n in stay], held)) is not None:
                    connection.execute(
                        update(VERSIONS).where(*here).values(examples=json.dumps(stay), space=space)
                    )
                elif number == newest:
                    raise ValueError(
                        f"without {sorted(gone)} model {model} has too few classes; delete the model"
                    )
                else:
                    connection.execute(delete(VERSIONS).where(*here))
            connection.execute(delete(EXAMPLES).where(
                EXAMPLES.c.tenant == tenant, EXAMPLES.c.model == model, EXAMPLES.c.id.in_(gone)))  # fmt: skip
            connection.execute(delete(ANSWERS).where(ANSWERS.c.tenant == tenant, ANSWERS.c.model == model))

        self.change(work)
        self._purge()

    def rename(self, tenant: str, model: str, name: str) -> None:
        """Give a model another name. Raises NotFound."""

        def work(connection: Connection) -> None:
            here = (MODELS.c.tenant == tenant, MODELS.c.id == model)
            if not connection.execute(update(MODELS).where(*here).values(name=name)).rowcount:
                raise NotFound(f"no model {model}")

        self.change(work)

    def drop(self, tenant: str, model: str) -> None:
        """Delete a model with everything of it. Raises NotFound."""

        def work(connection: Connection) -> None:
            found = connection.execute(delete(MODELS).where(MODELS.c.tenant == tenant, MODELS.c.id == model))
            if not found.rowcount:
                raise NotFound(f"no model {model}")
            for table in (VERSIONS, EXAMPLES, ANSWERS):
                connection.execute(delete(table).where(table.c.tenant == tenant, table.c.model == model))

        self.change(work)
        self._purge()

    def _purge(self) -> None:
        """Deleted bytes leave the log too; inside the file `secure_delete` has overwritten them."""
        if not self.sqlite:
            return
        for _ in range(100):
            with self.engine.connect() as connection:
                raw: Any = connection.connection.dbapi_connection
                busy = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy:
                return
            time.sleep(0.02)
        raise StoreFull("deleted bytes are still in the write-ahead log (a reader holds it); forget again")

    # reading

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self.engine.connect() as connection:
                yield connection
        except DBAPIError as cause:
            raise _fault(cause) from cause

    def answered(self, tenant: str, key: str, request: str) -> str | None:
        """What the first request with this key was answered; None: it is new. Raises KeyReused."""
        with self._reading() as connection:
            return _answered(connection, tenant, key, request)

    def model(self, tenant: str, model: str) -> dict[str, Any]:
        """id, name, base, version, made. Raises NotFound."""
        with self._reading() as connection:
            found = connection.execute(
                select(MODELS).where(MODELS.c.tenant == tenant, MODELS.c.id == model)
            ).first()
        if found is None:
            raise NotFound(f"no model {model}")
        return {k: v for k, v in found._mapping.items() if k != "tenant"}

    def models(self, tenant: str, after: str, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` models behind the id `after`, in the order of ids."""
        query = select(MODELS).where(MODELS.c.tenant == tenant, MODELS.c.id > after)
        with self._reading() as connection:
            found = connection.execute(query.order_by(MODELS.c.id).limit(limit)).all()
        return [{k: v for k, v in row._mapping.items() if k != "tenant"} for row in found]

    def count(self) -> int:
        """Models of all tenants."""
        with self._reading() as connection:
            return int(connection.execute(select(func.count()).select_from(MODELS)).scalar_one())

    def versions(self, tenant: str, model: str) -> list[int]:
        """Numbers of the versions there are, rising."""
        with self._reading() as connection:
            return [number for number, _, _ in _versions(connection, tenant, model)]

    def version(self, tenant: str, model: str, number: int | None = None) -> tuple[Version, list[Row]]:
        """A version (None: the newest) with its examples in order, each as its checksum says.

        Raises:
            NotFound: no such model or version. Corrupt: a stored byte changed.
        """
        with self._reading() as connection:
            if number is None:
                number = _newest(connection, tenant, model)
            found = connection.execute(
                select(VERSIONS).where(
                    VERSIONS.c.tenant == tenant, VERSIONS.c.model == model, VERSIONS.c.version == number
                )
            ).first()
            if found is None:
                raise NotFound(f"no version {number} of model {model}")
            rows = {row.id: row for row in _rows(connection, tenant, model)}
        names = tuple(json.loads(found.examples))
        if not rows.keys() >= set(names):
            raise Corrupt(f"model {model} lacks stored examples {sorted(set(names) - rows.keys())[:3]}")
        told = Version(model, number, found.base, found.fingerprint, found.space, names)
        return told, [rows[name] for name in names]

    def next_id(self, tenant: str, model: str) -> int:
        """The number of the next example: one more than any that is stored or named by a version."""
        with self._reading() as connection:
            names = [n for _, held, _ in _versions(connection, tenant, model) for n in held]
            names += [row.id for row in _rows(connection, tenant, model)]
        return max((int(name[1:]) for name in names), default=-1) + 1

    def writable(self) -> bool:
        """Can something be committed now?"""
        try:
            self.change(
                lambda connection: (
                    connection.execute(delete(ANSWERS).where(ANSWERS.c.made < time.time() - _DAY)).rowcount
                )
            )
        except ServingError:
            return False
        return True

    # keys

    def put_key(self, digest: str, prefix: str, tenant: str, scopes: str) -> None:
        """Keep a key's hash."""
        self.change(lambda c: c.execute(insert(KEYS).values(
            digest=digest, prefix=prefix, tenant=tenant, scopes=scopes, made=time.time())).rowcount)  # fmt: skip

    def key(self, digest: str) -> tuple[str, str] | None:
        """Tenant and scopes of a key's hash."""
        with self._reading() as connection:
            found = connection.execute(select(KEYS).where(KEYS.c.digest == digest)).first()
        return None if found is None else (found.tenant, found.scopes)

    def has_keys(self) -> bool:
        """Was any key made?"""
        with self._reading() as connection:
            return connection.execute(select(KEYS.c.digest).limit(1)).first() is not None

    def revoke(self, prefix: str) -> int:
        """Delete the keys that start so; how many there were."""
        return self.change(lambda c: int(c.execute(delete(KEYS).where(KEYS.c.prefix == prefix)).rowcount))

    def backup(self, path: Path) -> Path:
        """A whole copy of a SQLite store while it is in use."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM INTO :path"), {"path": str(path)})
        return path


def _pragmas(connection: Any, _: Any) -> None:
    connection.isolation_level = None
    for rule in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "secure_delete=ON"):
        connection.execute(f"PRAGMA {rule}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _fault(cause: BaseException) -> BaseException:
    if isinstance(cause, DBAPIError):
        said = str(cause.orig)
        if any(word in said for word in ("full", "disk I/O error", "No space", "unable to open", "readonly")):
            return StoreFull(f"nothing was changed: the store cannot write ({said}); free space")
        if "malformed" in said or "not a database" in said:
            return Corrupt(f"a page of the store is damaged ({said}); restore a backup")
    return cause


def _answered(connection: Connection, tenant: str, key: str, request: str) -> str | None:
    found = connection.execute(
        select(ANSWERS).where(ANSWERS.c.tenant == tenant, ANSWERS.c.key == key)
    ).first()
    if found is None:
        return None
    if found.request != request:
        raise KeyReused(f"Idempotency-Key {key!r} came with another request before; use a new key")
    return str(found.answer)


def _newest(connection: Connection, tenant: str, model: str) -> int:
    found = connection.execute(
        select(MODELS.c.version).where(MODELS.c.tenant == tenant, MODELS.c.id == model)
    ).scalar()
    if found is None:
        raise NotFound(f"no model {model}")
    return int(found)


def _versions(connection: Connection, tenant: str, model: str) -> list[tuple[int, list[str], str]]:
    query = select(VERSIONS.c.version, VERSIONS.c.examples, VERSIONS.c.space).where(
        VERSIONS.c.tenant == tenant, VERSIONS.c.model == model
    )
    return [
        (int(v), json.loads(names), space)
        for v, names, space in connection.execute(query.order_by(VERSIONS.c.version))
    ]


def _rows(connection: Connection, tenant: str, model: str) -> list[Row]:
    rows = []
    for found in connection.execute(
        select(EXAMPLES).where(EXAMPLES.c.tenant == tenant, EXAMPLES.c.model == model)
    ):
        row = Row(found.id, found.label, bytes(found.input), found.features, found.fingerprint)
        if row.digest() != bytes(found.digest):
            raise Corrupt(
                f"example {found.id!r} of model {model} does not fit its checksum; restore a backup"
            )
        rows.append(row)
    return rows
