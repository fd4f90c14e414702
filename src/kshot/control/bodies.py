"""Bodies of robots, what is rewarded, and what may be wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kshot.control.quadruped import Quadruped
from kshot.errors import SettingError
from kshot.tasks.spaces import Actions

LEAN_AT_MOST = 9.0
"""Squared lean that counts at most: beyond it has turned over, and how far does not matter."""


@dataclass(frozen=True)
class Robot:
    """A robot of gymnasium, and what is rewarded.

    Attributes:
        name, environment: ours, and gymnasium's. options: of gymnasium.make.
        observations: numbers of an observation. joints: motors, in the order of the actions, each within -1..1.
        velocity: which number of the observation is the forward velocity.
        control_cost: per squared action.
        height: number of the observation that is the height, and the least and largest at which it stands.
        lean: numbers of the observation that are 0 where it is upright: a pitch in radians, or the two parts of a
            quaternion that tilt. lean_cost: what plans pay for their summed squares; rewards do not.
        view: how models of dynamics see it; None: its observations as they are.
    """

    name: str
    environment: str
    observations: int
    joints: tuple[str, ...]
    velocity: int
    control_cost: float
    height: tuple[int, float, float] | None = None
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    lean: tuple[int, ...] = ()
    lean_cost: float = 0.0
    view: Quadruped | None = None

    @property
    def inputs(self) -> int:
        """Numbers that a model of dynamics takes: what it sees of the robot, and an action."""
        return (self.view.numbers if self.view else self.observations) + len(self.joints)

    @property
    def actions(self) -> Actions:
        return Actions(len(self.joints), continuous=True, low=-1.0, high=1.0)

    def transitions(self, seen: Tensor, action: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """What models learn from: inputs [..., inputs] and changes [..., observations], as they see them."""
        inputs, changes = torch.cat([seen, action], -1), after - seen
        if self.view is None:
            return inputs, changes
        return self.view.transitions(inputs, changes, inputs[..., :0])[:2]

    def reward(self, action: Tensor, after: Tensor, target: Tensor | None = None) -> Tensor:
        """What a step is worth, [...]: forward velocity, or minus the distance to the wanted one, less what motors
        cost; and 1 where the robot stands, if it can fall.

        Args:
            action: [..., joints]. after: the observation after it, [..., observations]. target: wanted velocity.
        """
        speed = after[..., self.velocity]
        worth: Tensor = speed if target is None else -(speed - target).abs()
        worth = worth - self.control_cost * action.square().sum(-1)
        if self.height is not None:
            place, low, high = self.height
            worth = worth + ((after[..., place] > low) & (after[..., place] < high)).to(worth.dtype)
        return worth

    def objective(self, action: Tensor, after: Tensor, target: Tensor | None = None) -> Tensor:
        """What plans are chosen by, [...]: the reward less what leaning costs.

        A robot that has turned over earns little and does not get up again, which a plan of half a second does not see.
        """
        worth = self.reward(action, after, target)
        if not self.lean:
            return worth
        return worth - self.lean_cost * after[..., self.lean].square().sum(-1).clamp(max=LEAN_AT_MOST)


ROBOTS: dict[str, Robot] = {
    "half_cheetah": Robot(
        "half_cheetah", "HalfCheetah-v5", 17,
        ("back thigh", "back shin", "back foot", "front thigh", "front shin", "front foot"), 8, 0.1,
        lean=(1,), lean_cost=0.5,
    ),
    "ant": Robot(
        "ant", "Ant-v5", 27,
        ("back right hip", "back right ankle", "front left hip", "front left ankle", "front right hip",
         "front right ankle", "back left hip", "back left ankle"), 13, 0.5, (0, 0.2, 1.0),
        {"include_cfrc_ext_in_observation": False, "terminate_when_unhealthy": False, "contact_cost_weight": 0.0},
        (2, 3), 10.0, Quadruped(),
    ),
}  # fmt: skip
"""By name."""


@dataclass(frozen=True)
class Fault:
    """How a robot differs from a whole one; the default is a whole one.

    Attributes:
        strength: of each joint's motor, 0 (dead) to 1; (): all whole. payload: what the torso weighs, as a factor.
        friction: of everything with the ground, as a factor.

    Raises:
        SettingError: a strength outside 0..1, or a factor that is not above 0.

    >>> Fault(strength=(1, 1, 0.2, 1, 1, 1)).numbers(6).tolist()[2]
    0.20000000298023224
    """

    strength: tuple[float, ...] = ()
    payload: float = 1.0
    friction: float = 1.0

    def __post_init__(self) -> None:
        if not all(0 <= s <= 1 for s in self.strength):
            raise SettingError(f"strength is {self.strength}; each joint has one in 0..1")
        if not self.payload > 0 or not self.friction > 0:
            raise SettingError(
                f"payload is {self.payload} and friction {self.friction}; both are factors above 0"
            )

    def numbers(self, joints: int) -> Tensor:
        """The true parameters, as an oracle is told them, [joints + 2]: strengths, and logarithms of the factors.

        Raises:
            SettingError: strengths of another number of joints.
        """
        strength = self.strength or (1.0,) * joints
        if len(strength) != joints:
            raise SettingError(f"strength has {len(strength)} numbers; this robot has {joints} joints")
        factors = torch.tensor([self.payload, self.friction]).log()
        return torch.cat([torch.tensor(strength, dtype=torch.float32), factors])

    @classmethod
    def of(cls, numbers: Tensor, joints: int) -> Fault:
        """The inverse of `numbers`."""
        payload, friction = numbers[joints:].exp().tolist()
        return cls(tuple(numbers[:joints].tolist()), payload, friction)

    def __str__(self) -> str:
        weak = [f"joint {j} at {s:.2f}" for j, s in enumerate(self.strength) if s < 1]
        weak += [f"payload {self.payload:.2f}"] if self.payload != 1 else []
        weak += [f"friction {self.friction:.2f}"] if self.friction != 1 else []
        return ", ".join(weak) or "whole"
