"""Questions that are answered together: as one by one, and a bad one harms no other."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

import kshot
from kshot.errors import DataError
from kshot.serving.faults import NotFound, TooLarge
from kshot.serving.http import create_app
from kshot.serving.service import Asked, Service
from kshot.serving.store import Store


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    bases = {
        "conv": kshot.learners.ProtoNet(kshot.encoders.conv4(size=28, channels=1)),
        "words": kshot.text.classifier("hash:ngram?dim=64"),
    }
    made = Service(Store.at(tmp_path), bases)
    yield made
    made.close()


def taught(service: Service, tenant: str = "a") -> list[Asked]:
    """A question to each of eight tasks on two bases."""
    drawn = torch.rand(48, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    pictures = [service.bases["conv"].encoder.to_json(image) for image in drawn]
    asked = []
    for n in range(4):
        own = [{"input": pictures[10 * n + k], "label": f"c{k % 3}"} for k in range(6)]
        asked.append(
            Asked(tenant, service.teach(tenant, "conv", own)["id"], pictures[10 * n + 6 : 10 * n + 7 + n])
        )
        said = [{"input": f"text {n} of class {k % 2} number {k}", "label": f"c{k % 2}"} for k in range(4)]
        asked.append(
            Asked(tenant, service.teach(tenant, "words", said)["id"], [f"text {n} of class 1"] * (n + 1))
        )
    return asked


def test_together_equals_one_by_one(service: Service) -> None:
    asked = taught(service)
    alone = [service.predict(q.tenant, q.model, q.inputs) for q in asked]
    for one, other in zip(service.predict_many(asked), alone, strict=True):
        assert isinstance(one, dict)
        assert [a["label"] for a in one["predictions"]] == [a["label"] for a in other["predictions"]]
        for mine, yours in zip(one["predictions"], other["predictions"], strict=True):
            given, expected = (list(a["probabilities"].values()) for a in (mine, yours))
            np.testing.assert_allclose(given, expected, atol=1e-5, rtol=0)


def test_a_bad_question_harms_no_other(service: Service) -> None:
    asked = taught(service)
    good = service.predict_many(asked[:2])
    bad = [
        Asked("b", asked[0].model, asked[0].inputs), Asked("a", asked[0].model, ["no picture"]),
        Asked("a", asked[1].model, []), Asked("a", asked[1].model, ["x"], 9),
    ]  # fmt: skip
    mixed = service.predict_many([asked[0], *bad, asked[1]])
    kinds = [type(one) for one in mixed[1:-1]]
    assert kinds == [NotFound, DataError, TooLarge, NotFound]
    assert [one["predictions"] for one in (mixed[0], mixed[-1])] == [one["predictions"] for one in good]  # type: ignore[index]


def test_over_http_each_client_gets_its_own_answer(service: Service) -> None:
    asked = [q._replace(tenant="local") for q in taught(service, "local")]
    alone = [service.predict(q.tenant, q.model, q.inputs) for q in asked]
    app = create_app(service, keys=False)
    with TestClient(app) as client, concurrent.futures.ThreadPoolExecutor(16) as pool:
        for _ in range(3):
            sent = [
                pool.submit(client.post, f"/v1/models/{q.model}/predict", json={"inputs": q.inputs})
                for q in asked
            ]
            for answer, expected in zip(sent, alone, strict=True):
                told = [a["label"] for a in answer.result().json()["predictions"]]
                assert told == [a["label"] for a in expected["predictions"]]
    assert service.observed.families.get_sample_value("kshot_batch_size_sum") >= 24 + 8
