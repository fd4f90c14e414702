"""The server on real sockets: it drains without cutting anybody off, and odd clients harm nobody else."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_here import head, raw, served

import kshot
from kshot.serving.http import create_app
from kshot.serving.limits import Limits
from kshot.serving.service import Service
from kshot.serving.store import Store

TWO = [{"input": [0.0, 0.0], "label": "x"}, {"input": [1.0, 1.0], "label": "y"}]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(
        Store.at(tmp_path),
        {"rows": kshot.learners.ProtoNet(kshot.encoders.identity(2))},
        limits=Limits(silence_seconds=0.5, body_bytes=100_000, bodies_bytes=150_000, drain_seconds=2.0),
    )
    yield made
    made.close()


def ask(port: int, path: str, body: Any) -> tuple[int, Any]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    line.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = line.getresponse()
    told = json.loads(answer.read())
    line.close()
    return answer.status, told


def test_it_drains_without_cutting_anybody_off(service: Service) -> None:
    """Clients keep their connections and ask on and on; when they are told to go they go; none is cut off."""
    model = service.teach("local", "rows", TWO)["id"]
    app = create_app(service, keys=False)
    cut: list[BaseException] = []
    answered = [0]

    def client(port: int) -> None:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        while True:
            try:
                line.request(
                    "POST",
                    f"/v1/models/{model}/predict",
                    b'{"inputs":[[0,0]]}',
                    {"content-type": "application/json"},
                )
                answer = line.getresponse()
                answer.read()
            except BaseException as cause:
                cut.append(cause)
                return
            assert answer.status == 200
            answered[0] += 1
            if answer.getheader("connection") == "close":
                return

    with served(app) as (port, server):
        threads = [threading.Thread(target=client, args=(port,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        began = time.monotonic()
        server.handle_exit(signal.SIGTERM, None)
        assert raw(port, head("/readyz", 0, "connection: close", verb="GET")).startswith(b"HTTP/1.1 503")
        for thread in threads:
            thread.join(10)
    assert time.monotonic() - began < 10
    assert cut == []
    assert answered[0] >= 8


def test_what_is_in_work_is_finished(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    taught = service.teach
    begun = threading.Event()

    def slow(*given: Any, **named: Any) -> Any:
        begun.set()
        time.sleep(1.0)
        return taught(*given, **named)

    monkeypatch.setattr(service, "teach", slow)
    with (
        concurrent.futures.ThreadPoolExecutor() as pool,
        served(create_app(service, keys=False)) as (port, server),
    ):
        answer = pool.submit(ask, port, "/v1/models", {"base": "rows", "examples": TWO})
        begun.wait(5)
        server.handle_exit(signal.SIGTERM, None)
        status, told = answer.result(10)
    assert status == 201
    assert service.show("local", told["id"])["n_examples"] == 2


def test_odd_clients_are_let_go_and_harm_nobody(service: Service) -> None:
    model = service.teach("local", "rows", TWO)["id"]
    path = f"/v1/models/{model}/predict"
    app = create_app(service, keys=False)
    with served(app, silence=0.5) as (port, _):
        lines = []
        for kind in range(200):
            line = socket.create_connection(("127.0.0.1", port))
            if kind % 4 == 1:
                line.sendall(b"POST /v1/mod")
            if kind % 4 == 2:
                line.sendall(head(path, 500) + b'{"inputs":')
            if kind % 4 == 3:
                line.sendall(head(path, 18) + b'{"inputs":[[0,0]]}')
                line.close()
                continue
            lines.append(line)
        took = []
        for _ in range(20):
            began = time.perf_counter()
            assert ask(port, path, {"inputs": [[0, 0]]})[0] == 200
            took.append(time.perf_counter() - began)
        deadline = time.monotonic() + 5
        for line in lines:
            line.settimeout(max(0.1, deadline - time.monotonic()))
            told = line.recv(4096)
            assert told == b"" or b"408" in told.split(b"\r\n")[0]
            line.close()
        time.sleep(0.2)
        assert app.gate.inside == 0
        assert app.gate.read_now == 0


def test_bodies_are_counted_while_they_stream(service: Service) -> None:
    app = create_app(service, keys=False)
    with served(app) as (port, _):
        told = raw(port, head("/v1/models", 100_001))
        assert told.startswith(b"HTTP/1.1 413")
        chunked = head("/v1/models", 0).replace(b"content-length: 0", b"transfer-encoding: chunked")
        piece = b"fff0\r\n" + b" " * 0xFFF0 + b"\r\n"
        assert raw(port, chunked, piece, piece).startswith(b"HTTP/1.1 413")
        with socket.create_connection(("127.0.0.1", port)) as held:
            held.sendall(head("/v1/models", 90_000) + b" " * 89_000)
            deadline = time.monotonic() + 3
            while app.gate.read_now < 89_000 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert raw(port, head("/v1/models", 90_000) + b" " * 89_000).startswith(b"HTTP/1.1 503")
        for wrong in (b"content-length: -5", b"content-length: 5\r\ncontent-length: 6", b"content-length: x"):
            answer = raw(port, head("/v1/models", 0).replace(b"content-length: 0", wrong), wait=2.0)
            assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 4")), wrong
        assert raw(port, b"GET /livez HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 20_000, wait=2.0).startswith(
            b"HTTP/1.1 400"
        )


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """`kshot serve` as a newcomer starts it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    folder = tmp_path_factory.mktemp("served")
    words = [
        "serve",
        "--base",
        "desk=hash:ngram?dim=64",
        "--port",
        str(port),
        "--data-dir",
        str(folder),
        "--log",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", "from kshot.cli import main; main()", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.05)
    yield port, process
    process.kill()


def test_a_newcomer_serves_teaches_asks_and_stops(command: tuple[int, subprocess.Popen[bytes]]) -> None:
    from kshot.client import Client

    port, process = command
    with Client(f"http://127.0.0.1:{port}") as client:
        assert client.ready()
        model = client.teach("desk", [("where is my card?", "card"), ("send money to Ann", "transfer")])
        assert model.predict(["my card is lost"])[0]["label"] == "card"
    page = (Path(__file__).parents[3] / "docs" / "serve.md").read_text(encoding="utf-8")
    exec(re.findall(r"```python no-run\n(.*?)```", page, re.DOTALL)[0].replace("8000", str(port)), {})
    bodies = [json.loads(text) for text in re.findall(r"-d '(.*?)'", page, re.DOTALL)]
    status, told = ask(port, "/v1/models", bodies[0])
    assert status == 201
    assert ask(port, f"/v1/models/{told['id']}/predict", bodies[1])[1]["predictions"][0]["label"] == "card"
    assert raw(port, b"GET /v1/models HTTP/1.1\r\nhost: evil.test\r\nconnection: close\r\n\r\n").startswith(
        b"HTTP/1.1 403"
    )
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=12)
    assert process.returncode == 0, errors.decode()
    assert time.monotonic() - began < 10
    assert f"http://127.0.0.1:{port}" in out.decode()
    lines = [json.loads(line) for line in errors.decode().splitlines()]
    assert {"/v1/models", "/v1/models/{model}/predict"} <= {line["route"] for line in lines}
    assert "card" not in errors.decode()
