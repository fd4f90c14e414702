"""What adaptation changed: against numbers worked out by hand, for every kind of what moves."""

from __future__ import annotations

import math

import pytest
import torch

from kshot import encoders, learners
from kshot.errors import DataError
from kshot.explanation import change_bars, changes, cka
from kshot.learners import GradientLearner, Transfer
from kshot.seeds import generator

X = torch.randn(8, 4, generator=generator(0))
Y = ["a", "b"] * 4


def gradient(**more: object) -> GradientLearner:
    return GradientLearner(encoders.mlp(4, (6, 5)), outputs=2, **{"steps": 3, "rate": 0.5, **more})


def test_relative_change_is_the_length_of_the_step() -> None:
    learner = gradient()
    task = learner.adapt(X, Y)
    found = {layer.name: layer for layer in changes(task).layers}
    assert list(found) == ["layers.0", "layers.2", "head"]
    state = task.state.moving
    before = torch.cat([learner.head.weight.flatten(), learner.head.bias]).detach()
    after = torch.cat([state["head.weight"].flatten(), state["head.bias"]]).detach()
    assert found["head"].relative == pytest.approx(float((after - before).norm() / before.norm()), rel=1e-5)
    assert found["head"].similarity is None
    assert 0 < found["layers.0"].similarity <= 1


def test_only_the_head_moves() -> None:
    found = changes(gradient(moves="head").adapt(X, Y))
    body = [layer for layer in found.layers if layer.name != "head"]
    assert all(layer.relative == 0 and layer.similarity == pytest.approx(1) for layer in body)
    assert found.moved == 5 * 2 + 2


def test_adapters_have_sizes() -> None:
    found = changes(gradient(moves="lora:2").adapt(X, Y))
    assert set(found.sizes) == {"layers.0.weight", "layers.2.weight"}
    assert all(size > 0 for size in found.sizes.values())
    conv = GradientLearner(encoders.conv4(8, size=8, blocks=2), outputs=2, moves="film", steps=2)
    images = torch.rand(4, 1, 8, 8, generator=generator(1))
    film = changes(conv.adapt(images, ["a", "b", "a", "b"]))
    assert film.sizes
    assert set(film.sizes) == set(changes_of_norms(conv))


def test_a_closed_form_moves_nothing_and_says_so() -> None:
    found = changes(learners.ProtoNet(encoders.mlp(4, (6,))).adapt(X, Y))
    assert found.layers == []
    assert "moves no number" in found.text


def test_fine_tuned_transfer_has_a_new_head() -> None:
    learner = Transfer(encoders.mlp(4, (6,)), classes=3, probe="fine_tune", steps=3)
    found = {layer.name: layer for layer in changes(learner.adapt(X, Y)).layers}
    assert math.isinf(found["head"].relative)
    assert found["layers.0"].relative > 0


def test_cka_knows_rotations_and_strangers() -> None:
    rng = generator(2)
    x = torch.randn(40, 5, generator=rng)
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=rng))
    assert cka(x, 3 * x @ turn) == pytest.approx(1, abs=1e-6)
    assert cka(x, torch.randn(40, 5, generator=rng)) < 0.4
    assert cka(torch.ones(3, 2), torch.ones(3, 4)) == 1


def test_one_input_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="1 inputs were given"):
        changes(gradient().adapt(X, Y), X[:1])


def test_bars_name_every_layer() -> None:
    text = change_bars(changes(gradient(moves="lora:1").adapt(X, Y)))
    assert all(name in text for name in ("layers.0", "layers.2", "head", "CKA", "layers.0.weight"))


def changes_of_norms(learner: GradientLearner) -> list[str]:
    return [name.removeprefix("encoder.") for name in learner.norms]
