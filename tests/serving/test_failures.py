"""What may break under a store: kill -9, a full disk, flipped bytes, failing I/O, a restarting database, replicas."""

from __future__ import annotations

import http.client
import os
import random
import re
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from nursery import Nursery, ask
from postgres import Postgres
from sqlalchemy import event

import kshot
from kshot.errors import KshotError
from kshot.seeds import generator
from kshot.serving.faults import Busy, Corrupt, StoreFull
from kshot.serving.service import Service
from kshot.serving.store import Store

TWO = [{"input": [0.0, 0.0], "label": "x"}, {"input": [1.0, 1.0], "label": "y"}]
THREE = [*TWO, {"input": [5.0, 5.0], "label": "z"}]


def service_on(store: Store) -> Service:
    return Service(store, {"rows": kshot.learners.ProtoNet(kshot.encoders.identity(2))})


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


def killed_at_random_moments(nursery: Nursery, folder: Path, rounds: int) -> int:
    """Kill -9 while 8 clients teach; how many models were acknowledged. Raises where one is lost or changed."""
    rng = random.Random(0)
    known: dict[str, str] = {}
    for round_ in range(rounds):
        pid, port = nursery.start(folder=folder)
        fresh = _killed(nursery, pid, port, round_, 0.02 + 0.5 * rng.random())
        pid, port = nursery.start(folder=folder)
        sample = rng.sample(sorted(known), min(5, len(known)))
        for model in [*fresh, *sample]:
            label = {**known, **fresh}[model]
            status, told = 503, None
            while status == 503:  # the answer of a server that was frozen for a minute
                status, told = ask(port, "POST", f"/v1/models/{model}/predict", {"inputs": [[5.0, 5.0]]})
            assert status == 200, (round_, model, told)
            assert told["predictions"][0]["label"] == label, (round_, model, told)
        known |= fresh
        nursery.kill(pid)
    store = Store.at(folder)
    count, damaged = store.check()
    assert not damaged
    assert count >= len(known)
    for model, label in known.items():
        assert label in store.version("local", model).labels
    store.close()
    return len(known)


