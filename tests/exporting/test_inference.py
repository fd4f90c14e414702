"""A learner optimised for inference answers as before, is the same base, and lets go where gradients are asked."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

import kshot
from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.exporting import inference, optimize_for_inference
from kshot.learners import Learner
from kshot.seeds import generator


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, 28, 28, generator=generator(seed, "pictures"))


def trained(**settings: Any) -> Learner:
    """A conv4 whose running statistics are not those of the start."""
    torch.manual_seed(0)
    learner = kshot.learners.ProtoNet(kshot.encoders.conv4(width=8, **settings))
    learner.train()
    learner.encoder(pictures(64))
    return learner.eval()


@pytest.fixture(scope="module")
def base() -> Learner:
    return trained()


@pytest.fixture(scope="module")
def onnx(base: Learner) -> Learner:
    return optimize_for_inference(base, pictures(8), how="onnx")


def answers(learner: Learner, queries: torch.Tensor) -> Any:
    return learner.adapt(pictures(15, 1), [k % 5 for k in range(15)]).predict(queries)


@pytest.mark.parametrize("how", ["folded", "onnx"])
def test_features_and_decisions_are_those_of_the_plain_network(
    base: Learner, how: str, request: pytest.FixtureRequest
) -> None:
    fast = (
        request.getfixturevalue("onnx")
        if how == "onnx"
        else optimize_for_inference(base, pictures(8), how=how)
    )
    runner = fast.encoder.runner
    assert runner.way == how
    assert runner.gap <= 1e-4
    assert set(runner.seconds) == {"plain", how}
    assert f"{how} " in runner.report
    queries = pictures(1000, 2)
    with torch.no_grad():
        plain, other = base.encoder(queries), fast.encoder(queries)
    assert not torch.equal(plain, other)  # it really ran elsewhere
    assert float((plain - other).abs().max() / plain.abs().max()) <= 1e-4
    same = [a == b for a, b in zip(answers(base, queries).labels, answers(fast, queries).labels, strict=True)]
    assert sum(same) >= 999


def test_it_is_the_same_base_and_saves_the_same_task(base: Learner, onnx: Learner, tmp_path: Path) -> None:
    assert onnx.encoder.fingerprint() == base.encoder.fingerprint()
    assert base.encoder.runner is None
    assert type(onnx) is type(base)
    task = onnx.adapt(pictures(4), ["a", "b", "a", "b"])
    task.save(tmp_path / "task.kshot", include_base=True)
    again = kshot.load(tmp_path / "task.kshot")
    assert again.learner.encoder.runner is None
    assert again.predict(pictures(9, 3)).labels == task.predict(pictures(9, 3)).labels


def test_the_given_learner_keeps_its_modes_and_its_own_encoder() -> None:
    given = trained().train()
    fast = optimize_for_inference(given, pictures(2), how="folded")
    assert all(part.training for part in given.modules())
    assert given.encoder.runner is None
    assert (
        fast.adapt(pictures(4), ["a", "b"] * 2).predict(pictures(2)).labels
    )  # which sets the modes it needs by itself


def test_where_a_gradient_is_asked_the_plain_network_runs(base: Learner, onnx: Learner) -> None:
    queries = pictures(3, 4)
    assert torch.equal(onnx.encoder(queries), base.encoder(queries))
    out = onnx.encoder(queries).sum()
    assert torch.autograd.grad(out, next(onnx.encoder.parameters()))[0].abs().sum() > 0
    with torch.no_grad():
        assert onnx.encoder(queries.double()[:0].float()).shape == (0, 8)  # and for no inputs


def test_copies_that_may_be_trained_follow_their_own_weights(onnx: Learner) -> None:
    assert copy.deepcopy(onnx).encoder.runner is None
    assert pickle.loads(pickle.dumps(onnx.encoder.runner)) is None
    source = kshot.data.Episodes(
        kshot.data.Pool(pictures(12, 5), [k // 3 for k in range(12)]), kshot.tasks.NWayKShot(2, 1, 1)
    )
    run = kshot.fit(onnx, source, steps=1, progress=False)
    assert run.learner.encoder.runner is None


def test_another_number_type_runs_plainly(base: Learner) -> None:
    fast = optimize_for_inference(trained(), pictures(2), how="folded").double()
    with torch.no_grad():
        assert fast.encoder(pictures(2).double()).dtype == torch.float64


def test_auto_takes_the_fastest_that_is_right(base: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"plain": (1.0, 1.0), "folded": (0.5, 0.5), "onnx": (0.4, 0.99)}
    monkeypatch.setattr(inference, "_timed", lambda calls, _: {way: slow[way] for way in calls})

    def broken(*_: Any) -> Any:
        raise RuntimeError("no such operator")

    monkeypatch.setitem(inference.MAKERS, "onnx", broken)
    runner = optimize_for_inference(base, pictures(2)).encoder.runner
    assert runner.way == "folded"
    assert "onnx: no such operator" in runner.report
    slow["folded"] = (1.0, 0.99)  # less than 5 % is nothing
    assert optimize_for_inference(base, pictures(2)).encoder.runner is None
    assert optimize_for_inference(base, pictures(2), how="plain").encoder.runner is None


def test_what_is_refused(base: Learner) -> None:
    with pytest.raises(SettingError, match="how is 'fast'"):
        optimize_for_inference(base, pictures(1), how="fast")
    with pytest.raises(SettingError, match="tolerance is -1"):
        optimize_for_inference(base, pictures(1), tolerance=-1)
    with pytest.raises(DataError, match="no inputs"):
        optimize_for_inference(base, pictures(0))
    with pytest.raises(UnsupportedError, match="no batch norm"):
        optimize_for_inference(trained(norm="group"), pictures(1), how="folded")
    with pytest.raises(UnsupportedError, match=r"folded: features differ by .* more than 0"):
        optimize_for_inference(base, pictures(4), how="folded", tolerance=0)
