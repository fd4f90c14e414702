"""What the routes promise: errors, ETags, idempotency, pages, figures, other tools' protocols."""

from __future__ import annotations

import base64
import io
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

import kshot
from kshot import storage
from kshot.learners.records import task_record
from kshot.serving.http import create_app
from kshot.serving.limits import Limits
from kshot.serving.service import Service
from kshot.serving.store import Store

TWO = [{"input": [0.0, 0.0], "label": "x"}, {"input": [1.0, 1.0], "label": "y"}]
MORE = [{"input": [5.0, 5.0], "label": "z"}]
TEACH = {"base": "rows", "examples": TWO}


def service_at(folder: Path, **limits: Any) -> Service:
    rows = kshot.learners.ProtoNet(kshot.encoders.identity(2))
    numbers = kshot.learners.ClosedForm(kshot.encoders.identity(2), "ridge")
    pixels = kshot.learners.ProtoNet(kshot.encoders.Pixels())
    words = kshot.text.classifier("hash:ngram?dim=64")
    bases = {"rows": rows, "numbers": numbers, "pixels": pixels, "words": words}
    return Service(Store.at(folder), bases, limits=Limits(**limits))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = service_at(tmp_path)
    yield made
    made.close()


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service, keys=False), raise_server_exceptions=False) as made:
        yield made


def place(client: TestClient, body: Any = TEACH) -> str:
    made = client.post("/v1/models", json=body)
    assert made.status_code == 201, made.text
    return str(made.headers["Location"])


def png(width: int = 4, height: int = 4, kind: str = "PNG") -> str:
    from PIL import Image

    written = io.BytesIO()
    Image.new("L", (width, height), 200).save(written, kind)
    return base64.b64encode(written.getvalue()).decode()


# refusals


def test_a_body_without_its_kind_is_told_which_header_lacks(client: TestClient) -> None:
    """As curl sends it with -d alone."""
    body = json.dumps(TEACH).encode()
    for kind in ({}, {"content-type": "application/x-www-form-urlencoded"}):
        answer = client.post("/v1/models", content=body, headers=kind)
        assert answer.status_code == 422
        assert "send JSON with the header Content-Type: application/json" in answer.json()["detail"]
    sent = client.post(
        "/v1/models", content=b"[]", headers={"content-type": "application/json; charset=utf-8"}
    )
    assert "Content-Type" not in sent.json()["detail"]


@pytest.mark.parametrize(
    ("verb", "path", "sent", "status", "field"),
    [
        ("GET", "/nothing", {}, 404, None),
        ("GET", "/v1/models/m_short", {}, 404, None),
        ("PUT", "/v1/models", {"json": {}}, 405, None),
        ("POST", "/v1/models", {"content": b"{", "headers": {"content-type": "application/json"}}, 422, "body.1"),
        ("POST", "/v1/models", {"content": b"{}"}, 422, "body"),
        ("POST", "/v1/models", {"json": {"base": "rows", "exampels": TWO}}, 422, "body.examples"),
        ("POST", "/v1/models", {"json": {**TEACH, "more": 1}}, 422, "body.more"),
        ("POST", "/v1/models", {"json": {**TEACH, "base": "none"}}, 404, None),
        ("GET", "/v1/models?limit=0", {}, 422, "query.limit"),
        ("GET", "/v1/models?cursor=..%2f", {}, 422, "query.cursor"),
        ("POST", "/v1/models/import", {"content": b"junk"}, 422, None),
    ],
)  # fmt: skip
def test_every_refusal_is_a_problem(
    client: TestClient, verb: str, path: str, sent: Any, status: int, field: str | None
) -> None:
    answer = client.request(verb, path, **sent)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    about = answer.json()
    assert about["status"] == status
    assert about["type"] == "about:blank"
    assert about["title"]
    assert about["detail"]
    assert about.get("field") == field
    assert about["request_id"] == answer.headers["x-request-id"]


