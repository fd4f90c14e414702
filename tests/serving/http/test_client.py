"""The client against a real server."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_here import served

import kshot
from kshot.client import Client, Refused, Unreachable
from kshot.errors import SettingError
from kshot.serving.http import create_app, make_key
from kshot.serving.limits import Limits
from kshot.serving.service import Service
from kshot.serving.store import Store

TWO = [([0.0, 0.0], "x"), ([1.0, 1.0], "y")]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    bases = {
        "rows": kshot.learners.ProtoNet(kshot.encoders.identity(2)),
        "pixels": kshot.learners.ProtoNet(kshot.encoders.Pixels()),
    }
    service = Service(Store.at(tmp_path / "store"), bases, limits=Limits(adapts_per_second=1000))
    key = make_key(service, "a")
    with (
        served(create_app(service, keys=True)) as (port, _),
        Client(f"http://127.0.0.1:{port}/", key, retries=2) as made,
    ):
        yield made
    service.close()


def test_a_model_lives_its_life(client: Client, tmp_path: Path) -> None:
    assert [base["name"] for base in client.bases()] == ["rows", "pixels"]
    model = client.teach("rows", TWO, name="first")
    assert (model.version, model.classes, model.base) == (1, ["x", "y"], "rows")
    assert model.predict([[0.1, 0]])[0]["label"] == "x"
    model.add([([5.0, 5.0], "z")], match=True)
    assert (model.version, model.classes) == (2, ["x", "y", "z"])
    assert model.predict([[5, 5]], version=1)[0]["label"] == "y"
    assert model.explain([5, 5])["evidence"][0]["id"] == "e2"
    assert model.check([*TWO, ([5, 5], "x")])["right"] == 2
    assert model.label_next([[0, 0.1], [0.5, 0.5]], 1)[0]["place"] == 1
    assert model.feedback([9, 9], label="w")["learned"]
    assert model.remove(["e3"]).told["n_examples"] == 3
    assert [e["label"] for e in model.examples()] == ["x", "y", "z"]
    assert [v["version"] for v in model.versions()] == [4, 3, 2, 1]
    assert model.restore(1).classes == ["x", "y"]
    assert model.rebase("rows").version == 6
    task = kshot.load(model.export(tmp_path / "it.kshot"))
    assert task.predict([[0.1, 0]]).labels == ["x"]
    other = client.take_in(tmp_path / "it.kshot")
    assert {m["id"] for m in client.models()} == {model.id, other.id}
    assert client.model(model.id).told["name"] == "first"
    other.delete()
    assert [m["id"] for m in client.models()] == [model.id]


def test_refusals_and_races_are_told(client: Client) -> None:
    model = client.teach("rows", TWO)
    late = client.model(model.id)
    model.add([([5, 5], "z")])
    with pytest.raises(Refused, match="version 2") as caught:
        late.add([([6, 6], "z")], match=True)
    assert (caught.value.status, caught.value.title) == (412, "Conflict")
    assert caught.value.request_id
    with pytest.raises(Refused, match="404"):
        client.model("m_" + "a" * 26)
    with Client(client.url, "ks_wrong") as stranger, pytest.raises(Refused, match="401"):
        list(stranger.models())
    with pytest.raises(SettingError, match="http"):
        Client("localhost:8000")


def test_images_are_sent_as_they_come(client: Client, tmp_path: Path) -> None:
    from PIL import Image

    white, black = Image.new("L", (8, 8), 255), Image.new("L", (8, 8), 0)
    white.save(tmp_path / "white.png")
    model = client.teach("pixels", [(tmp_path / "white.png", "white"), (black, "black")])
    assert model.predict([white, (tmp_path / "white.png").read_bytes()])[1]["label"] == "white"
    assert [a["label"] for a in model.predict((tmp_path / "white.png").read_bytes())] == [
        "white"
    ]  # one, not its bytes


class Moody(http.server.BaseHTTPRequestHandler):
    """Refuses, hangs up, then answers."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str]] = []  # noqa: RUF012
    moods: list[str] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.seen.append((self.path, self.headers["idempotency-key"]))
        mood = self.moods.pop(0)
        if mood == "hang up":
            self.close_connection = True
            return
        body = b'{"id":"m_a","version":1}' if mood == "201" else b'{"title":"Busy","detail":"later"}'
        self.send_response(int(mood))
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def test_it_asks_again_with_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("kshot.client.time.sleep", pauses.append)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    client = Client(f"http://127.0.0.1:{server.server_port}")
    try:
        Moody.seen, Moody.moods = [], ["503", "hang up", "429", "201"]
        assert client.teach("rows", TWO).version == 1
        assert len(Moody.seen) == 4
        assert len(set(Moody.seen)) == 1
        assert pauses[0] < pauses[1] < pauses[2]
        Moody.moods = ["503"] * 5
        with pytest.raises(Refused, match="later"):
            client.teach("rows", TWO)
        Moody.moods = ["422"]
        with pytest.raises(Refused, match="422"):
            client.teach("rows", TWO)
    finally:
        client.close()
        server.shutdown()
        server.server_close()
    with pytest.raises(Unreachable, match="is it running"):
        client.teach("rows", TWO)
