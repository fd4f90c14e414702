"""Many tasks asked at once answer as one by one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

import kshot
from kshot.engine import FallbackWarning
from kshot.errors import SettingError
from kshot.learners import Adapted, Learner, predict_many
from kshot.seeds import generator


def pictures(n: int, seed: int) -> torch.Tensor:
    return torch.rand(n, 1, 16, 16, generator=generator(seed, "pictures"))


def gradient(moves: str, **settings: Any) -> Learner:
    encoder = kshot.encoders.conv4(width=8, size=16)
    return kshot.learners.GradientLearner(encoder, outputs=3, moves=moves, steps=2, **settings)


LEARNERS: dict[str, Callable[[], Learner]] = {
    "protonet": lambda: kshot.learners.ProtoNet(kshot.encoders.conv4(width=8, size=16)),
    "full": lambda: gradient("full"),
    "film": lambda: gradient("film"),
    "head": lambda: gradient("head"),
    "lora": lambda: gradient("lora:2"),
    "transductive": lambda: gradient("full", regime="transductive"),
}


def tasks(learner: Learner, count: int, labels: str = "abc") -> list[Adapted]:
    return [learner.adapt(pictures(len(labels), k), [f"{k}{c}" for c in labels]) for k in range(count)]


def made(name: str) -> Learner:
    torch.manual_seed(0)
    return LEARNERS[name]()


@pytest.mark.parametrize("chunk", [2, 100])
@pytest.mark.parametrize("name", LEARNERS)
def test_together_is_one_by_one(name: str, chunk: int) -> None:
    learner = made(name)
    asked = [(task, pictures(2, 50 + k)) for k, task in enumerate(tasks(learner, 5))]
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        found = predict_many(asked, chunk=chunk)
    for prediction, (task, queries) in zip(found, asked, strict=True):
        alone = task.predict(queries)
        assert prediction.labels == alone.labels
        assert abs(prediction.probabilities - alone.probabilities).max() <= 1e-5


@pytest.mark.parametrize("name", ["protonet", "full"])
def test_tasks_of_other_sizes_and_other_bases_may_be_asked_too(name: str) -> None:
    learner, other = made(name), kshot.learners.ProtoNet(kshot.encoders.conv4(width=4, size=16))
    asked = [
        (task, pictures(1 + k % 2, k))
        for k, task in enumerate([*tasks(learner, 3), *tasks(learner, 2, "ab"), *tasks(other, 2)])
    ]
    for prediction, (task, queries) in zip(predict_many(asked), asked, strict=True):
        assert prediction.labels == task.predict(queries).labels
    assert predict_many([]) == []


def test_what_vmap_cannot_do_is_done_one_by_one_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = made("full")
    plain = type(learner).respond

    def branching(self: Learner, state: Any, inputs: torch.Tensor, space: Any) -> Any:
        return plain(self, state, inputs if float(inputs.sum()) > 0 else -inputs, space)

    monkeypatch.setattr(type(learner), "respond", branching)
    asked = [(task, pictures(1, k)) for k, task in enumerate(tasks(learner, 3))]
    with pytest.warns(FallbackWarning, match="vmap cannot answer tasks of GradientLearner together"):
        found = predict_many(asked)
    assert [p.labels for p in found] == [task.predict(x).labels for task, x in asked]


def test_a_senseless_chunk_is_refused() -> None:
    with pytest.raises(SettingError, match="chunk is 0"):
        predict_many([], chunk=0)