def test_a_failure_of_ours_tells_nothing_but_its_id(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(service.store, "models", broken)
    answer = client.get("/v1/models", headers={"X-Request-Id": "mine-1"})
    assert answer.status_code == 500
    assert answer.json()["request_id"] == "mine-1"
    assert "secret" not in answer.text
    assert "secret" in caplog.text


ODD = [
    ([{"input": [0, 0], "label": "x"}], 422),  # one class
    ([{"input": [float("nan"), 0], "label": "x"}, TWO[1]], 422),
    ([{"input": [10**400, 0], "label": "x"}, TWO[1]], 422),
    ([{"input": [1e308, -1e308], "label": "x"}, TWO[1]], 422),
    ([{"input": [0], "label": "x"}, TWO[1]], 422),
    ([{"input": "text", "label": "x"}, TWO[1]], 422),
    ([{"input": {"a": [None]}, "label": "x"}, TWO[1]], 422),
    ([{"input": None, "label": "x"}, TWO[1]], 422),
    ([{"input": [0, 0], "label": ""}, TWO[1]], 422),
    ([{"input": [0, 0], "label": "a\x00b"}, TWO[1]], 422),
    ([{"input": [0, 0], "label": "\ud800"}, TWO[1]], 422),
    ([{"input": [0, 0], "label": "x" * 201}, TWO[1]], 422),
    ([{"input": [0, 0], "label": None}, TWO[1]], 422),
    ([{"input": [0, 0], "label": 1}, TWO[1]], 422),  # mixed kinds
    ([{"input": [0, 0], "label": 10**30}, TWO[1]], 422),
    ([{"input": [0, 0], "label": [[[[[[[[[[[1]]]]]]]]]]]}, TWO[1]], 422),
    ([], 422),
    ([TWO[0], TWO[0], TWO[1]], 201),  # the same example twice is two examples
    ([TWO[0], {"input": [0.0, 0.0], "label": "y"}], 201),  # contradictions are learned from as they are
    ([{"input": [0, 0], "label": True}, {"input": [1, 1], "label": False}], 201),
    ([{"input": [0, 0], "label": 1}, {"input": [1, 1], "label": 2}], 201),
    ([{"input": [0, 0], "label": "<img src=x onerror=alert(1)>"}, TWO[1]], 201),
    ([{"input": [0, 0], "label": "=1+1"}, {"input": [1, 1], "label": "猫😀"}], 201),
]


@pytest.mark.parametrize(("examples", "status"), ODD)
def test_odd_examples_have_a_documented_answer(client: TestClient, examples: Any, status: int) -> None:
    body = json.dumps({"base": "rows", "examples": examples})
    answer = client.post("/v1/models", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    if status == 201:
        asked = client.post(f"{answer.headers['Location']}/predict", json={"inputs": [[0.2, 0.1]]})
        assert asked.status_code == 200
        assert "onerror" not in asked.text or asked.headers["content-type"] == "application/json"


def test_half_a_surrogate_is_refused_as_a_text(client: TestClient) -> None:
    body = '{"base":"words","examples":[{"input":"\\ud800","label":"a"},{"input":"b","label":"b"}]}'
    answer = client.post("/v1/models", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert "Unicode" in answer.json()["detail"]


# versions


def test_changes_hold_to_the_etag(client: TestClient) -> None:
    here = place(client)
    assert client.get(here).headers["ETag"] == '"1"'
    late, now = {"If-Match": '"7"'}, {"If-Match": '"1"'}
    changes: list[tuple[str, str, Any]] = [
        ("POST", f"{here}/examples", {"examples": MORE}), ("DELETE", f"{here}/examples/e0", None),
        ("DELETE", f"{here}/examples/e0?forget=true", None), ("DELETE", f"{here}/examples?id=e0", None),
        ("PATCH", here, {"name": "n"}), ("POST", f"{here}/feedback", {"input": [5, 5], "label": "z"}),
        ("POST", f"{here}/rebase", {"base": "rows"}), ("POST", f"{here}/versions/1/restore", None),
        ("POST", f"{here}/classes/rename", {"from": "x", "to": "w"}), ("DELETE", here, None),
    ]  # fmt: skip
    for verb, path, body in changes:
        sent = {} if body is None else {"json": body}
        for head in (late, {"If-Match": 'W/"1"'}):
            answer = client.request(verb, path, headers=head, **sent)
            assert answer.status_code == 412, (verb, path, answer.text)
        assert client.request(verb, path, headers={"If-Match": "soon"}, **sent).status_code == 422
    assert client.get(here).json()["n_examples"] == 2
    added = client.post(f"{here}/examples", json={"examples": MORE}, headers=now)
    assert added.headers["ETag"] == '"2"'
    assert client.delete(here, headers={"If-Match": "*"}).status_code == 204


def test_a_server_may_want_the_etag(tmp_path: Path) -> None:
    service = service_at(tmp_path, match_required=True)
    with TestClient(create_app(service, keys=False)) as client:
        here = place(client)
        refused = client.post(f"{here}/examples", json={"examples": MORE})
        assert refused.status_code == 428
        assert client.delete(here).status_code == 428
        assert client.post(
            f"{here}/examples", json={"examples": MORE}, headers={"If-Match": '"1"'}
        ).is_success
    service.close()


def test_versions_are_listed_shown_asked_and_restored(client: TestClient) -> None:
    here = place(client)
    client.post(f"{here}/examples", json={"examples": MORE})
    client.delete(f"{here}/examples/e0")
    first = client.get(f"{here}/versions?limit=2").json()
    assert [(v["version"], v["n_examples"]) for v in first["versions"]] == [(3, 2), (2, 3)]
    rest = client.get(f"{here}/versions?limit=2&cursor={first['cursor']}").json()
    assert [v["version"] for v in rest["versions"]] == [1]
    assert rest["cursor"] is None
    assert client.get(f"{here}/versions/1").json()["classes"] == ["x", "y"]
    asked = client.post(f"{here}/versions/2/predict", json={"inputs": [[0, 0]]}).json()
    assert (asked["version"], asked["predictions"][0]["label"]) == (2, "x")
    back = client.post(f"{here}/versions/1/restore")
    assert (back.status_code, back.json()["version"], back.json()["classes"]) == (201, 4, ["x", "y"])
    assert client.get(f"{here}/versions/9").status_code == 404
    assert client.get(f"{here}/versions/0").status_code == 404


def test_models_and_examples_come_in_pages(client: TestClient) -> None:
    made = sorted(place(client).rpartition("/")[2] for _ in range(5))
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = client.get(f"/v1/models?limit=2&cursor={cursor}").json()
        assert len(page["models"]) <= 2
        seen += [model["id"] for model in page["models"]]
        cursor = page["cursor"]
    assert seen == made
    here = f"/v1/models/{made[0]}"
    client.post(f"{here}/examples", json={"examples": MORE})
    first = client.get(f"{here}/examples?limit=2").json()
    rest = client.get(f"{here}/examples?limit=2&cursor={first['cursor']}").json()
    assert [e["label"] for e in first["examples"] + rest["examples"]] == ["x", "y", "z"]
    assert rest["cursor"] is None
    assert client.get(f"{here}/examples?cursor=v1").status_code == 422


# once


CHANGES = [
    ("", {"examples": TWO, "base": "rows"}), ("/examples", {"examples": MORE}), ("/feedback", {"input": [5, 5], "label": "z"}),
    ("/rebase", {"base": "rows"}), ("/versions/1/restore", None), ("/classes/rename", {"from": "x", "to": "w"}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), CHANGES)
def test_the_same_key_is_done_once(client: TestClient, path: str, body: Any) -> None:
    here = place(client)
    there = f"{here}{path}" if path else "/v1/models"
    sent = {} if body is None else {"json": body}
    first, again = (client.post(there, headers={"Idempotency-Key": "k"}, **sent) for _ in range(2))
    assert first.is_success, first.text
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers.get("location") == first.headers.get("location")
    if path:
        assert client.get(here).json()["version"] == 2
    else:
        assert len(client.get("/v1/models").json()["models"]) == 2


def test_a_key_with_another_request_is_refused(client: TestClient) -> None:
    here, head = place(client), {"Idempotency-Key": "k"}
    assert client.post(f"{here}/examples", json={"examples": MORE}, headers=head).status_code == 201
    assert client.post(f"{here}/examples", json={"examples": TWO}, headers=head).status_code == 422
    assert client.post("/v1/models", json=TEACH, headers=head).status_code == 422
    assert client.get(here).json()["version"] == 2


def test_fifty_at_once_make_one_model(service: Service) -> None:
    with TestClient(create_app(service, keys=False)) as client:
        answers: list[Any] = []

        def ask() -> None:
            answers.append(client.post("/v1/models", json=TEACH, headers={"Idempotency-Key": "k"}))

        threads = [threading.Thread(target=ask) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {a.status_code for a in answers} == {201}
    assert len({a.content for a in answers}) == 1
    assert service.store.count() == 1


def test_a_key_whose_request_still_runs_is_told_so(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kshot.serving.http.desk._PATIENCE", 0.05)
    begun, finish, taught = threading.Event(), threading.Event(), service.teach

    def slow(*given: Any, **named: Any) -> Any:
        begun.set()
        finish.wait(10)
        return taught(*given, **named)

    monkeypatch.setattr(service, "teach", slow)
    app = create_app(service, keys=False)
    with TestClient(app) as client:
        codes: list[int] = []
        head = {"Idempotency-Key": "k"}
        thread = threading.Thread(
            target=lambda: codes.append(client.post("/v1/models", json=TEACH, headers=head).status_code)
        )
        thread.start()
        begun.wait(10)
        early = client.post("/v1/models", json=TEACH, headers=head)
        finish.set()
        thread.join()
        assert early.status_code == 409
        assert early.headers["retry-after"] == "1"
        assert codes == [201]
        assert client.post("/v1/models", json=TEACH, headers=head).status_code == 201
    assert service.store.count() == 1


# questions


def test_feedback_teaches_what_is_right(client: TestClient) -> None:
    here = place(client)
    told = client.post(f"{here}/feedback", json={"input": [5, 5], "label": "z"}).json()
    assert (told["learned"], told["version"], told["classes"]) == (True, 2, ["x", "y", "z"])
    told = client.post(f"{here}/feedback", json={"input": [0.9, 1], "answer": "y", "good": True}).json()
    assert (told["learned"], told["n_examples"]) == (True, 4)
    told = client.post(f"{here}/feedback", json={"input": [0.9, 1], "answer": "y", "good": False}).json()
    assert (told["learned"], told["version"]) == (False, 3)
    assert told["perhaps"][0] == "x"
    assert client.post(f"{here}/feedback", json={"input": [0, 0]}).status_code == 422


def test_label_next_asks_where_it_is_unsure(client: TestClient) -> None:
    here = place(client)
    body = {"inputs": [[0, 0.1], [0.51, 0.5], [1, 0.9]], "count": 1}
    told = client.post(f"{here}/label-next", json=body).json()
    assert told["suggestions"][0]["place"] == 1
    assert 0 < told["expected_error"] < 1


def test_explain_check_and_quality(client: TestClient) -> None:
    here = place(client)
    why = client.post(f"{here}/explain", json={"input": [0.1, 0]}).json()
    assert (why["label"], why["evidence"][0]["id"]) == ("x", "e0")
    checked = client.post(
        f"{here}/check", json={"examples": [TWO[0], {"input": [0, 0], "label": "y"}]}
    ).json()
    assert (checked["right"], checked["total"]) == (1, 2)
    assert client.get(f"{here}/quality").json()["judged"] == 0


def test_numbers_are_taught_and_asked(client: TestClient) -> None:
    examples = [{"input": [k, 1.0], "label": 2.0 * k + 0.5} for k in range(6)]
    here = place(client, {"base": "numbers", "examples": examples})
    told = client.post(f"{here}/predict", json={"inputs": [[2.5, 1.0]]}).json()["predictions"][0]
    assert told["value"][0] == pytest.approx(5.5, abs=0.7)
    about = client.get(here.replace("/v1", "/v2")).json()
    assert about["outputs"][0]["name"] == "value"


def test_the_open_inference_protocol(client: TestClient) -> None:
    here = place(client)
    name = here.rpartition("/")[2]
    assert client.get("/v2").json()["extensions"] == ["kshot_adapt"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    about = client.get(f"/v2/models/{name}").json()
    assert about["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 2]}]
    assert about["versions"] == ["1"]
    assert client.get(f"/v2/models/{name}/versions/1/ready").json()["ready"] is True
    asked = {
        "id": "q",
        "inputs": [{"name": "input", "shape": [2, 2], "datatype": "FP32", "data": [0, 0, 1, 1]}],
    }
    for path in (f"/v2/models/{name}/infer", f"/v2/models/{name}/versions/1/infer"):
        told = client.post(path, json=asked).json()
        outputs = {o["name"]: o for o in told["outputs"]}
        assert (told["id"], told["model_name"], told["model_version"]) == ("q", name, "1")
        assert outputs["label"]["data"] == ["x", "y"]
        assert outputs["scores"]["shape"] == [2, 2]
        assert sum(outputs["scores"]["data"]) == pytest.approx(2)
    for wrong in (
        {"shape": [2, 2], "data": [0, 0, 1]}, {"shape": [2, 2], "datatype": "BYTES"}, {"shape": [2, 2], "datatype": "TEXT"},
        {"shape": [-1]}, {"shape": [2**31, 0], "data": []}, {"shape": [0, 2], "data": []},
    ):  # fmt: skip
        sent = {"inputs": [{**asked["inputs"][0], **wrong}]}  # type: ignore[dict-item]
        assert client.post(f"/v2/models/{name}/infer", json=sent).status_code in (413, 422), wrong
    assert client.get(f"/v2/models/{name}/versions/7/ready").status_code == 404


# files


def saved(service: Service, **more: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    task = service.bases["rows"].adapt(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), ["x", "y"])
    manifest, tensors = task_record(task, include_base=False)
    return {**manifest, **more}, dict(tensors)


def test_a_model_goes_out_and_comes_in(client: TestClient, service: Service, tmp_path: Path) -> None:
    here = place(client)
    given = client.get(f"{here}/export")
    assert given.headers["content-disposition"].endswith('.kshot"')
    (tmp_path / "it.kshot").write_bytes(given.content)
    task = kshot.load(tmp_path / "it.kshot")
    back = client.post("/v1/models/import", content=given.content)
    assert back.status_code == 201, back.text
    asked = {"inputs": [[0.3, 0.4]]}
    answers = [client.post(f"{p}/predict", json=asked).json() for p in (here, back.headers["Location"])]
    assert answers[0]["predictions"] == answers[1]["predictions"] == task.predict([[0.3, 0.4]]).to_json()
    assert client.get(f"{here}/export?format=exe").status_code == 422


def test_only_whole_files_of_ours_come_in(client: TestClient, service: Service) -> None:
    good = storage.pack(*saved(service))
    assert client.post("/v1/models/import", content=good).status_code == 201
    flipped = bytearray(good)
    flipped[-3] ^= 1
    manifest, tensors = saved(service)
    nan = {**tensors, "inputs": torch.full((2, 2), float("nan"))}
    other = kshot.learners.ProtoNet(kshot.encoders.identity(3)).adapt(torch.eye(3)[:2], ["x", "y"])
    bad = {
        "flipped": bytes(flipped), "cut": good[:-1], "pickle": b"\x80\x04K\x01.", "zip": b"PK\x03\x04" + b"0" * 100,
        "huge header": (2**40).to_bytes(8, "little") + good[8:], "nothing": b"", "nan": storage.pack(manifest, nan),
        "foreign base": storage.pack(*task_record(other, include_base=False)),
        "base": storage.pack({**manifest, "what": "learner"}, tensors), "newer": storage.pack(*saved(service, digests=[])),
        "one label short": storage.pack(*saved(service, targets=["x"])), "no space": storage.pack(*saved(service, space=7)),
        "bad label": storage.pack(*saved(service, targets=["x", "\x00"])), "odd inputs": storage.pack(*saved(service, inputs=5)),
        "retuned": storage.pack(*saved(service, scalars={"ridge": 1.0})), "no base": storage.pack(*saved(service, base=None)),
    }  # fmt: skip
    for name, data in bad.items():
        answer = client.post("/v1/models/import", content=data)
        assert answer.status_code in (404, 413, 422), (name, answer.text)
    assert service.store.count() == 1


def test_nothing_is_ever_unpickled(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    import joblib
    import numpy as np

    def reached(*_: Any, **__: Any) -> None:
        raise AssertionError("a pickle would have been opened")

    for owner, name in ((pickle, "load"), (pickle, "loads"), (torch, "load"), (joblib, "load"), (np, "load")):
        monkeypatch.setattr(owner, name, reached)
    monkeypatch.setattr(pickle, "Unpickler", reached)
    here = place(client)
    good = storage.pack(*saved(service))
    assert client.post("/v1/models/import", content=good).status_code == 201
    assert client.post("/v1/models/import", content=b"\x80\x04K\x01.").status_code == 422
    for path in ("/export", "/quality", "/versions", "/examples"):
        assert client.get(here + path).is_success
    for path, body in (
        ("/predict", {"inputs": [[0, 0]]}),
        ("/explain", {"input": [0, 0]}),
        ("/rebase", {"base": "rows"}),
    ):
        assert client.post(here + path, json=body).is_success


# limits


@pytest.mark.parametrize(
    ("limits", "path", "body", "status"),
    [
        ({"body_bytes": 300}, "", {**TEACH, "name": "n" * 200}, 413),
        ({"examples": 2}, "", {**TEACH, "examples": TWO + MORE}, 413),
        ({"examples": 2}, "/examples", {"examples": MORE}, 413),
        ({"classes": 2}, "/examples", {"examples": MORE}, 413),
        ({"inputs": 1}, "/predict", {"inputs": [[0, 0], [1, 1]]}, 413),
        ({"pool": 2}, "/label-next", {"inputs": [[0, 0], [1, 1], [2, 2]]}, 413),
        ({"label_characters": 2}, "/examples", {"examples": [{"input": [0, 0], "label": "abc"}]}, 422),
        ({"label_characters": 2}, "", {**TEACH, "name": "abc"}, 422),
        ({"text_characters": 5}, "", {"base": "words", "examples": [{"input": "abcdef", "label": "a"}, {"input": "b", "label": "b"}]}, 413),
        ({"image_bytes": 30}, "", {"base": "pixels", "examples": [{"input": png(), "label": "a"}, {"input": png(), "label": "b"}]}, 413),
        ({"image_pixels": 15}, "", {"base": "pixels", "examples": [{"input": png(), "label": "a"}, {"input": png(), "label": "b"}]}, 413),
        ({"header_bytes": 1000}, "/../import", b"\xff\xff" + b"\0" * 6 + b'{"__metadata__":{"kshot":"0', 413),
    ],
)  # fmt: skip
def test_each_limit_holds(tmp_path: Path, limits: dict[str, int], path: str, body: Any, status: int) -> None:
    service = service_at(tmp_path, **limits)
    with TestClient(create_app(service, keys=False)) as client:
        there = {"": "/v1/models", "/../import": "/v1/models/import"}.get(path) or place(client) + path
        sent = {"content": body} if isinstance(body, bytes) else {"json": body}
        answer = client.post(there, **sent)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    service.close()


def test_limits_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSHOT_BODY_BYTES", "123")
    assert Limits().body_bytes == 123
    monkeypatch.setenv("KSHOT_BODY_BYTES", "-1")
    with pytest.raises(ValueError, match="body_bytes"):
        Limits()


def test_a_tenant_has_so_many_models(tmp_path: Path) -> None:
    from kshot.serving.http import make_key

    service = service_at(tmp_path, models=1)
    with TestClient(create_app(service, keys=True)) as client:
        heads = [{"Authorization": f"Bearer {make_key(service, tenant)}"} for tenant in "ab"]
        codes = [client.post("/v1/models", json=TEACH, headers=heads[k]).status_code for k in (0, 0, 1)]
        assert codes == [201, 413, 201]
    service.close()


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
def test_only_three_kinds_of_images_are_opened(client: TestClient, kind: str) -> None:
    body = {
        "base": "pixels",
        "examples": [{"input": png(kind=kind), "label": "a"}, {"input": png(), "label": "b"}],
    }
    answer = client.post("/v1/models", json=body)
    assert answer.status_code == 422
    assert "PNG, JPEG or WEBP" in answer.json()["detail"]


def test_a_bomb_of_an_image_is_refused_by_its_header(client: TestClient) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
    body = {"base": "pixels", "examples": [{"input": base64.b64encode(bomb).decode(), "label": "a"}] * 2}
    answer = client.post("/v1/models", json=body)
    assert answer.status_code in (413, 422), answer.text


def test_a_full_house_is_told_to_come_back(tmp_path: Path) -> None:
    service = service_at(tmp_path, queue=1)
    app = create_app(service, keys=False)
    with TestClient(app) as client:
        here = place(client)
        app.gate.inside = 1
        refused = client.post(f"{here}/predict", json={"inputs": [[0, 0]]})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert client.get("/livez").status_code == 200
        app.gate.inside = 0
        assert client.post(f"{here}/predict", json={"inputs": [[0, 0]]}).status_code == 200
    service.close()


def test_what_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = service_at(tmp_path, request_seconds=0.1)
    stop = threading.Event()
    with TestClient(create_app(service, keys=False)) as client:
        monkeypatch.setattr(service, "models", lambda *_: stop.wait(5))
        answer = client.get("/v1/models")
        stop.set()
        assert answer.status_code == 503
        assert "longer than 0.1 s" in answer.json()["detail"]
    service.close()


# figures and the log


def test_figures_count_what_was_done(client: TestClient) -> None:
    here = place(client)
    client.post(f"{here}/predict", json={"inputs": [[0, 0]]})
    client.post(f"{here}/predict", json={"inputs": []})
    told = client.get("/metrics").text
    for line in (
        'kshot_requests_total{code="200",route="/v1/models/{model}/predict"} 1.0',
        'kshot_requests_total{code="422",route="/v1/models/{model}/predict"} 1.0',
        "kshot_request_seconds_count 3.0", 'kshot_adapt_seconds_count{learner="protonet"} 1.0',
        'kshot_predict_seconds_count{learner="protonet"} 1.0', "kshot_queue_seconds_count 2.0", "kshot_batch_size_count 2.0",
        "kshot_models 1.0", "kshot_state_cache_hits_total", "kshot_store_errors_total 0.0",
    ):  # fmt: skip
        assert line in told
    assert here.rpartition("/")[2] not in told
    assert "local" not in told


def test_the_log_tells_no_contents_and_no_keys(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    from kshot.serving.http import make_key

    key = make_key(service, "acme")
    with TestClient(create_app(service, keys=True)) as client, caplog.at_level(logging.INFO, "kshot.access"):
        secret = {
            "base": "words",
            "examples": [{"input": f"secret {k}", "label": f"hidden{k}"} for k in range(2)],
        }
        client.post("/v1/models", json=secret, headers={"Authorization": f"Bearer {key}"})
        client.get("/v1/models?cursor=hidden_cursor")
        client.get("/livez")
    lines = [json.loads(record.message) for record in caplog.records if record.name == "kshot.access"]
    assert [(line["route"], line["status"], line["tenant"]) for line in lines] == [
        ("/v1/models", 201, "acme"), ("none", 401, None),
    ]  # fmt: skip
    assert "secret" not in caplog.text
    assert "hidden" not in caplog.text
    assert key[3:] not in caplog.text


def test_ready_means_able_to_write(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kshot.serving.http.health._FRESH", 0.0)
    assert client.get("/readyz").status_code == 200
    monkeypatch.setattr(service.store, "writable", lambda: False)
    assert (client.get("/readyz").status_code, client.get("/livez").status_code) == (503, 200)


# the description


def test_the_interface_is_as_described(client: TestClient) -> None:
    """A change of the interface shows as a change of this file; make it again with KSHOT_SNAPSHOT=1."""
    import os

    found = client.get("/openapi.json").json()
    assert found["openapi"].startswith("3.1")
    found["info"]["version"] = "any"
    kept = Path(__file__).parent / "openapi.json"
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    if os.environ.get("KSHOT_SNAPSHOT"):
        kept.write_text(text)
    assert json.loads(kept.read_text()) == found, "the interface changed: look at it, then KSHOT_SNAPSHOT=1"
    for path, verbs in found["paths"].items():
        for verb, about in verbs.items():
            assert about["responses"]["default"]["content"].keys() == {"application/problem+json"}, (
                verb,
                path,
            )
            assert about.get("summary"), (verb, path)
