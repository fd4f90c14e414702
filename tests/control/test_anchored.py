"""Models whose coefficients are true parameters; motors, whose strengths multiply actions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pushed import hidden_gain

import kshot
from kshot.control import Anchored, Belief, Dynamics, MotorDynamics, Transitions
from kshot.control.reasons import why
from kshot.errors import SettingError, UnsupportedError
from kshot.seeds import drawing, generator


def anchored() -> Anchored:
    encoder = kshot.encoders.mlp(5, (16,), activation="tanh", mean=[0.0] * 4 + [1.1], std=[1.0] * 4 + [0.5])
    with drawing(torch.device("cpu"), 0, "weights"):
        return Anchored(encoder, 2, 1, [0.5, 0.5]).eval()


def test_what_is_told_is_what_is_believed_at_the_truth() -> None:
    """The network that is told the parameters predicts as the adaptive one whose coefficients are these."""
    learner = anchored()
    told = torch.tensor([[1.7]])
    x = torch.randn(6, 4)
    expected = learner.adapt(torch.cat([x, told.expand(6, -1)], 1), torch.zeros(6, 2)).predict(
        torch.cat([x, told.expand(6, -1)], 1)
    )
    adaptive = learner.adaptive().eval()
    assert torch.allclose(adaptive.coefficients(told), torch.tensor([[1.2]]))
    advance = Belief(adaptive).advance(told)
    found = advance(x[None, :, :2], x[None, :, 2:]) - x[None, :, :2]
    assert np.allclose(found[0].numpy(), expected.values, atol=1e-5)
    with pytest.raises(UnsupportedError, match="no parameters with a name"):
        Dynamics(kshot.encoders.mlp(4, (8,)), 2, 3).coefficients(torch.zeros(1, 3))


def test_anchored_parameters_are_found() -> None:
    """Trained with the parameters told, it finds them in the transitions of robots that it never saw."""
    source = hidden_gain(80, 0)
    rows = replace(source, told=True, mixed=True, shots=(1,), queries=256)
    scales = rows.scales()
    with drawing(torch.device("cpu"), 0, "weights"):
        encoder = kshot.encoders.mlp(5, (32,), activation="silu", mean=scales["mean"], std=scales["std"])
        start = Anchored(encoder, 2, 1, scales["scale"])
    run = kshot.fit(start, rows, steps=150, rate=0.01, executor="loop", validation_tasks=1, progress=False)
    assert isinstance(run.learner, Anchored)
    model, fresh = run.learner.adaptive(), hidden_gain(40, 1)
    found = torch.stack([
        model.adapt(x[:16], y[:16]).state["coefficients"] for x, y in zip(fresh.inputs, fresh.changes, strict=True)
    ])[:, 0]  # fmt: skip
    truth = model.coefficients(fresh.parameters)[:, 0]
    assert float(torch.corrcoef(torch.stack([found, truth]))[0, 1]) > 0.9


def test_what_cannot_be_anchored_is_told() -> None:
    with pytest.raises(SettingError, match=r"give kshot\.encoders\.mlp"):
        Anchored(kshot.encoders.identity(3), 2, 1)
    with pytest.raises(SettingError, match="mean and deviation of 2 parameters"):
        Dynamics(kshot.encoders.mlp(3, (4,)), 2, 2, parameters=[[0.0], [1.0]])


def motors() -> Anchored:
    """Two observations, two actions; strengths of both motors, and a factor."""
    mean, std = [0.1, -0.2, 0.3, -0.1, 0.8, 0.7, 0.2], [1.0, 0.9, 0.6, 0.7, 0.3, 0.2, 0.5]
    with drawing(torch.device("cpu"), 0, "weights"):
        encoder = kshot.encoders.mlp(7, (16,), activation="silu", mean=mean, std=std)
        made = Anchored(encoder, 2, 3, [0.5, 0.4], motors=2)
        made.model.mean.data.normal_()
    return made.eval()


def test_a_weak_motor_is_a_whole_one_driven_softly() -> None:
    """Told or believed, strength d and action a are as strength 1 and action d a."""
    learner = motors()
    adaptive = learner.adaptive().eval()
    assert isinstance(adaptive, MotorDynamics)
    x, strengths = torch.rand(5, 4), torch.tensor([0.3, 0.8])
    weak = torch.cat([x, torch.tensor([0.3, 0.8, 0.4]).expand(5, -1)], 1)
    soft = torch.cat([x[:, :2], x[:, 2:] * strengths, torch.tensor([1.0, 1.0, 0.4]).expand(5, -1)], 1)
    told = [learner.adapt(rows, torch.zeros(5, 2)).predict(rows).values for rows in (weak, soft)]
    assert np.allclose(*told, atol=1e-5)
    advance = Belief(adaptive).advance(weak[:1, 4:])
    assert np.allclose((advance(x[None, :, :2], x[None, :, 2:])[0] - x[:, :2]).numpy(), told[0], atol=1e-5)
    assert torch.allclose(adaptive.strengths(adaptive.coefficients(weak[:1, 4:])), strengths)


def test_effects_are_slopes() -> None:
    """By finite differences, of the strengths too."""
    learner = motors().adaptive().double()
    x = torch.rand(6, 4, dtype=torch.float64)
    effects, small = learner.effects(x), 1e-5
    for place in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[place] = small
        slope = (learner.predicted(step, x) - learner.predicted(-step, x)) / (2 * small)
        assert torch.allclose(effects[:, place], slope, atol=1e-7), place
    assert torch.allclose(learner.predicted(torch.zeros(3, dtype=torch.float64), x), learner.expected(x))


def test_a_belief_about_motors_is_what_adapting_gives() -> None:
    learner = motors().adaptive().eval()
    x, y = torch.rand(9, 2, 4), 0.3 * torch.randn(9, 2, 2)
    belief = Belief(learner, robots=2, window=4)
    for now, change in zip(x, y, strict=True):
        belief.add(now, change)
    advance = belief.advance()
    for robot in range(2):
        task = learner.adapt(x[-4:, robot], y[-4:, robot])
        assert torch.allclose(belief.state["coefficients"][robot], task.state["coefficients"], atol=1e-4)
        expected = task.predict(x[0, robot][None]).values
        found = advance(x[:1, :, :2].transpose(0, 1), x[:1, :, 2:].transpose(0, 1))[robot] - x[0, robot, :2]
        assert np.allclose(found.numpy(), expected, atol=1e-4)
    told = why(task)
    without = task.without({1}).predict(x[-3, 1][None]).values[0]
    assert np.allclose(told.without[1] * learner.scale, without, atol=1e-3)


def weak_pushes(count: int, seed: int) -> Transitions:
    """Points pushed along two axes by motors of strengths of their own, by a force that bends."""
    rng = generator(seed)
    strength = torch.rand(count, 1, 2, generator=rng)
    seen, push = torch.randn(count, 40, 2, generator=rng), 2 * torch.rand(count, 40, 2, generator=rng) - 1
    change = torch.sin(strength * push) * torch.cos(seen) - 0.1 * seen
    return Transitions(
        torch.cat([seen, push], 2), change, strength[:, 0], shots=(1,), queries=256, told=True, mixed=True
    )


def test_strengths_are_found() -> None:
    """Of robots that it never saw, from 16 transitions; and it then predicts nearly as well as one that is told them."""
    rows, fresh = weak_pushes(80, 0), weak_pushes(40, 1)
    scales = rows.scales()
    with drawing(torch.device("cpu"), 0, "weights"):
        encoder = kshot.encoders.mlp(6, (32,), activation="silu", mean=scales["mean"], std=scales["std"])
        start = Anchored(encoder, 2, 2, scales["scale"], motors=2)
    run = kshot.fit(start, rows, steps=300, rate=0.01, executor="loop", validation_tasks=1, progress=False)
    assert isinstance(run.learner, Anchored)
    model = run.learner.adaptive()
    assert isinstance(model, MotorDynamics)
    tasks = [model.adapt(x[:16], y[:16]) for x, y in zip(fresh.inputs, fresh.changes, strict=True)]
    found = torch.stack([model.strengths(task.state["coefficients"]) for task in tasks])
    assert float((found - fresh.parameters).abs().mean()) < 0.12
    later = model.embed(model.encoder.prepare(fresh.inputs[:, 16:].flatten(0, 1)))
    truth = model.coefficients(fresh.parameters).repeat_interleave(24, 0)
    believed = torch.stack([task.state["coefficients"] for task in tasks]).repeat_interleave(24, 0)
    goal = fresh.changes[:, 16:].flatten(0, 1) / torch.tensor(model.scale)
    with torch.no_grad():
        still, errors, least = (
            float((model.predicted(c, later) - goal).square().mean()) for c in (0 * truth, believed, truth)
        )
    assert errors - least < 0.3 * (still - least)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"motors": 3}, "motors is 3"),
        ({"parameters": None}, "strengths first"),
        ({"motors": 0}, "motors is 0"),
    ],
)
def test_impossible_motors_are_told(settings: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "directions": 2,
        "parameters": [[0.9, 0.0], [0.2, 1.0]],
        "motors": 1,
    } | settings
    with pytest.raises(SettingError, match=message):
        MotorDynamics(kshot.encoders.mlp(4, (8,)), 2, **arguments)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="strengths are parameters"):
        Anchored(kshot.encoders.mlp(7, (8,), mean=[0.0] * 7, std=[1.0] * 7), 2, 1, motors=2)