def _killed(nursery: Nursery, pid: int, port: int, round_: int, after: float) -> dict[str, str]:
    """Models that the server acknowledged before it was killed, with the label that only they have."""
    acknowledged: dict[str, str] = {}

    def teach(client: int) -> None:
        for n in range(10_000):
            label = f"r{round_} c{client} n{n}"
            examples = [*TWO, {"input": [5.0, 5.0], "label": label}]
            try:
                status, told = ask(port, "POST", "/v1/models", {"base": "rows", "examples": examples})
            except (OSError, http.client.HTTPException):
                return
            assert status == 201, told
            acknowledged[told["id"]] = label

    threads = [threading.Thread(target=teach, args=(client,)) for client in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(after)
    nursery.kill(pid)
    for thread in threads:
        thread.join()
    return acknowledged


def test_kill_9_while_8_clients_teach(nursery: Nursery, tmp_path: Path) -> None:
    assert killed_at_random_moments(nursery, tmp_path, 4) > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kill_9_while_8_clients_teach_200_rounds(nursery: Nursery, tmp_path: Path) -> None:
    count = killed_at_random_moments(nursery, tmp_path, 200)
    print(f"{count} acknowledged models in 200 rounds, none lost, none changed")  # noqa: T201
    assert count > 200


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.getuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]).returncode
    ):
        pytest.skip("no small disk: mounting one takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_answers_507_and_predictions_go_on(small_disk: Path) -> None:
    from fastapi.testclient import TestClient

    from kshot.serving.http import create_app

    service = service_on(Store.at(small_disk))
    with TestClient(create_app(service, keys=False)) as client:
        body = {"base": "rows", "examples": THREE}
        model = client.post("/v1/models", json=body).json()["id"]
        room = shutil.disk_usage(small_disk).free
        (small_disk / "filler").write_bytes(b"x" * (room - 700 * 1024))
        statuses = [client.post("/v1/models", json=body).status_code for _ in range(40)]
        assert set(statuses) == {201, 507}
        for _ in range(3):
            answer = client.post(f"/v1/models/{model}/predict", json={"inputs": [[5.0, 5.0]]})
            assert answer.json()["predictions"][0]["label"] == "z"
        refused = client.post("/v1/models", json=body)
        assert (refused.status_code, refused.headers["content-type"]) == (507, "application/problem+json")
        made = service.store.count()
        (small_disk / "filler").unlink()
        assert client.post("/v1/models", json=body).status_code == 201
        assert service.store.count() == made + 1 == statuses.count(201) + 2
        assert service.store.check()[1] == []
    service.close()


BLOBS = (
    ("data", "features", "model"), ("sheet", "features", "model"),
    ("labels", "examples", "model"), ("inputs", "examples", "model"), ("body", "versions", "model"),
    ("about", "models", "id"),
)  # fmt: skip

SHELVED = {"data": "place, length", "sheet": "sheet_place, sheet_length"}


def looked_at(service: Service, model: str, inputs: Any) -> None:
    """Everything of a model; an answer needs no inputs, and labels only where it is explained."""
    service.predict("a", model, inputs)
    service.explain("a", model, inputs[0])
    service.example("a", model, "e0")


def flipped(folder: Path, models: list[str]) -> list[str]:
    """Flips a bit of one blob of each model where it lies, in the database or on the shelf; those on the shelf."""
    rng, shelved = random.Random(0), []
    files = {name: bytearray((folder / name).read_bytes()) for name in ("kshot.db", "kshot.db.features.1")}
    with sqlite3.connect(folder / "kshot.db") as connection:
        for number, model in enumerate(models):
            column, table, key = BLOBS[number % len(BLOBS)]
            file, names = "kshot.db", column
            if table == "features":
                file, names = "kshot.db.features.1", SHELVED[column]
                shelved.append(model)
            [*found] = connection.execute(f"SELECT {names} FROM {table} WHERE {key} = ?", (model,)).fetchone()
            if table == "features":
                place, length = found[0] & (1 << 44) - 1, found[1]
            else:
                length = len(found[0])
                place = rng.choice([hit.start() for hit in re.finditer(re.escape(found[0]), files[file])])
            files[file][place + rng.randrange(length)] ^= 1 << rng.randrange(8)
    connection.close()
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    return shelved


def test_one_flipped_byte_in_each_of_100_stored_states_is_found(tmp_path: Path) -> None:
    """In the database it is told as corrupt; on the shelf, which holds what can be made again, that is done."""
    wide = {"wide": kshot.learners.ClosedForm(kshot.encoders.identity(256))}
    service, inputs = Service(Store.at(tmp_path), wide), torch.randn(3, 256, generator=generator(0)).tolist()
    three = [{"input": x, "label": y} for x, y in zip(inputs, "xyz", strict=True)]
    models = [service.teach("a", "wide", three)["id"] for _ in range(110)]
    expected = service.predict("a", models[-1], inputs)["predictions"]
    service.close()
    shelved = flipped(tmp_path, models[:100])
    again = Service(Store.at(tmp_path), wide)
    count, damaged = again.store.check()
    assert (count, len(damaged)) == (110, 100)
    assert all(model in said for model, said in zip(sorted(models[:100]), damaged, strict=True))
    for model in models[:100]:
        if model not in shelved:
            with pytest.raises(Corrupt, match=model):
                looked_at(again, model, inputs)
    for model in [*shelved, *models[100:]]:
        for given, told in zip(again.predict("a", model, inputs)["predictions"], expected, strict=True):
            assert given["probabilities"] == pytest.approx(told["probabilities"], abs=1e-5)
    assert len(shelved) == 34
    assert len(again.store.check()[1]) == 66
    again.close()


CHANGES: dict[str, Callable[[Service, str], Any]] = {
    "teach": lambda service, model: service.teach("a", "rows", TWO, key="k"),
    "add": lambda service, model: service.add("a", model, TWO, key="k"),
    "remove": lambda service, model: service.remove("a", model, ["e2"]),
    "forget": lambda service, model: service.forget("a", model, ["e2"]),
    "delete": lambda service, model: service.delete("a", model),
    "rename": lambda service, model: service.rename("a", model, "new"),
    "sweep": lambda service, model: service.store.sweep(lambda labels, space: space),
}


def told(service: Service) -> Any:
    """Everything that can be asked of tenant a, without ids of models."""
    found = []
    for about in service.models("a")["models"]:
        shown = service.show("a", about["id"])
        for number in shown["versions"]:
            shown[f"answer {number}"] = service.predict("a", about["id"], [[4.0, 4.0]], version=number)
        del shown["id"]
        found.append(shown)
    return sorted(found, key=str)


class Broken:
    """Fails the `place`-th statement or commit that the database is asked for, counted from 1."""

    def __init__(self, service: Service, place: int) -> None:
        self.service, self.place, self.count = service, place, 0

    def __enter__(self) -> Broken:
        event.listen(self.service.store.engine, "before_cursor_execute", self._statement)
        event.listen(self.service.store.engine, "commit", self._commit)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self.service.store.engine, "before_cursor_execute", self._statement)
        event.remove(self.service.store.engine, "commit", self._commit)

    def _statement(self, *_: Any) -> None:
        self._commit(None)

    def _commit(self, _: Any) -> None:
        from sqlalchemy.exc import OperationalError

        self.count += 1
        if self.count == self.place:
            raise OperationalError("injected", {}, sqlite3.OperationalError("disk I/O error"))


