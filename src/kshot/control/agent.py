"""An agent for robots that break, with the methods that users of stable-baselines3 expect: learn, predict, save, load.

It adapts while it acts: each observation that `predict` is given tells what the last action did.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.bundles import load_learned
from kshot.control.checked_steps import check_observation, checked_reset, checked_step
from kshot.control.controller import WINDOW, Controller
from kshot.control.dynamics import Dynamics
from kshot.control.mpc import MPC
from kshot.control.practice import Practice
from kshot.control.practised import Practised
from kshot.control.robots import Robots
from kshot.errors import BundleError, DataError, SettingError, UnsupportedError
from kshot.learners import Adapted, save_learner
from kshot.seeds import generator


class RobotAgent:
    """Controls one robot of a family.

    Args:
        family: robots to train on. learner: a trained model; None: call `learn` first.
        mpc: how to plan. window: transitions that count. seed: decides everything random.

    >>> import kshot
    >>> family = Robots(steps=4)
    >>> model = Dynamics(kshot.encoders.mlp(23, (8,)), outputs=17, directions=2)
    >>> agent = RobotAgent(family, model, MPC(plans=8, horizon=2))
    >>> action, _ = agent.predict(np.zeros(17))
    >>> action.shape
    (6,)
    """

    def __init__(
        self, family: Robots, learner: Dynamics | None = None, mpc: MPC | None = None, *, window: int = WINDOW, seed: int = 0
    ) -> None:  # fmt: skip
        self.family, self.mpc, self.window, self.seed = family, mpc or MPC(), window, seed
        self.learner = learner
        self.controller: Controller | None = None
        self.last: tuple[Tensor, Tensor] | None = None
        if learner is not None:
            self._take(learner)

    def learn(
        self, total_timesteps: int, *, practice: Practice | None = None, folder: Path | None = None
    ) -> RobotAgent:
        """Practise on robots of the family for about so many steps of robots; resumes from `folder`.

        Raises:
            SettingError: too few steps for a single round.
        """
        plan = practice or Practice()
        each = 2 * plan.length
        rounds = (total_timesteps // each - plan.simulated - plan.shaken) // plan.lives
        if rounds < 1:
            least = each * (plan.simulated + plan.shaken + plan.lives)
            raise SettingError(f"total_timesteps is {total_timesteps}; this practice needs at least {least}")
        practised = Practised(
            self.family, replace(plan, rounds=rounds), seed=self.seed, models=("adaptive",), folder=folder
        )
        self._take(practised.run()["adaptive"])
        return self

    def predict(
        self, observation: Any, state: None = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, None]:
        """The action for an observation, [joints]; and None, since what is remembered is the agent's own.

        Args:
            observation: [observations]. state: not used. episode_start: true where the robot was put back to its
                start, so that the last action did not lead here. deterministic: plans are drawn anyway.

        Raises:
            DataError: an observation of another shape, or NaN in it. UnsupportedError: it was never trained.
        """
        controller = self._controller()
        now = check_observation(observation, self.family.body.observations, "the environment").unsqueeze(0)
        if self.last is not None and not np.any(episode_start):
            controller.observe(*self.last, now)
        action = controller.act(now)
        self.last = (now, action)
        return action[0].numpy(), None

    def adapt(self, seen: Any, actions: Any, after: Any) -> RobotAgent:
        """Learn from transitions that somebody else lived through: [n, observations], [n, joints], [n, observations].

        Raises:
            DataError: they are of unequal length, of another shape, or NaN.
        """
        controller, rows = self._controller(), []
        size, joints = self.family.body.observations, len(self.family.body.joints)
        for name, given, width in (
            ("seen", seen, size),
            ("actions", actions, joints),
            ("after", after, size),
        ):
            found = torch.as_tensor(np.asarray(given), dtype=torch.float32)
            if found.ndim != 2 or found.shape[1] != width or not bool(torch.isfinite(found).all()):
                raise DataError(f"{name} has shape {tuple(found.shape)}, or NaN; give finite [n, {width}]")
            rows.append(found)
        if len({len(row) for row in rows}) > 1:
            raise DataError(
                f"{[len(row) for row in rows]} observations, actions and observations after; give as many"
            )
        for one in zip(*(row.unsqueeze(1) for row in rows), strict=True):
            controller.observe(*one)
        return self

    def reset_task(self) -> None:
        """Forget the robot: another one, or this one repaired."""
        self._controller().reset()
        self.last = None

    def task(self) -> Adapted:
        """What is believed about the robot now: see `Controller.task`, and `kshot.control.why` for reasons."""
        return self._controller().task()

    def save(self, path: str | Path) -> Path:
        """Write the model; what was learned about one robot is not kept."""
        self._controller()
        assert self.learner is not None
        return save_learner(self.learner, path)

    @classmethod
    def load(cls, path: str | Path, family: Robots, mpc: MPC | None = None, **settings: Any) -> RobotAgent:
        """An agent with a saved model.

        Raises:
            BundleError: no such file, or it holds no model of dynamics.
        """
        found = load_learned(path)
        if not isinstance(found, Dynamics):
            raise BundleError(f"{path} holds a {type(found).__name__}; an agent needs a Dynamics")
        return cls(family, found, mpc, **settings)

    def _take(self, learner: Dynamics) -> None:
        body = self.family.body
        inputs = getattr(learner.encoder, "inputs", None)
        if learner.outputs != body.observations or inputs != body.inputs:
            raise SettingError(
                f"the model takes {inputs} numbers and predicts {learner.outputs}; {body.name} has {body.observations} "
                f"in an observation and {len(body.joints)} joints, and models take {body.inputs}"
            )
        self.learner = learner
        self.controller = Controller(
            learner, body, self.mpc, window=self.window, generator=generator(self.seed, "agent")
        )
        self.last = None

    def _controller(self) -> Controller:
        if self.controller is None:
            raise UnsupportedError(
                f"{self.family.robot}: this agent has no model; call learn(), or give it a learner"
            )
        return self.controller


def steer(env: Any, agent: RobotAgent, steps: int, *, seed: int | None = None) -> np.ndarray:
    """Let an agent act in any gymnasium environment of its robot; the rewards, [steps at most].

    Raises:
        DataError: what reset or step gives is no gymnasium's, or holds NaN.
        UnsupportedError: an action space that is not continuous, or of other limits than -1..1.
    """
    _check_actions(env.action_space, len(agent.family.body.joints))
    seen, rewards = checked_reset(env, seed), []
    for step in range(steps):
        action, _ = agent.predict(seen, episode_start=step == 0)
        seen, reward, over = checked_step(env, action, step)
        rewards.append(reward)
        if over:
            break
    return np.array(rewards)


def _check_actions(space: Any, joints: int) -> None:
    low, high = getattr(space, "low", None), getattr(space, "high", None)
    if low is None or high is None or getattr(space, "shape", None) != (joints,):
        raise UnsupportedError(
            f"the action space is {space}; this agent gives {joints} continuous numbers: a Box of this shape"
        )
    if not (np.all(low <= -1) and np.all(high >= 1)):
        raise UnsupportedError(
            f"the action space is {space}; this agent gives numbers in -1..1: rescale the actions"
        )
