"""The store on SQLite and on PostgreSQL: one contract; upgrading, copying, forgetting on the raw files."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from postgres import Postgres
from sqlalchemy import inspect, text

import kshot
from kshot.errors import DataError, SettingError
from kshot.serving import upgrading
from kshot.serving.database import Database
from kshot.serving.faults import Corrupt
from kshot.serving.schema import SLOTS, metadata
from kshot.serving.service import Service
from kshot.serving.store import Block, Store, Version
from kshot.testing import MODEL_STORE_CHECKS

ASSETS = Path(__file__).parent / "assets"
SPACE = '{"kind": "classes", "labels": ["x", "y"]}'


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'kshot.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url()


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    made = Store(url, f"file://{tmp_path / 'artifacts'}")
    yield made
    made.close()


@pytest.mark.parametrize("check", MODEL_STORE_CHECKS, ids=lambda check: check.__name__)
def test_conforms(store: Store, check: Callable[[Store], None]) -> None:
    check(store)


def test_artifacts_may_lie_in_memory_of_an_object_store(tmp_path: Path) -> None:
    store = Store.at(tmp_path, "memory://kshot")
    next(check for check in MODEL_STORE_CHECKS if check.__name__ == "large_blobs_lie_outside")(store)
    store.close()


def shape(database: Database) -> dict[str, Any]:
    def look(connection: Any) -> dict[str, Any]:
        found = inspect(connection)
        return {
            name: (
                sorted((c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name)),
                found.get_pk_constraint(name)["constrained_columns"],
                sorted((i["name"], tuple(i["column_names"])) for i in found.get_indexes(name)),
                found.get_table_options(name),
            )
            for name in found.get_table_names()
        }

    return database.read(look)


SAVED = {
    "0001": ("keys", "models", "versions", "examples", "answers"),
    "0002": ("keys", "slots", "models", "versions", "examples", "features", "states", "answers", "trash"),
    "0003": ("keys", "slots", "models", "versions", "examples", "features", "states", "answers", "trash"),
}


def old_copy(url: str, revision: str = "0001") -> None:
    """The saved database of a revision, in this database."""
    database = Database(url)
    with database.engine.execution_options(kshot_writes=True).begin() as connection:
        upgrading.need("alembic.command", "serve")
        upgrading._run(connection, None, revision)
        if revision == "0001":
            connection.execute(text("DROP TABLE alembic_version"))  # the first slice had none
    with (
        sqlite3.connect(ASSETS / f"revision{int(revision)}.db") as saved,
        database.engine.execution_options(kshot_writes=True).begin() as to,
    ):
        saved.row_factory = sqlite3.Row
        for table in SAVED[revision]:
            for row in saved.execute(f"SELECT * FROM {table}"):
                names = ", ".join(row.keys())
                values = ", ".join(f":{name}" for name in row.keys())  # noqa: SIM118
                to.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), dict(row))
        if revision != "0001" and not database.sqlite:
            to.execute(text("SELECT setval(pg_get_serial_sequence('slots', 'slot'), max(slot)) FROM slots"))
    saved.close()
    database.close()


def test_the_migrations_lead_to_the_present_schema(url: str, tmp_path: Path) -> None:
    stepped, made = Database(url), Database(f"sqlite:///{tmp_path / 'made.db'}")
    if not stepped.sqlite:
        made = stepped
    with stepped.engine.execution_options(kshot_writes=True).begin() as connection:
        upgrading._run(connection, None)
    by_steps = shape(stepped)
    if not stepped.sqlite:
        with stepped.engine.begin() as connection:
            metadata.drop_all(connection)
            connection.execute(text("DROP TABLE alembic_version"))
    upgrading.ready(made)
    assert by_steps == shape(made)
    stepped.close()
    made.close()


def test_an_old_database_is_upgraded_and_answers_as_it_did(url: str) -> None:
    old_copy(url)
    with pytest.raises(SettingError, match="kshot db upgrade"):
        Store(url)
    database = Database(url)
    assert upgrading.upgrade(database) == ("0001", upgrading.REVISION)
    assert upgrading.upgrade(database) == (upgrading.REVISION, upgrading.REVISION)
    database.close()
    encoder = kshot.encoders.identity(2)
    bases = {
        "rows": kshot.learners.ProtoNet(encoder),
        "lines": kshot.learners.ClosedForm(encoder, "bayesian"),
    }
    service = Service(Store(url), bases)
    saved = json.loads((ASSETS / "revision1.json").read_text())
    for model, told in saved.items():
        for number, answer in told["versions"].items():
            found = service.predict(told["tenant"], model, [[0.4, 0.3], [5.0, 4.0]], version=int(number))
            assert close(found, answer)
        assert service.show(told["tenant"], model) == told["show"]
    first = next(iter(saved))
    two = [{"input": [0.0, 0.0], "label": "x"}, {"input": [1.0, 1.0], "label": "y"}]
    assert service.teach("a", "rows", two, name="first", key="k1")["id"] == first
    assert service.add("a", first, two)["examples"][-1] == "e6"
    assert service.store.key(__import__("hashlib").sha256(b"ks_saved").hexdigest()) == ("a", "read,predict")
    service.close()


def test_a_database_of_revision_2_answers_as_it_did_and_reads_one_row(url: str) -> None:
    old_copy(url, "0002")
    with pytest.raises(SettingError, match="kshot db upgrade"):
        Store(url)
    database = Database(url)
    assert upgrading.upgrade(database) == ("0002", upgrading.REVISION)
    database.close()
    encoder = kshot.encoders.identity(2)
    bases = {
        "rows": kshot.learners.ProtoNet(encoder),
        "ridges": kshot.learners.ClosedForm(encoder, "kernel_ridge"),
    }
    service = Service(Store(url), bases)
    for model, told in json.loads((ASSETS / "revision2.json").read_text()).items():
        for number, answer in told["versions"].items():
            short, whole = (
                service.store.quick("a", model, int(number)),
                service.store.version("a", model, int(number)),
            )
            assert (short.version, list(short.labels)) == (whole.version, whole.labels)
            assert torch.equal(short.features, whole.features)
            assert close(service.predict("a", model, [[0.4, 0.3], [5.0, 4.0]], version=int(number)), answer)
        assert service.show("a", model) == told["show"]
        service.forget("a", model, ["e3"])
        assert service.predict("a", model, [[0.4, 0.3]])["predictions"][0]["label"] in ("x", "y", "z", "ü")
    assert service.store.check() == (2, [])
    service.close()


def test_a_database_of_revision_3_answers_as_it_did_and_gets_its_sheets(url: str) -> None:
    old_copy(url, "0003")
    with pytest.raises(SettingError, match="kshot db upgrade"):
        Store(url)
    database = Database(url)
    assert upgrading.upgrade(database) == ("0003", upgrading.REVISION)
    database.close()
    bases = {
        "rows": kshot.learners.ProtoNet(kshot.encoders.identity(2)),
        "ridges": kshot.learners.ClosedForm(kshot.encoders.identity(128)),
    }
    service = Service(Store(url), bases)
    for model, told in json.loads((ASSETS / "revision3.json").read_text()).items():
        wide = 64 if told["show"]["base"] == "ridges" else 1
        asked = [[0.4, 0.3] * wide, [5.0, 4.0] * wide]
        assert service.store.quick("a", model).kept is None
        for number, answer in told["versions"].items():
            assert close(service.predict("a", model, asked, version=int(number)), answer)
        service.tasks.drop("a", model)
        service.predict("a", model, asked)
        service.store.database.change(lambda connection: None)  # the sheet is committed before this
        service.tasks.drop("a", model)
        kept = service.store.quick("a", model).kept
        assert kept is not None
        assert kept.solved
        assert close(service.predict("a", model, asked), told["versions"]["3"])
        assert service.show("a", model) == told["show"]
    assert service.store.check() == (2, [])
    service.close()


def test_a_database_of_revision_5_answers_as_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its features hold their zeros. What is taught afterwards leaves them out, and lies in groups; all are read."""
    bases = {"desk": kshot.text.classifier("hash:ngram")}
    posted = [{"input": text, "label": text[0]} for text in ("a card", "a transfer", "by whom", "by me")]
    with monkeypatch.context() as patched:
        patched.setattr("kshot.serving.packing._WORTH", 0)
        service = Service(Store.at(tmp_path), bases)
        model = service.teach("a", "desk", posted)["id"]
        told = service.predict("a", model, ["a card by me"])
        dense = service.store.shelf.size()
        service.store.database.change(
            lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '0005'").rowcount
        )
        service.close()
    with pytest.raises(SettingError, match="kshot db upgrade"):
        Store.at(tmp_path)
    database = Database(f"sqlite:///{tmp_path / 'kshot.db'}")
    assert upgrading.upgrade(database) == ("0005", upgrading.REVISION)
    database.close()
    service = Service(Store.at(tmp_path), bases)
    other = service.teach("a", "desk", posted)["id"]
    assert service.store.shelf.size() - dense < dense / 8
    old, new = (service.store.version("a", one).features for one in (model, other))
    assert torch.equal(old, new)
    for one in (model, other):
        service.tasks.drop("a", one)
        assert close(service.predict("a", one, ["a card by me"]), told)
        service.forget("a", one, ["e0"])
        service.tasks.drop("a", one)
        assert service.predict("a", one, ["by me"])["predictions"][0]["label"] == "b"
    assert service.store.check() == (2, [])
    service.close()


