"""A robot of a family as a gymnasium environment. Import it by way of `kshot.control.robot_env(family)`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import torch

from kshot.control.bodies import Fault
from kshot.control.robots import Life, Robots
from kshot.errors import DataError
from kshot.seeds import generator

State = tuple[np.ndarray, int]
"""All of the physics, and the steps taken."""


class RobotEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """gymnasium's robot whose body changes while it runs.

    The reward is gymnasium's own, or, where a velocity is wanted, minus the distance to it less what motors cost. An
    episode is cut after `family.steps` steps. `info` tells no fault: `env.fault` does.
    """

    metadata = {"render_modes": ["human", "rgb_array", "depth_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(
        self, family: Robots, life: Life | None = None, options: dict[str, Any] | None = None
    ) -> None:
        self.family, self.given, self.life = family, life, life
        chosen = {**family.body.options, **(options or {})}
        with _quiet():
            # the environment itself: its wrappers count steps and check what is checked here
            made = gymnasium.make(family.body.environment, disable_env_checker=True, **chosen)
        inner: Any = made.unwrapped
        self.inner = inner
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (family.body.observations,), np.float64
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (len(family.body.joints),), np.float32)
        self.render_mode = self.inner.render_mode
        self.fault = Fault()
        model: Any = self.inner.model
        self.whole = {
            name: getattr(model, name).copy()
            for name in ("actuator_gear", "body_mass", "body_inertia", "geom_friction")
        }
        self.rng: torch.Generator | None = None
        self.taken: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; `options={"life": Life(...)}` says what will happen in it."""
        super().reset(seed=seed)
        if seed is not None or self.rng is None:
            self.rng = generator(int(self.np_random.integers(2**62)) if seed is None else seed, "robot")
        self.life = (options or {}).get("life", self.given) or self.family.life(self.rng)
        assert self.life is not None
        self.taken = 0
        self.change(self.life.fault if self.life.at == 0 else Fault())
        seen, _ = self.inner.reset(seed=self.life.seed)
        return np.asarray(seen, dtype=np.float64), {}

    def change(self, fault: Fault) -> None:
        """From now on the robot has this fault.

        Raises:
            SettingError: strengths of another number of joints.
        """
        strength = (
            fault.numbers(len(self.family.body.joints))[: len(self.family.body.joints)].double().numpy()
        )
        model = self.inner.model
        model.actuator_gear[:] = self.whole["actuator_gear"]
        model.actuator_gear[:, 0] *= strength
        for name in ("body_mass", "body_inertia"):
            getattr(model, name)[:] = self.whole[name]
            getattr(model, name)[1] *= fault.payload  # body 0 is the world, body 1 the torso
        model.geom_friction[:] = self.whole["geom_friction"]
        model.geom_friction[:, 0] *= fault.friction
        self.fault = fault

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Act; each number of an action lies in -1..1.

        Raises:
            DataError: no action of this space, or no episode has been started.
        """
        if self.taken is None or self.life is None:
            raise DataError(f"step({action!r}) came before reset(); call reset() first")
        chosen = _checked(action, len(self.family.body.joints))
        if self.taken == self.life.at:
            self.change(self.life.fault)
        seen, reward, ended, _, info = self.inner.step(chosen)
        self.taken += 1
        after = np.asarray(seen, dtype=np.float64)
        if self.life.target is not None:
            row = torch.as_tensor(after)
            reward = float(
                self.family.body.reward(torch.as_tensor(chosen), row, torch.tensor(self.life.target))
            )
        return after, float(reward), bool(ended), self.taken >= self.family.steps, info

    def snapshot(self) -> State:
        """Where the robot is; `restore` brings it back there, in this or in another environment of the family."""
        import mujoco

        whole = mujoco.mjtState.mjSTATE_INTEGRATION
        numbers = np.empty(mujoco.mj_stateSize(self.inner.model, whole))
        mujoco.mj_getState(self.inner.model, self.inner.data, numbers, whole)
        return numbers, self.taken or 0

    def restore(self, state: State) -> None:
        """Put the robot where `snapshot` found it; its fault stays as it is."""
        import mujoco

        numbers, self.taken = state
        mujoco.mj_setState(self.inner.model, self.inner.data, numbers, mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(self.inner.model, self.inner.data)

    def place(self, seen: np.ndarray) -> None:
        """Put the robot where an observation says it is; where in the plane, which none says, is the origin."""
        numbers, model = np.asarray(seen, dtype=np.float64), self.inner.model
        place = np.concatenate([np.zeros(model.nq + model.nv - len(numbers)), numbers])
        self.inner.set_state(place[: model.nq], place[model.nq :])

    def render(self) -> Any:
        return self.inner.render()

    def close(self) -> None:
        self.inner.close()


def _checked(action: Any, joints: int) -> np.ndarray:
    """An action as an array [joints]; made for speed, since a robot is stepped thousands of times a second.

    Raises:
        DataError: another shape, NaN, or outside of -1..1.
    """
    try:
        found = np.asarray(action, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"the action is {action!r}; give {joints} numbers in -1..1") from None
    # a comparison with NaN is false
    if found.shape != (joints,) or not (np.abs(found) <= 1).all():
        raise DataError(f"the action is {action!r}; give {joints} numbers, each in -1..1 and none NaN")
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """gymnasium's robots use an attribute that MuJoCo 4 calls deprecated, on standard error and in a file beside you."""
    import mujoco

    mujoco.set_mju_user_warning(lambda text: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        mujoco.set_mju_user_warning(None)