@pytest.mark.parametrize("change", CHANGES)
def test_a_fault_at_every_call_leaves_before_or_after(tmp_path: Path, change: str) -> None:
    start = service_on(Store.at(tmp_path / "start"))
    model = start.teach("a", "rows", THREE, name="old")["id"]
    start.add("a", model, TWO)
    start.store.keep_versions = 1 if change == "sweep" else None
    before = told(start)
    start.close()
    shutil.copytree(tmp_path / "start", tmp_path / "whole")
    whole = service_on(Store.at(tmp_path / "whole"))
    whole.store.keep_versions = 1 if change == "sweep" else None
    CHANGES[change](whole, model)
    after = told(whole)
    whole.close()
    assert after != before
    place, failed = 0, 0
    while True:
        place += 1
        folder = tmp_path / f"fault{place}"
        shutil.copytree(tmp_path / "start", folder)
        service = service_on(Store.at(folder))
        service.store.keep_versions = 1 if change == "sweep" else None
        with Broken(service, place) as broken:
            try:
                CHANGES[change](service, model)
            except KshotError:
                failed += 1
        assert told(service) in (before, after), (change, place)
        service.close()
        again = service_on(Store.at(folder))
        assert told(again) in (before, after), (change, place)
        assert again.store.check()[1] == []
        again.close()
        if broken.count < place:
            break
    assert failed >= 4


def test_artifacts_that_cannot_be_written_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.at(tmp_path)
    monkeypatch.setattr("kshot.serving.blobs.INLINE", 10)
    service = service_on(store)
    model = service.teach("a", "rows", THREE)["id"]
    assert store.artifacts is not None
    names = set(store.artifacts.names())
    assert names
    real = os.replace

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kshot.serving.artifacts.os.replace", full)
    with pytest.raises(StoreFull):
        service.add("a", model, TWO)
    with pytest.raises(StoreFull):
        service.forget("a", model, ["e0"])
    assert set(store.artifacts.names()) == names
    assert service.show("a", model)["versions"] == [1]
    monkeypatch.setattr("kshot.serving.artifacts.os.replace", real)
    service.add("a", model, TWO)
    service.forget("a", model, ["e0"])
    assert service.predict("a", model, [[5.0, 5.0]])["predictions"][0]["label"] == "z"
    assert store.check()[1] == []
    service.close()


