"""Who may do what: every route, every verb, without a key, with a foreign one, with one that lacks the scope."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

import kshot
from kshot.errors import SettingError
from kshot.serving.http import App, create_app, make_key
from kshot.serving.http.gate import OPEN, OPEN_FOLDER
from kshot.serving.http.keys import SCOPES
from kshot.serving.limits import Limits
from kshot.serving.service import Service
from kshot.serving.store import Store

TWO = [{"input": [0.0, 0.0], "label": "x"}, {"input": [1.0, 1.0], "label": "y"}]
FAST = Limits(adapts_per_second=1e6, predicts_per_second=1e6)
BODIES: dict[str, Any] = {
    "POST /v1/models": {"base": "rows", "examples": TWO},
    "POST /v1/models/import": b"no such file",
    "PATCH /v1/models/{model}": {"name": "new"},
    "POST /v1/models/{model}/examples": {"examples": TWO},
    "POST /v1/models/{model}/predict": {"inputs": [[0, 0]]},
    "POST /v1/models/{model}/versions/{version}/predict": {"inputs": [[0, 0]]},
    "POST /v1/models/{model}/explain": {"input": [0, 0]},
    "POST /v1/models/{model}/check": {"examples": TWO},
    "POST /v1/models/{model}/label-next": {"inputs": [[0, 0]], "count": 1},
    "POST /v1/models/{model}/feedback": {"input": [0, 0], "label": "x"},
    "POST /v1/models/{model}/rebase": {"base": "rows"},
    "POST /v1/models/{model}/classes/rename": {"from": "x", "to": "z"},
    "POST /v1/models/{model}/versions/{version}/restore": None,
    "POST /v2/models/{model}/infer": {"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP32", "data": [0, 0]}]},
    "POST /v2/models/{model}/versions/{version}/infer": {
        "inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP32", "data": [0, 0]}]
    },
}  # fmt: skip
QUERIES = {"DELETE /v1/models/{model}/examples": "?id=e0"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(
        Store.at(tmp_path), {"rows": kshot.learners.ProtoNet(kshot.encoders.identity(2))}, limits=FAST
    )
    yield made
    made.close()


def doors(app: App) -> list[tuple[str, str]]:
    """Every verb of every route that the application has, whoever put it there."""
    found = []
    for route in app.routes:
        methods = getattr(route, "methods", None) or set()
        path = str(getattr(route, "path", ""))
        found += [(verb, path) for verb in sorted(methods - {"HEAD"})]
    return found


def ask(client: TestClient, verb: str, path: str, model: str, key: str | None) -> Any:
    body = BODIES.get(f"{verb} {path}")
    assert verb in ("GET", "DELETE") or f"{verb} {path}" in BODIES, f"give {verb} {path} a body in BODIES"
    real = path.format(model=model, example="e0", version=1, name="x") + QUERIES.get(f"{verb} {path}", "")
    head = {"Authorization": f"Bearer {key}"} if key else {}
    sent = {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
    return client.request(verb, real, headers=head, **sent)


def is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_FOLDER)


def test_every_door_is_shut_without_a_key_and_foreign_is_404(service: Service) -> None:
    key, other = make_key(service, "a"), make_key(service, "b", ",".join(SCOPES))
    model = service.teach("a", "rows", TWO)["id"]
    app = create_app(service, keys=True)
    seen = set()
    with TestClient(app) as client:
        for verb, path in doors(app):
            answer = ask(client, verb, path, model, None)
            if is_open(path):
                continue
            for wrong in (None, "ks_" + "A" * 43, key[:-1], ""):
                answer = ask(client, verb, path, model, wrong)
                assert answer.status_code == 401, (verb, path, wrong)
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["www-authenticate"] == "Bearer"
            if "{model}" in path:
                answer = ask(client, verb, path, model, other)
                assert answer.status_code == 404, (verb, path, answer.text)
                unknown = ask(client, verb, path, "m_" + "a" * 26, other)
                same = (re.sub(r"m_[a-z2-7]{26}|[0-9a-f]{16}", "-", a.text) for a in (answer, unknown))
                assert len(set(same)) == 1, (verb, path)
            seen.add((verb, path))
    assert len(seen) >= 30
    assert service.show("a", model)["n_examples"] == 2
    assert service.models("a")["models"][0]["name"] == ""


def test_every_door_needs_its_scope(service: Service) -> None:
    app = create_app(service, keys=True)
    model = service.teach("a", "rows", TWO)["id"]
    only = {scope: make_key(service, "a", scope) for scope in SCOPES}
    with TestClient(app) as client:
        for route in app.routes:
            if not isinstance(route, APIRoute) or is_open(route.path):
                continue
            needs = {d.call.needs for d in route.dependant.dependencies if hasattr(d.call, "needs")}
            assert len(needs) == 1, f"{route.path} asks for no scope"
            for verb in route.methods:
                for scope in set(SCOPES) - needs - {"admin"}:
                    answer = ask(client, verb, route.path, model, only[scope])
                    assert answer.status_code == 403, (verb, route.path, scope)
        assert client.get("/metrics", headers={"Authorization": f"Bearer {only['read']}"}).status_code == 403
        assert client.get("/metrics", headers={"Authorization": f"Bearer {only['admin']}"}).status_code == 200


def test_a_revoked_key_opens_nothing_after_a_second(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(service, "a")
    with TestClient(create_app(service, keys=True)) as client:
        head = {"Authorization": f"Bearer {key}"}
        assert client.get("/v1/models", headers=head).status_code == 200
        assert service.store.revoke(key[:11]) == 1
        monkeypatch.setattr("kshot.serving.http.keys._FRESH", 0.0)
        assert client.get("/v1/models", headers=head).status_code == 401


def test_keys_are_stored_as_hashes_only(service: Service, tmp_path: Path) -> None:
    key = make_key(service, "a")
    service.close()
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert key[:11].encode() in kept
    assert key[11:].encode() not in kept


@pytest.mark.parametrize(
    ("tenant", "scopes"), [("", "read"), ("a\n", "read"), ("a" * 65, "read"), ("a", "all")]
)
def test_bad_keys_are_not_made(service: Service, tenant: str, scopes: str) -> None:
    with pytest.raises(SettingError):
        make_key(service, tenant, scopes)


PATHS = [
    "/../../etc/passwd", "/v1/models/..%2f..%2fetc%2fpasswd", "/v1/models/%2e%2e/%2e%2e/x", "/v1/models/%252e%252e%252f",
    "/v1/models/..\\..\\x", "/v1/models/..%5c..%5cx", "/v1/models/m_%00", "/v1/models/m_" + "a" * 26 + "%00",
    "/v1/models/m_" + "A" * 26, "/v1/models/m_" + "a" * 27, "/v1/models/m_" + "a" * 26 + "%0a", "/static/..%2fpage.py",
    "/static/%2e%2e/page.py", "/static/..%5cpage.py", "/static/%252e%252e%252fpage.py", "/static//etc/passwd", "/static/%00",
    "/v1/models/．．／x", "/v2/models/..%2fx/ready", "/v1/models/%F0%9F%92%A9", "/v1/models/%ff%fe",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_paths_lead_nowhere(service: Service, path: str) -> None:
    with TestClient(create_app(service, keys=False)) as client:
        answer = client.get(path)
        assert answer.status_code in (404, 405), answer.text
        assert answer.json()["status"] == answer.status_code
        assert "root:" not in answer.text
        assert "from __future__" not in answer.text


def test_every_answer_carries_the_headers(service: Service) -> None:
    with TestClient(create_app(service, keys=True)) as client:
        for path in ("/", "/livez", "/openapi.json", "/v1/models", "/nothing"):
            head = client.get(path).headers
            assert head["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in head["content-security-policy"]
            assert "unsafe" not in head["content-security-policy"]
            assert "*" not in head["content-security-policy"]
            assert "access-control-allow-origin" not in head
        asked = client.options(
            "/v1/models", headers={"Origin": "https://x.test", "Access-Control-Request-Method": "POST"}
        )
        assert not any(name.startswith("access-control") for name in asked.headers)


def test_pages_of_other_names_and_sites_are_refused_without_keys(service: Service) -> None:
    app = create_app(service, keys=False, hosts=("127.0.0.1", "localhost", "[::1]"))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        assert client.get("/v1/models").status_code == 200
        assert client.get("/v1/models", headers={"Host": "[::1]:8000"}).status_code == 200
        assert client.get("/v1/models", headers={"Host": "evil.test:8000"}).status_code == 403
        assert client.get("/v1/models", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert client.get("/v1/models", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_a_key_holds_to_its_rate(tmp_path: Path) -> None:
    slow = Limits(adapts_per_second=0.5, predicts_per_second=1.0)
    service = Service(
        Store.at(tmp_path), {"rows": kshot.learners.ProtoNet(kshot.encoders.identity(2))}, limits=slow
    )
    keys = [{"Authorization": f"Bearer {make_key(service, tenant)}"} for tenant in "ab"]
    body = {"base": "rows", "examples": TWO}
    with TestClient(create_app(service, keys=True)) as client:
        codes = [client.post("/v1/models", json=body, headers=keys[0]).status_code for _ in range(2)]
        assert codes == [201, 429]
        refused = client.post("/v1/models", json=body, headers=keys[0])
        assert 1 <= int(refused.headers["retry-after"]) <= 2
        assert client.post("/v1/models", json=body, headers=keys[1]).status_code == 201
        assert client.get("/v1/models", headers=keys[0]).status_code == 200
    service.close()
