"""A robot of four legs as models see it: its mirror images and the heights of its feet are MuJoCo's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import kshot
from kshot.control import (
    MPC,
    Belief,
    Controller,
    Life,
    Lived,
    MotorDynamics,
    RobotAgent,
    Robots,
    Shaking,
    live,
    robot_env,
)
from kshot.control.quadruped import NUMBERS, Quadruped
from kshot.control.transitions import Transitions
from kshot.seeds import generator

FAMILY = Robots(robot="ant", steps=30, weak=(2, 2), strength=(0.2, 0.6), kinds=("joint",))
VIEW = Quadruped()


@pytest.fixture(scope="module")
def lived() -> tuple[Lived, list[Life]]:
    """A few ants that tumble."""
    lives = [FAMILY.life(generator(seed)) for seed in range(3)]
    return live(FAMILY, lives, Shaking(3, 8, generator(0))), lives


def stepped(env: Any, seen: Tensor, action: Tensor) -> Tensor:
    """Where a robot that is put there comes to."""
    import mujoco

    data = env.inner.data
    data.qpos[:] = np.concatenate([[0, 0], seen[:13].numpy()])
    data.qvel[:] = seen[13:].numpy()
    data.qacc_warmstart[:] = 0
    mujoco.mj_forward(env.inner.model, data)
    return torch.as_tensor(env.step(action.numpy())[0])


def test_mirror_images_are_what_physics_does(lived: tuple[Lived, list[Life]]) -> None:
    env = robot_env(FAMILY, Life(0))
    env.reset()
    seen, action = lived[0].seen[0, 20].double(), lived[0].actions[0, 20].double()
    after = stepped(env, seen, action)
    for state, motors in VIEW.images:
        state, motors = state.double(), motors.double()
        assert torch.allclose(stepped(env, state @ seen, motors @ action), state @ after, atol=1e-9)
    assert len({tuple(state.flatten().tolist()) for state, _ in VIEW.images}) == 8


def test_feet_are_where_they_are_in_the_simulation(lived: tuple[Lived, list[Life]]) -> None:
    import mujoco

    env = robot_env(FAMILY, Life(0))
    env.reset()
    model, data = env.inner.model, env.inner.data
    seen = lived[0].seen[0, 25]
    data.qpos[:] = np.concatenate([[0, 0], seen[:13].double().numpy()])
    mujoco.mj_kinematics(model, data)
    legs = [place for place in range(model.ngeom) if "ankle" in model.geom(place).name]
    ends = [
        data.geom_xpos[leg, 2] - data.geom_xmat[leg].reshape(3, 3)[2, 2] * model.geom_size[leg, 1] * sign
        for sign in (1, -1)
        for leg in legs
    ]  # of each lower leg, the knee and the foot
    told = VIEW.of(seen)[NUMBERS : NUMBERS + 8]
    assert sorted(told.tolist()) == pytest.approx(sorted(ends), abs=1e-5)
    assert torch.all(told[:4] < told[4:])  # feet are lower than knees, here


def test_where_it_faces_does_not_matter(lived: tuple[Lived, list[Life]]) -> None:
    env = robot_env(FAMILY, Life(0))
    env.reset()
    seen, action = lived[0].seen[1, 20].double(), lived[0].actions[1, 20].double()
    half = 0.7
    faced = VIEW.back(
        torch.tensor([0, np.cos(half), 0, 0, np.sin(half)] + [0.0] * 22), seen
    )  # turned about z
    assert not torch.allclose(faced, seen, atol=0.1)
    after, other = stepped(env, seen, action), stepped(env, faced, action)
    assert torch.allclose(VIEW.of(faced), VIEW.of(seen))
    assert torch.allclose(VIEW.change(faced, other - faced), VIEW.change(seen, after - seen), atol=1e-9)
    assert torch.allclose(VIEW.back(faced, VIEW.change(faced, other)), other)
    many = lived[0].seen  # [3, lives' steps, 27]: as each alone
    assert torch.allclose(VIEW.of(many)[1, 20], VIEW.of(many[1, 20]), atol=1e-5)


def test_weak_motors_stay_with_their_legs(lived: tuple[Lived, list[Life]]) -> None:
    rows = Transitions.of(*lived, 10, shots=(1,), queries=1)
    inputs, changes, told = (
        part.flatten(0, 1)
        for part in (rows.inputs, rows.changes, rows.parameters[:, None].expand(-1, 10, -1))
    )
    straight = VIEW.transitions(inputs, changes, told)
    mirrored = VIEW.transitions(inputs, changes, told, mirrored=True)
    assert torch.equal(straight[2], told)
    assert not torch.equal(mirrored[2], told)
    assert torch.equal(mirrored[2].sort(1).values, told.sort(1).values)
    pushes = [(found[0][:, -8:] * found[2][:, :8]).abs().sort(1).values for found in (straight, mirrored)]
    assert torch.allclose(*pushes)


def test_tasks_hold_what_models_see(lived: tuple[Lived, list[Life]]) -> None:
    rows = Transitions.of(*lived, 10, shots=(1,), queries=16, view=VIEW, mixed=True, told=True)
    task = rows.sample(generator(0))
    assert task.query.inputs.shape == (16, VIEW.numbers + 8 + 10)
    assert torch.allclose(task.query.inputs[:, 4], torch.zeros(16), atol=1e-6)  # all face ahead
    scales = rows.scales()
    assert len(scales["mean"]) == VIEW.numbers + 18
    assert "view" in rows.identity()
    plain = Transitions.of(*lived, 10, shots=(1,), queries=1)
    assert "view" not in plain.identity()
    collected = FAMILY.sample(generator(0)).collect(None, generator(0))
    assert collected.inputs.shape == (30, FAMILY.body.inputs)


def test_a_model_plans_and_learns_by_its_view(lived: tuple[Lived, list[Life]]) -> None:
    """What plans foresee is what the adapted task predicts, turned back."""
    body, rng = FAMILY.body, generator(0)
    encoder = kshot.encoders.mlp(body.inputs, (8,), mean=[0.0] * body.inputs, std=[1.0] * body.inputs)
    model = MotorDynamics(encoder, 27, 10, None, [[0.9] * 8 + [0.0] * 2, [0.2] * 10], 8).eval()
    with torch.no_grad():
        model.mean.normal_(generator=rng)
    controller = Controller(model, body, MPC(plans=4, horizon=2), robots=3, generator=rng)
    found = lived[0]
    for step in range(6):
        controller.observe(found.seen[:, step], found.actions[:, step], found.seen[:, step + 1])
    assert isinstance(controller.belief, Belief)
    done = controller.act(found.seen[:, 6])
    assert done.shape == (3, 8)
    assert not done.is_inference()  # what was done may be trained on
    now, action = found.seen[:, 6], found.actions[:, 6]
    foreseen = controller.belief.advance(None, VIEW)(now[:, None], action[:, None])[0, 0]
    inputs, _ = body.transitions(now, action, found.seen[:, 7])
    change = torch.as_tensor(controller.task(0).predict(inputs[:1]).values[0], dtype=torch.float32)
    assert torch.allclose(foreseen, now[0] + VIEW.back(now[0], change), atol=1e-4)
    tried = (found.seen[:, :4], found.actions[:, :4])  # several robots, several plans: as each alone
    together = controller.belief.advance(None, VIEW)(*tried)
    for robot in range(3):
        coefficients = controller.belief.state["coefficients"][robot : robot + 1]
        alone = [
            model.simulator(coefficients, VIEW)(*(rows[robot : robot + 1, plan : plan + 1] for rows in tried))
            for plan in range(4)
        ]
        assert torch.allclose(together[robot], torch.cat(alone, 1)[0], atol=1e-4)
    agent = RobotAgent(FAMILY, model, MPC(plans=4, horizon=2))
    assert agent.predict(now[0].numpy())[0].shape == (8,)
