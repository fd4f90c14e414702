"""One life of a model over HTTP for every kind of learner and of answer: taught, asked, changed, carried elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from fastapi.testclient import TestClient

import kshot
from kshot.learners import Learner
from kshot.serving.http import create_app
from kshot.serving.service import Service
from kshot.serving.store import Store


class Kind(NamedTuple):
    """A base, examples to teach and to add, and inputs to ask."""

    base: Callable[[], Learner]
    taught: list[dict[str, Any]]
    added: list[dict[str, Any]]
    asked: list[Any]


def rows(labels: list[Any]) -> list[dict[str, Any]]:
    return [{"input": [float(n), 1.0], "label": label} for n, label in enumerate(labels)]


def network() -> Any:
    torch.manual_seed(0)
    return kshot.encoders.mlp(2, (8,))


def pictures() -> tuple[list[dict[str, Any]], list[Any]]:
    """Drawn scenes as posted."""
    drawn = kshot.vision.Scenes(size=96, ways=2, pictures=3, queries=1, marked=False).sample(
        torch.Generator().manual_seed(0)
    )
    to_json = kshot.load("scenes").encoder.to_json
    marked = [
        {"input": to_json(picture), "label": [[*map(float, box[:4]), f"thing {box[4]}"] for box in boxes]}
        for picture, boxes in zip(drawn.support.inputs, drawn.support.targets, strict=True)
    ]
    return marked, [to_json(picture) for picture in drawn.query.inputs[:1]]


TEXTS = [
    {"input": "Please call Mrs Ito in Kyoto.", "label": [[12, 19, "person"], [23, 28, "place"]]},
    {"input": "Dr Okafor moved to Lagos.", "label": [[0, 9, "person"], [19, 24, "place"]]},
]
TWO, MORE = rows(["x", "x", "y", "y"]), [{"input": [9.0, 1.0], "label": "y"}]
KINDS: dict[str, Callable[[], Kind]] = {
    "spans": lambda: Kind(
        lambda: kshot.text.entities("hash:ngram"), TEXTS, [{"input": "Nothing to report.", "label": []}],
        ["Then Mrs Diallo flew to Bamako."],
    ),
    "boxes": lambda: Kind(lambda: kshot.load("scenes"), (s := pictures())[0][:2], s[0][2:], s[1]),
    "numbers": lambda: Kind(
        lambda: kshot.learners.ClosedForm(kshot.encoders.identity(2), "kernel_ridge"), rows([0.5, 1.0, 2.5]),
        [{"input": [9.0, 1.0], "label": 8.0}], [[0.5, 1.0]],
    ),
    "numbers with a spread": lambda: Kind(
        lambda: kshot.learners.ClosedForm(kshot.encoders.identity(2), "bayesian"), rows([0.5, 1.0, 2.5]),
        [{"input": [9.0, 1.0], "label": 8.0}], [[0.5, 1.0]],
    ),
    "gradient": lambda: Kind(
        lambda: kshot.learners.maml(network(), outputs=2, steps=2), TWO, MORE, [[0.5, 1.0]]
    ),
    "transfer": lambda: Kind(
        lambda: kshot.learners.Transfer(kshot.encoders.identity(2), classes=3), TWO, MORE, [[0.5, 1.0]]
    ),
    "fine-tuned transfer": lambda: Kind(
        lambda: kshot.learners.Transfer(network(), classes=3, probe="fine_tune", steps=3), TWO, MORE, [[0.5, 1.0]]
    ),
}  # fmt: skip


def near(one: Any, other: Any) -> None:
    """The same answers; numbers within what float16 keeps of features."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            near(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            near(a, b)
    else:
        assert one == (pytest.approx(other, rel=1e-3, abs=2e-2) if isinstance(other, float) else other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_lives_its_life(kind: str, tmp_path: Path) -> None:
    base, taught, added, asked = KINDS[kind]()
    learner = base()
    with TestClient(create_app(Service(Store.at(tmp_path), {"it": learner}), keys=False)) as client:

        def ask(verb: str, path: str, body: Any = None, status: int = 200, **more: Any) -> Any:
            answer = client.request(verb, f"/v1/models{path}", json=body, **more)
            assert answer.status_code == status, answer.text
            return answer

        def told(model: str) -> Any:
            return ask("POST", f"/{model}/predict", {"inputs": asked}).json()["predictions"]

        model = ask("POST", "", {"base": "it", "examples": taught}, 201).json()["id"]
        first = told(model)
        inputs, labels = [learner.encoder.from_json(e["input"]) for e in taught], [e["label"] for e in taught]
        near(
            first,
            learner.adapt(inputs, labels).predict([learner.encoder.from_json(x) for x in asked]).to_json(),
        )
        fresh = ask("POST", f"/{model}/examples", {"examples": added}, 201).json()
        assert (fresh["version"], fresh["n_examples"]) == (2, len(taught) + len(added))
        second = told(model)
        near(told(model), second)
        assert ask("POST", f"/{model}/check", {"examples": taught}).json()["version"] == 2
        data = ask("GET", f"/{model}/export").content
        headers = {"content-type": "application/octet-stream"}
        other = ask("POST", "/import", None, 201, content=data, headers=headers).json()["id"]
        near(told(other), second)
        if learner.removes:
            ask("DELETE", f"/{model}/examples/{fresh['examples'][-1]}?forget=true")
            near(told(model), first)
        near(ask("POST", f"/{model}/versions/1/predict", {"inputs": asked}).json()["predictions"], first)
        assert ask("GET", f"/{model}").json()["n_examples"] == len(taught) + (
            0 if learner.removes else len(added)
        )
    again = Service(Store.at(tmp_path), {"it": learner})
    near(again.predict("local", other, asked)["predictions"], second)
    assert again.store.check() == (2, [])
    again.close()


def test_check_without_a_body_asks_the_golden_examples(tmp_path: Path) -> None:
    learner = kshot.learners.ProtoNet(kshot.encoders.identity(2))
    with TestClient(create_app(Service(Store.at(tmp_path), {"it": learner}), keys=False)) as client:
        body = {"base": "it", "examples": [*TWO, {**MORE[0], "golden": True}]}
        made = client.post("/v1/models", json=body).json()
        assert made["golden"] == ["e4"]
        for more in ({}, {"json": {}}, {"json": {"examples": None}}):
            told = client.post(f"/v1/models/{made['id']}/check", **more)
            assert (told.status_code, told.json()["right"], told.json()["total"]) == (200, 1, 1)
        client.delete(f"/v1/models/{made['id']}/examples/e4")
        assert client.post(f"/v1/models/{made['id']}/check").status_code == 422
