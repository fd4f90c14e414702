"""The service and its HTTP face, on the real store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import text

import kshot
from kshot.errors import DataError
from kshot.serving.faults import Conflict, Corrupt, KeyReused, NotFound
from kshot.serving.http import create_app
from kshot.serving.service import Service
from kshot.serving.store import Store

TWO = [{"input": [0.0, 0.0], "label": "x"}, {"input": [1.0, 1.0], "label": "y"}]
MORE = [{"input": [5.0, 5.0], "label": "z"}]


def service_at(folder: Path) -> Service:
    encoder = kshot.encoders.identity(2)
    return Service(Store.at(folder), {"rows": kshot.learners.ProtoNet(encoder)})


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = service_at(tmp_path)
    yield made
    made.close()


def test_teach_survives_a_restart_and_answers_alike(tmp_path: Path) -> None:
    first = service_at(tmp_path)
    told = first.teach("a", "rows", TWO)
    answer = first.predict("a", told["id"], [[0.4, 0.3]])
    first.close()
    again = service_at(tmp_path)
    assert again.predict("a", told["id"], [[0.4, 0.3]]) == answer
    again.close()


def test_answers_equal_adapting_here(service: Service) -> None:
    told = service.teach("a", "rows", TWO)
    task = service.bases["rows"].adapt(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), ["x", "y"])
    assert (
        service.predict("a", told["id"], [[0.4, 0.3]])["predictions"] == task.predict([[0.4, 0.3]]).to_json()
    )


def test_add_remove_forget(service: Service) -> None:
    model = service.teach("a", "rows", TWO)["id"]
    marked = [{"input": [5.0, 5.0], "label": "secretlabel"}]
    assert service.add("a", model, marked)["classes"] == ["secretlabel", "x", "y"]
    assert service.remove("a", model, ["e2"])["version"] == 3
    assert service.predict("a", model, [[5, 5]], version=2)["predictions"][0]["label"] == "secretlabel"
    service.forget("a", model, ["e2"])
    assert service.predict("a", model, [[5, 5]], version=2)["predictions"][0]["label"] == "y"


@pytest.mark.parametrize("sheet", [True, False], ids=["read off its sheet", "solved again"])
def test_what_is_forgotten_while_a_task_is_made_is_never_answered_from(
    service: Service, monkeypatch: pytest.MonkeyPatch, sheet: bool
) -> None:
    model = service.teach("a", "rows", [*TWO, *MORE])["id"]
    owner, name = (service.store, "on_sheet") if sheet else (service.tasks, "of")
    made = getattr(owner, name)
    if not sheet:
        service.store.drop_features()

    def slow(*arguments: Any, **more: Any) -> Any:
        monkeypatch.undo()
        found = made(*arguments, **more)
        service.forget("a", model, ["e2"])
        return found

    monkeypatch.setattr(owner, name, slow)
    service.predict("a", model, [[5, 5]])
    assert getattr(owner, name) == made  # so it was called
    assert service.predict("a", model, [[5, 5]])["predictions"][0]["label"] == "y"


def test_another_tenant_finds_nothing(service: Service) -> None:
    model = service.teach("a", "rows", TWO)["id"]
    for ask in (
        lambda: service.predict("b", model, [[0, 0]]), lambda: service.show("b", model),
        lambda: service.add("b", model, MORE), lambda: service.remove("b", model, ["e0"]),
        lambda: service.forget("b", model, ["e0"]), lambda: service.delete("b", model),
        lambda: service.explain("b", model, [0, 0]), lambda: service.rebase("b", model, "rows"),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            ask()
    assert service.models("b")["models"] == []
    assert service.show("a", model)["n_examples"] == 2


def test_fifty_equal_requests_make_one_model(service: Service) -> None:
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(service.teach("a", "rows", TWO, key="k")))
        for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 50
    assert {a["id"] for a in answers} == {answers[0]["id"]}
    assert service.store.count() == 1
    with pytest.raises(KeyReused):
        service.teach("a", "rows", [*TWO, *MORE], key="k")


def test_two_who_add_at_once_are_both_kept(service: Service) -> None:
    model = service.teach("a", "rows", TWO)["id"]
    threads = [threading.Thread(target=service.add, args=("a", model, MORE)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.show("a", model)["n_examples"] == 10
    assert service.show("a", model)["versions"] == list(range(1, 10))
    with pytest.raises(Conflict):
        service.add("a", model, MORE, match=1)


def test_a_flipped_byte_is_found_and_harms_no_other(tmp_path: Path) -> None:
    service = service_at(tmp_path)
    bad, good = (service.teach("a", "rows", TWO)["id"] for _ in range(2))
    with service.store.engine.begin() as connection:
        connection.execute(text("UPDATE features SET data = X'01000000' WHERE model = :m"), {"m": bad})
    service.close()
    again = service_at(tmp_path)
    with pytest.raises(Corrupt, match=bad):
        again.predict("a", bad, [[0, 0]])
    assert again.predict("a", good, [[0, 0]])["predictions"][0]["label"] == "x"
    again.close()


def test_mixed_requests_equal_one_by_one(service: Service) -> None:
    learner = kshot.learners.ProtoNet(kshot.encoders.conv4(size=28, channels=1))
    inputs = [torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(n)) for n in range(1, 9)]
    alone = [service.batcher.embed(learner, x) for x in inputs]
    found: dict[int, torch.Tensor] = {}

    def ask(n: int) -> None:
        found[n] = service.batcher.embed(learner, inputs[n])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(8):
        torch.testing.assert_close(found[n], alone[n], atol=1e-5, rtol=1e-5)


def test_one_class_is_refused(service: Service) -> None:
    with pytest.raises(DataError, match="at least two"):
        service.teach("a", "rows", TWO[:1])
    assert service.store.count() == 0


def test_http(service: Service) -> None:
    from fastapi.testclient import TestClient

    with TestClient(create_app(service, keys=False)) as client:
        made = client.post("/v1/models", json={"base": "rows", "examples": TWO})
        assert made.status_code == 201, made.text
        place = made.headers["Location"]
        answer = client.post(f"{place}/predict", json={"inputs": [[1, 1]]})
        assert answer.json()["predictions"][0]["label"] == "y"
        assert client.post(f"{place}/versions/1/predict", json={"inputs": [[1, 1]]}).status_code == 200
        assert client.get(place).headers["ETag"] == '"1"'
        late = client.post(f"{place}/examples", json={"examples": MORE}, headers={"If-Match": '"7"'})
        assert late.status_code == 412
        assert late.headers["content-type"] == "application/problem+json"
        assert client.post("/v1/models", json={"base": "none", "examples": TWO}).status_code == 404
        assert client.post("/v1/models", json={"base": "rows"}).status_code == 422
        assert client.post("/v1/models", content=b"x" * (service.limits.body_bytes + 1)).status_code == 413
        assert client.get("/readyz").json() == {"ready": True}
        told = client.get("/metrics").text
        assert "kshot_models 1.0" in told
        assert 'kshot_requests_total{code="413",route="none"} 1.0' in told
        assert 'route="/readyz"' not in told
        assert 'kshot_requests_total{code="200",route="/v1/models/{model}"} 1.0' in told
        assert client.delete(place).status_code == 204
        assert client.get(place).status_code == 404
