"""Planning in the simulator itself, faults and all: what a controller could do if its model were the world.

Slow (a step costs thousands of steps of physics), and possible only in a simulation. It is the upper bound to compare
with, and a source of good lives to train models on. Import it by way of `kshot.control.simulator_control(...)`.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import torch
from mujoco import rollout
from torch import Tensor

from kshot.control.mpc import MPC
from kshot.control.robots import Robot


class SimulatorControl:
    """An `Acting` that plans in a copy of each robot's own physics.

    Give `meet` to `live` as `at_step`, so that it knows the robots.
    """

    def __init__(self, robot: Robot, mpc: MPC, generator: torch.Generator) -> None:
        self.robot, self.mpc, self.rng = robot, mpc, generator
        self.envs: list[Any] = []
        self.plan = torch.zeros(0)
        self.copies: list[Any] = []

    def meet(self, step: int, envs: list[Any]) -> None:
        """Know the robots; called before each step."""
        if step == 0 or len(envs) != len(self.envs):
            self.envs = envs
            self.plan = self.mpc.start(len(envs), len(self.robot.joints))
            self.copies = [mujoco.MjData(env.inner.model) for env in envs]

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
            after = self._after(env, self.copies[place], tried[0])
            return self.robot.reward(tried[0], after, wanted).sum(1).unsqueeze(0)

        return self.mpc.improved(worth, self.plan[place : place + 1], self.rng)

    def _after(self, env: Any, copy: Any, tried: Tensor) -> Tensor:
        """Observations after each step of plans [plans, horizon, joints]: [plans, horizon, observations]."""
        model, full = env.inner.model, mujoco.mjtState.mjSTATE_FULLPHYSICS
        state = np.empty(mujoco.mj_stateSize(model, full))
        mujoco.mj_getState(model, env.inner.data, state, full)
        often = env.inner.frame_skip
        pushes = np.repeat(tried.double().numpy(), often, axis=1)
        states, _ = rollout.rollout(model, copy, np.tile(state, (len(tried), 1)), pushes)
        # a state is the time, positions, velocities; what is seen leaves out the time and where it is in the plane
        hidden = 1 + model.nq + model.nv - self.robot.observations
        found = np.asarray(states)[:, often - 1 :: often, hidden:]
        return torch.as_tensor(found, dtype=torch.float32)