def close(given: dict[str, Any], told: dict[str, Any]) -> bool:
    """The same answers, within rounding: what was kept of a task is not solved again."""
    pairs = zip(given["predictions"], told["predictions"], strict=True)
    return all(
        one == other
        or (
            one["label"] == other["label"]
            and one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
        )
        for one, other in pairs
    )


def test_a_killed_upgrade_leaves_the_old_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ASSETS / "revision1.db", tmp_path / "kshot.db")
    database = Database(f"sqlite:///{tmp_path / 'kshot.db'}")
    before = shape(database)
    steps = iter(range(3))
    real = kshot.serving.sealing.seal

    def dies(*arguments: Any, **more: Any) -> bytes:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    monkeypatch.setattr("kshot.serving.sealing.seal", dies)
    with pytest.raises(KeyboardInterrupt):
        upgrading.upgrade(database)
    assert shape(database) == before
    monkeypatch.undo()
    assert upgrading.upgrade(database)[1] == upgrading.REVISION
    database.close()


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    Store.at(tmp_path).close()
    with sqlite3.connect(tmp_path / "kshot.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(SettingError, match="9999"):
        Store.at(tmp_path)


def many(store: Store, count: int) -> None:
    for n in range(count):
        version = Version(f"m_{(n * 7919) % 10007:05d}", 1, "base", "f" * 64, SPACE, (0, 1))
        labels, items = [f"secret label {n}", "other"], [f"secret text {n} " * (1 + n % 9), "text"]
        block = Block((0, 1), labels, items)
        store.put_version(
            "a", version, block, name=f"secret name {n}", key=(f"k{n}", "r"), answer=lambda n=n: f"secret {n}"
        )


def test_nothing_of_what_is_forgotten_can_be_read_in_the_raw_files(url: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:  # fmt: skip
    """The sealing keys of forgotten and deleted examples are in no file, among many rows that were split and merged."""
    store = Store(url, f"file://{tmp_path / 'artifacts'}")
    many(store, 120)

    def keys(connection: Any) -> dict[int, bytes]:
        return {row.slot: bytes(row.secret) for row in connection.execute(SLOTS.select())}

    before = store.database.read(keys)
    for n in range(0, 120, 5):
        store.forget("a", f"m_{(n * 7919) % 10007:05d}", [0], lambda labels, space: space)
    for n in range(1, 120, 12):
        store.drop("a", f"m_{(n * 7919) % 10007:05d}")
    after = store.database.read(keys)
    gone = [secret for slot, secret in before.items() if after[slot] != secret]
    assert len(gone) == 2 * (24 + 10 - 2)  # two were both forgotten and deleted
    assert all(not any(after[slot]) for slot, secret in before.items() if after[slot] != secret)
    if store.database.sqlite:
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
    else:
        files = request.getfixturevalue("postgres").files()
    raw = b"\n".join(path.read_bytes() for path in files)
    left = [secret for slot, secret in after.items() if any(secret)]
    assert all(secret in raw for secret in left[:5])  # the search finds what is there
    assert not any(secret in raw for secret in gone)
    assert b"secret text" not in raw
    assert b"secret label" not in raw
    assert b"secret name" not in raw
    store.close()


def test_forgetting_waits_for_who_still_sees_the_old_rows(postgres: Postgres) -> None:
    import psycopg

    url = postgres.url()
    store = Store(url)
    many(store, 2)
    with psycopg.connect(url) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM models")
        timer = threading.Timer(0.4, reader.rollback)
        timer.start()
        before = store.database.read(lambda c: [bytes(row.secret) for row in c.execute(SLOTS.select())])
        store.forget("a", "m_00000", [0], lambda labels, space: space)
        timer.join()
    after = store.database.read(lambda c: [bytes(row.secret) for row in c.execute(SLOTS.select())])
    gone = set(before) - set(after)
    assert len(gone) == 2
    assert not any(secret in path.read_bytes() for path in postgres.files() for secret in gone)
    store.close()


def test_a_backup_and_a_copy_hold_everything(store: Store, tmp_path: Path, postgres: Postgres) -> None:
    import torch

    many(store, 5)
    big = torch.randint(0, 255, (2, 3, 600, 600), dtype=torch.uint8)
    store.put_version(
        "a", Version("m_big", 1, "base", "f" * 64, SPACE, (0, 1)), Block((0, 1), ["x", "y"], list(big))
    )
    file = store.backup(tmp_path / "saved" / "copy.db")
    with pytest.raises(DataError, match="there already"):
        store.backup(file)
    with pytest.raises(DataError, match="holds tables"):
        store.copy_to(f"sqlite:///{file}", None)
    copy = Store(f"sqlite:///{file}", f"file://{file}.artifacts")
    other = postgres.url()
    copy.copy_to(other, f"file://{tmp_path / 'elsewhere'}")
    for found in (copy, Store(other, f"file://{tmp_path / 'elsewhere'}")):
        assert found.models("a", "", 9) == store.models("a", "", 9)
        assert found.version("a", "m_00000").labels == ["secret label 0", "other"]
        assert torch.equal(found.inputs("a", "m_big", [1])[0], big[1])
        found.put_version("a", Version("m_new", 1, "base", "f" * 64, SPACE, (0,)), Block((0,), ["x"], ["t"]))
        found.close()


def test_a_lost_artifact_is_told(tmp_path: Path) -> None:
    import torch

    store = Store.at(tmp_path)
    big = torch.randint(0, 255, (2, 3, 600, 600), dtype=torch.uint8)
    store.put_version(
        "a", Version("m_big", 1, "base", "f" * 64, SPACE, (0, 1)), Block((0, 1), ["x", "y"], list(big))
    )
    assert store.artifacts is not None
    for name in list(store.artifacts.names()):
        store.artifacts.drop(name)
    assert store.version("a", "m_big").labels == ["x", "y"]  # answers need no inputs
    with pytest.raises(Corrupt, match="gone"):
        store.inputs("a", "m_big", [0])
    store.close()