@pytest.mark.parametrize("key", [None, "k"])
def test_an_answer_that_cannot_be_made_is_told_and_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    """With a key nothing is stored, because the answer is part of it."""
    service = service_on(Store.at(tmp_path))

    def broken(_: Any) -> Any:
        raise ArithmeticError("no estimate")

    with monkeypatch.context() as patch:
        patch.setattr("kshot.serving.lessons.estimate", broken)
        with pytest.raises(ArithmeticError, match="no estimate"):
            service.teach("a", "rows", TWO, key=key)
    assert service.store.count() == (key is None)
    made = service.teach("a", "rows", TWO, key=key)
    if key:
        assert service.teach("a", "rows", TWO, key=key) == made
    assert service.store.count() == 1 + (key is None)
    assert service.store.check()[1] == []
    service.close()


def test_taught_at_one_replica_answered_by_the_other(
    nursery: Nursery, postgres: Postgres, tmp_path: Path
) -> None:
    shared = {"database": postgres.url(), "artifacts": f"file://{tmp_path / 'artifacts'}"}
    (_, one), (_, other) = nursery.start(**shared), nursery.start(**shared)
    _, made = ask(one, "POST", "/v1/models", {"base": "rows", "examples": THREE})
    place = f"/v1/models/{made['id']}"
    asked = {"inputs": [[5.0, 5.0]]}
    assert ask(other, "POST", f"{place}/predict", asked) == ask(one, "POST", f"{place}/predict", asked)
    more = {"examples": [{"input": [9.0, 9.0], "label": "far"}]}
    assert ask(other, "POST", f"{place}/examples", more)[1]["version"] == 2
    answer = ask(one, "POST", f"{place}/predict", {"inputs": [[9.0, 9.0]]})[1]
    assert (answer["version"], answer["predictions"][0]["label"]) == (2, "far")
    assert ask(other, "DELETE", f"{place}/examples/e3?forget=true")[0] == 200
    answer = ask(one, "POST", f"{place}/predict", {"inputs": [[9.0, 9.0]]})[1]  # cached there before
    assert answer["predictions"][0]["label"] == "z"
    body = {"base": "rows", "examples": TWO}
    keyed = [ask(port, "POST", "/v1/models", body, **{"Idempotency-Key": "k"}) for port in (one, other)]
    assert keyed[0] == keyed[1]


@pytest.mark.slow
def test_large_artifacts_taught_at_one_replica_are_read_and_forgotten_at_the_other(
    nursery: Nursery, postgres: Postgres, tmp_path: Path
) -> None:
    place = tmp_path / "artifacts"
    shared = {"database": postgres.url(), "artifacts": f"file://{place}"}
    (_, one), (_, other) = nursery.start(**shared), nursery.start(**shared)
    rows = torch.randn(120, 3000, generator=generator(0)).tolist()
    examples = [{"input": row, "label": f"c{n % 3}"} for n, row in enumerate(rows)]
    _, made = ask(one, "POST", "/v1/models", {"base": "wide", "examples": examples})
    path, before = f"/v1/models/{made['id']}", [file for file in place.rglob("*") if file.is_file()]
    assert len(before) == 1
    assert before[0].stat().st_size > 2**20
    asked = {"inputs": rows[:3]}
    told = ask(other, "POST", f"{path}/predict", asked)
    assert told == ask(one, "POST", f"{path}/predict", asked)
    shown = ask(other, "GET", f"{path}/examples/e7")[1]
    assert (shown["label"], shown["input"][:9]) == ("c1", pytest.approx(rows[7][:9]))
    assert ask(other, "DELETE", f"{path}/examples/e7?forget=true")[0] == 200
    assert not before[0].exists()
    assert ask(one, "GET", f"{path}/examples/e7")[0] == 404
    assert ask(one, "GET", f"{path}/examples/e8")[1]["input"][:9] == pytest.approx(rows[8][:9])


