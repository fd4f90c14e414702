"""Planning in the simulator itself, faults and all: what a controller could do if its model were the world.

Slow (a step costs thousands of steps of physics), and possible only in a simulation. It is the upper bound to compare
with, and a source of good lives to train models on. Import it by way of `kshot.control.simulator_control(...)`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import torch
from mujoco import rollout
from torch import Tensor

from kshot.control.bodies import Fault, Robot
from kshot.control.mpc import MPC
from kshot.control.robots import Life, Robots, robot_env
from kshot.control.transitions import Transitions

BLOWN_UP = 100.0
"""No number of an observation of a robot comes near this."""


class SimulatorControl:
    """An `Acting` that plans in a copy of each robot's own physics.

    Give `meet` to `live` as `at_step`, so that it knows the robots.

    Args:
        robot: what is controlled, and what is rewarded. mpc: how to plan. generator: of the plans that are tried.
        believed: the fault that it takes robots to have, to see what being wrong costs; None: the true one.
    """

    def __init__(
        self, robot: Robot, mpc: MPC, generator: torch.Generator, believed: Fault | None = None
    ) -> None:
        self.robot, self.mpc, self.rng, self.believed = robot, mpc, generator, believed
        self.envs: list[Any] = []
        self.plan = torch.zeros(0)
        self.copies: list[Any] = []
        self.models: list[Any] = []

    def meet(self, step: int, envs: list[Any]) -> None:
        """Know the robots; called before each step."""
        if step == 0 or len(envs) != len(self.envs):
            self.envs = envs
            self.plan = self.mpc.start(len(envs), len(self.robot.joints))
            self.models = [self._believed(env) for env in envs]
            self.copies = [mujoco.MjData(model) for model in self.models]

    def _believed(self, env: Any) -> Any:
        """The physics that is planned in."""
        if self.believed is None:
            return env.inner.model
        imagined = robot_env(env.family, Life(0))
        imagined.change(self.believed)
        return imagined.inner.model

    def act(self, seen: Tensor) -> Tensor:
        """Actions [robots, joints]; what is seen does not matter, the state itself is known."""
        plans = [self._plan(place) for place in range(len(self.envs))]
        self.plan = self.mpc.shifted(torch.cat(plans))
        return torch.cat(plans)[:, 0]

    def observe(self, seen: Tensor, action: Tensor, after: Tensor) -> None:
        """Nothing is to be learned."""

    def _plan(self, place: int) -> Tensor:
        env = self.envs[place]
        target = env.life.target
        wanted = None if target is None else torch.tensor(target)

        def worth(tried: Tensor) -> Tensor:
            after = foreseen(env, self.models[place], self.copies[place], tried[0])
            return self.robot.objective(tried[0], after, wanted).sum(1).unsqueeze(0)

        return self.mpc.improved(worth, self.plan[place : place + 1], self.rng)


def foreseen(env: Any, model: Any, copy: Any, tried: Tensor) -> Tensor:
    """Observations after each step of plans [plans, horizon, joints]: [plans, horizon, observations].

    Args:
        env: the robot, which stays where it is. model: the physics, its own or as it is believed to be.
        copy: a `mujoco.MjData` of the model, to compute in.
    """
    full = mujoco.mjtState.mjSTATE_FULLPHYSICS
    state = np.empty(mujoco.mj_stateSize(model, full))
    mujoco.mj_getState(env.inner.model, env.inner.data, state, full)
    often = env.inner.frame_skip
    pushes = np.repeat(tried.double().numpy(), often, axis=1)
    states, _ = rollout.rollout(model, copy, np.tile(state, (len(tried), 1)), pushes)
    found = np.asarray(states)[:, often - 1 :: often, _hidden(env) :]
    return torch.as_tensor(found, dtype=torch.float32)


def _hidden(env: Any) -> int:
    """How many numbers of a state are not seen: a state is the time, positions, velocities; the time and where the
    robot is in the plane are left out."""
    model = env.inner.model
    return int(1 + model.nq + model.nv - env.family.body.observations)


class Rehearsal:
    """Carries out in a copy of the physics what a controller was about to try, and keeps what came of it.

    A planner follows its model to where the model is wrong in its favour. What is learned from must therefore hold not
    only what was done, but also what was only thought of: at each step some plans around the one in mind, to
    their ends. A copy may have another fault than the robot, so a few lives show the model thousands of faults.

    Args:
        mpc: how plans are drawn. plans: at a step of a robot. share: of the steps at which they are drawn.
        family: that other faults are drawn from. others: share of rehearsals under another fault than the robot's.
    """

    def __init__(
        self, mpc: MPC, plans: int, share: float, generator: torch.Generator, family: Robots | None = None,
        others: float = 0.0,
    ) -> None:  # fmt: skip
        self.mpc, self.share, self.rng = replace(mpc, plans=plans), share, generator
        self.family, self.others = family, others if family is not None else 0.0
        self.stages: list[tuple[Any, Any]] = []
        self.rows: list[tuple[Tensor, Tensor, Tensor]] = []

    def watch(self, envs: list[Any], plans: Tensor) -> None:
        """Rehearse.

        Args:
            envs: the robots. plans: what each has in mind, [robots, horizon, joints].
        """
        if not self.stages:
            spare = [] if self.family is None else [robot_env(self.family, Life(0))]
            self.stages = [(env, mujoco.MjData(env.inner.model)) for env in (*envs, *spare)]
        for env, stage, plan in zip(envs, self.stages, plans, strict=False):
            drawn = torch.rand(2, generator=self.rng)
            if float(drawn[0]) >= self.share:
                continue
            if float(drawn[1]) < self.others and self.family is not None:
                stage = self.stages[-1]
                stage[0].change(self.family.draw(self.rng))
            tried = self.mpc.around(plan.unsqueeze(0), self.rng)[0]
            after = foreseen(env, stage[0].inner.model, stage[1], tried)
            self._keep(env, stage[0].fault, tried, after)

    def recall(self, kept: Transitions) -> None:
        """Rehearse at each step of lives that were lived before, around what was done next."""
        assert self.family is not None
        stage, size = robot_env(self.family, Life(0)), self.family.body.observations
        stage.reset()
        copy, joints = mujoco.MjData(stage.inner.model), len(self.family.body.joints)
        for rows, truth in zip(kept.inputs, kept.parameters, strict=True):
            for step, row in enumerate(rows):
                if float(torch.rand(1, generator=self.rng)) < self.others:
                    stage.change(self.family.draw(self.rng))
                else:
                    stage.change(Fault.of(truth, joints))
                stage.place(row[:size].numpy())
                plan = rows[step : step + self.mpc.horizon, size:]
                plan = torch.cat([plan, plan[-1:].expand(self.mpc.horizon - len(plan), -1)])
                tried = self.mpc.around(plan.unsqueeze(0), self.rng)[0]
                self._keep(stage, stage.fault, tried, foreseen(stage, stage.inner.model, copy, tried))

    def _keep(self, env: Any, fault: Fault, tried: Tensor, after: Tensor) -> None:
        data = env.inner.data
        now = np.concatenate([data.qpos, data.qvel])[_hidden(env) - 1 :]
        first = torch.as_tensor(now, dtype=torch.float32).expand(len(tried), 1, -1)
        seen = torch.cat([first, after[:, :-1]], 1)
        # a simulation that blows up says nothing about robots
        sound = torch.isfinite(after).all(2).all(1) & (after.abs().amax((1, 2)) < BLOWN_UP)
        truth = fault.numbers(tried.shape[2]).expand(len(tried), -1)
        rows = (torch.cat([seen, tried], 2), after - seen, truth)
        inputs, changes, parameters = (row[sound] for row in rows)
        self.rows.append((inputs, changes, parameters))

    def transitions(self, **settings: Any) -> Transitions:
        """What came of the plans: a stretch for each, as long as a plan."""
        inputs, changes, parameters = (torch.cat(column) for column in zip(*self.rows, strict=True))
        return Transitions(inputs, changes, parameters, **settings)
