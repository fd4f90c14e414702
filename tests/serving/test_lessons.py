"""What a teacher asks of the service besides answers: bases, reasons, quality, undo, names, files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from fastapi.testclient import TestClient

import kshot
from kshot.errors import DataError
from kshot.serving.faults import Conflict, NotFound
from kshot.serving.http import create_app
from kshot.serving.lessons import ink_of
from kshot.serving.service import Service
from kshot.serving.store import Store

ROWS = [
    {"input": [0.0, 0.0], "label": "x"}, {"input": [0.0, 0.2], "label": "x"}, {"input": [1.0, 1.1], "label": "x"},
    {"input": [1.0, 1.0], "label": "y"}, {"input": [1.0, 1.2], "label": "y"},
]  # fmt: skip


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    rows = kshot.learners.ProtoNet(kshot.encoders.identity(2))
    base = kshot.load("glyphs")
    assert isinstance(base, kshot.Learner)
    made = Service(Store.at(tmp_path), {"rows": rows, "glyphs": base})
    yield made
    made.close()


def test_bases_say_what_they_take(service: Service) -> None:
    with TestClient(create_app(service, keys=False)) as client:
        rows, glyphs = client.get("/v1/bases").json()["bases"]
    assert (rows["modality"], rows["row"], rows["calibrated"]) == ("vector", {"inputs": 2}, False)
    assert (glyphs["modality"], glyphs["calibrated"]) == ("image", True)
    assert glyphs["exports"] == ["kshot", "onnx"]
    assert glyphs["image"] == {"size": 28, "channels": 1, "ink": "bright"}


def test_nobody_noted_the_ink() -> None:
    learner = kshot.learners.ProtoNet(kshot.encoders.conv4())
    assert ink_of(learner, kshot.encoders.conv4()) is None


def test_an_example_comes_back_as_it_was_posted(service: Service) -> None:
    image = service.bases["glyphs"].encoder.to_json
    drawn = kshot.data.GlyphFamily().draw(2, 1, kshot.seeds.generator(0, "test"))[:, 0].unsqueeze(1)
    posted = [{"input": image(x), "label": str(n)} for n, x in enumerate(drawn)]
    model = service.teach("a", "glyphs", posted)["id"]
    assert service.example("a", model, "e1") == {"id": "e1", "label": "1", "input": posted[1]["input"]}
    with pytest.raises(NotFound):
        service.example("a", model, "e7")


def test_quality_counts_what_is_mixed_up(service: Service) -> None:
    model = service.teach("a", "rows", ROWS)["id"]
    told = service.quality("a", model)
    task = service.bases["rows"].adapt([r["input"] for r in ROWS], [r["label"] for r in ROWS])
    hits = sum(a == r["label"] for a, r in zip(task.leave_one_out().labels, ROWS, strict=True))
    assert (told["judged"], told["right"]) == (5, hits) == (5, 4)
    assert told["low"] < 0.8 < told["high"]
    x, y = told["classes"]
    assert (x["right"], x["confused_with"]) == (2, [{"label": "y", "times": 1}])
    assert (y["right"], y["confused_with"]) == (2, [])


def test_one_example_a_class_cannot_be_judged(service: Service) -> None:
    told = service.quality("a", service.teach("a", "rows", [ROWS[0], ROWS[3]])["id"])
    assert (told["judged"], told["low"], told["suspects"]) == (0, None, [])


def test_reasons_are_the_librarys_own(service: Service) -> None:
    model = service.teach("a", "rows", ROWS)["id"]
    told = service.explain("a", model, [1.0, 1.0])
    task = service.bases["rows"].adapt([r["input"] for r in ROWS], [r["label"] for r in ROWS])
    own = task.explain([[1.0, 1.0]])
    assert [e["id"] for e in told["evidence"]] == [e.id for e in own.evidence]
    assert [e["contribution"] for e in told["evidence"]] == pytest.approx(
        [e.contribution for e in own.evidence], abs=2e-3  # stored features are float16
    )  # fmt: skip
    assert told["nearest"][0]["id"] == "e3"
    assert "familiarity" not in told  # the base was never calibrated


def test_undo_brings_a_class_back(service: Service) -> None:
    model = service.teach("a", "rows", [*ROWS, {"input": [5.0, 5.0], "label": "z"}])["id"]
    before = service.predict("a", model, [[4.0, 4.0]])["predictions"]
    assert service.remove("a", model, ["e5"])["classes"] == ["x", "y"]
    again = service.restore("a", model, 1)
    assert (again["version"], again["classes"]) == (3, ["x", "y", "z"])
    assert service.predict("a", model, [[4.0, 4.0]])["predictions"] == before
    with pytest.raises(Conflict):
        service.restore("a", model, 1, match=1)
    with pytest.raises(NotFound):
        service.restore("b", model, 1)


def test_a_class_is_renamed_or_joined(service: Service) -> None:
    model = service.teach("a", "rows", [*ROWS, {"input": [5.0, 5.0], "label": "z"}])["id"]
    told = service.relabel("a", model, "x", "cup")
    assert told["classes"] == ["cup", "y", "z"]
    assert set(told["examples"]) == {"e3", "e4", "e5", "e6", "e7", "e8"}
    assert service.predict("a", model, [[0.0, 0.0]])["predictions"][0]["label"] == "cup"
    assert service.predict("a", model, [[0.0, 0.0]], version=1)["predictions"][0]["label"] == "x"
    assert service.relabel("a", model, "z", "y")["classes"] == ["cup", "y"]
    with pytest.raises(DataError, match="at least two"):
        service.relabel("a", model, "cup", "y")
    with pytest.raises(NotFound, match="none"):
        service.relabel("a", model, "none", "y")


def test_names_and_files(service: Service, tmp_path: Path) -> None:
    model = service.teach("local", "rows", ROWS)["id"]
    with TestClient(create_app(service, keys=False)) as client:
        place = f"/v1/models/{model}"
        renamed = client.patch(place, json={"name": "cups"})
        assert renamed.status_code == 200, renamed.text
        assert client.patch("/v1/models/m_none", json={"name": "cups"}).status_code == 404
        told = client.get(f"{place}/export")
        assert "choose one of kshot, onnx" in client.get(f"{place}/export?format=pickle").json()["detail"]
        gone = client.delete(f"{place}/examples?id=e3&id=e0")
        assert gone.json()["n_examples"] == 3
        assert client.delete(f"{place}/examples").status_code == 422
    file = tmp_path / "cups.kshot"
    file.write_bytes(told.content)
    task = kshot.load(file)
    run = onnxruntime.InferenceSession(service.onnx("local", model), providers=["CPUExecutionProvider"])
    assert run.run(["labels"], {"rows": np.float32([[0.0, 0.1]])})[0].tolist() == ["x"]
    assert task.predict([[0.0, 0.1]]).labels == ["x"]


def test_the_page_is_served_under_a_strict_policy(service: Service) -> None:
    with TestClient(create_app(service, keys=True)) as client:
        page = client.get("/")
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        for name in ("..%2fhttp.py", "http.py", "%2e%2e/page.py", "index.html%00"):
            assert client.get(f"/static/{name}").status_code == 404