def resident(pid: int) -> float:
    """MB of memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read a process's memory from")
def test_a_thousand_idle_and_half_said_connections_cost_little_memory(
    nursery: Nursery, tmp_path: Path
) -> None:
    pid, port = nursery.start(folder=tmp_path)
    _, made = ask(port, "POST", "/v1/models", {"base": "rows", "examples": THREE})
    path = f"/v1/models/{made['id']}/predict"
    for _ in range(20):
        assert ask(port, "POST", path, {"inputs": [[5.0, 5.0]]})[0] == 200
    before, lines = resident(pid), []
    halves = (
        b"",
        b"POST /v1/mod",
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 99\r\n\r\n[".encode(),
    )
    try:
        for number in range(1000):
            lines.append(socket.create_connection(("127.0.0.1", port)))
            lines[-1].sendall(halves[number % 3])
        for _ in range(20):
            assert ask(port, "POST", path, {"inputs": [[5.0, 5.0]]})[0] == 200
        assert resident(pid) - before < 64  # MB: 64 kB a connection
    finally:
        for line in lines:
            line.close()
    for _ in range(20):
        assert ask(port, "POST", path, {"inputs": [[5.0, 5.0]]})[0] == 200
    assert resident(pid) - before < 64


def test_adding_at_two_replicas_at_once_loses_nothing(nursery: Nursery, postgres: Postgres) -> None:
    url = postgres.url()
    ports = [nursery.start(database=url)[1] for _ in range(2)]
    _, made = ask(ports[0], "POST", "/v1/models", {"base": "rows", "examples": TWO})
    place = f"/v1/models/{made['id']}/examples"
    threads = [
        threading.Thread(target=ask, args=(ports[n % 2], "POST", place, {"examples": THREE[2:]}))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown = ask(ports[0], "GET", f"/v1/models/{made['id']}")[1]
    assert (shown["n_examples"], shown["version"]) == (10, 9)


def test_a_restarting_postgres_is_waited_for_or_told(postgres: Postgres) -> None:
    service = service_on(Store(postgres.url()))
    model = service.teach("a", "rows", THREE)["id"]
    made: list[str] = [model]
    stop = threading.Event()

    def teach() -> None:
        while not stop.is_set():
            with suppress(Busy):
                made.append(service.teach("a", "rows", THREE)["id"])

    thread = threading.Thread(target=teach)
    thread.start()
    try:
        time.sleep(0.1)
        postgres.stop("immediate")
        with suppress(Busy):
            service.predict("a", model, [[5.0, 5.0]])
        postgres.start()
        time.sleep(0.3)
    finally:
        stop.set()
        thread.join()
    assert service.teach("a", "rows", THREE)["version"] == 1
    for name in made:
        assert service.predict("a", name, [[5.0, 5.0]])["predictions"][0]["label"] == "z"
    assert service.store.check()[1] == []
    service.close()


def test_contradicting_and_repeated_examples_are_kept_as_given(tmp_path: Path) -> None:
    service = service_on(Store.at(tmp_path))
    same = [{"input": [1.0, 1.0], "label": label} for label in ("x", "y", "x", "x")]
    model = service.teach("a", "rows", same)["id"]
    assert service.show("a", model)["n_examples"] == 4
    assert service.predict("a", model, [[1.0, 1.0]])["predictions"][0]["probabilities"] == {
        "x": 0.5,
        "y": 0.5,
    }
    service.close()


def test_a_clock_that_jumps_back_changes_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = service_on(Store.at(tmp_path))
    model = service.teach("a", "rows", TWO, key="k")["id"]
    monkeypatch.setattr("kshot.serving.store.time.time", lambda: 0.0)
    assert service.add("a", model, THREE[2:])["version"] == 2
    assert service.teach("a", "rows", TWO, key="k")["id"] == model
    assert service.store.sweep(lambda labels, space: space)["answers"] == 0
    assert service.predict("a", model, [[5.0, 5.0]])["version"] == 2
    service.close()
