"""Robots that break: gymnasium's own, with weaker joints, a payload, other friction, a wanted speed.

A family is a distribution of such robots, and of changes that come unannounced in the middle of an episode.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from kshot.control.bodies import ROBOTS, Fault, Robot
from kshot.control.worlds import as_action
from kshot.errors import MissingExtraError, SettingError, need
from kshot.tasks import Examples, InteractiveTask, Policy
from kshot.tasks.spaces import Numbers

KINDS = ("joint", "payload", "friction")
"""What may be wrong with a robot."""


@dataclass(frozen=True)
class Robots:
    """A family of faulty robots; a `TaskSource` of interactive tasks.

    Args:
        robot: "half_cheetah" or "ant".
        kinds: faults that occur, each as often, out of `KINDS`; with `whole` the share of robots without any.
        joints: which may weaken; None: all. weak: the least and the most that do so at once.
        strength, payload, friction: ranges that faults are drawn from, factors on a scale of logarithms.
        steps: of an episode.
        change: first and last step at which the fault may come; None: it is there from the start.
        target: range of the wanted velocity, which is told; None: as fast as it can.

    Raises:
        SettingError: an unknown robot, kind or joint, or an empty range.

    >>> family = Robots(kinds=("joint",), strength=(0.0, 0.5))
    >>> fault = family.draw(torch.Generator().manual_seed(0))
    >>> 0 <= min(fault.strength) <= 0.5
    True
    """

    robot: str = "half_cheetah"
    kinds: tuple[str, ...] = KINDS
    whole: float = 0.0
    joints: tuple[int, ...] | None = None
    weak: tuple[int, int] = (1, 1)
    strength: tuple[float, float] = (0.0, 1.0)
    payload: tuple[float, float] = (1.0, 4.0)
    friction: tuple[float, float] = (0.2, 1.0)
    steps: int = 400
    change: tuple[int, int] | None = None
    target: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.robot not in ROBOTS:
            raise SettingError(f"robot is {self.robot!r}; choose one of {', '.join(ROBOTS)}")
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or (not self.kinds and self.whole < 1):
            raise SettingError(f"kinds is {self.kinds}; choose some of {', '.join(KINDS)}, or whole=1")
        ranges = {"strength": self.strength, "payload": self.payload, "friction": self.friction,
                  "change": self.change or (1, 1), "target": self.target or (0, 0)}  # fmt: skip
        for name, (low, high) in ranges.items():
            if not low <= high or (name in ("payload", "friction") and not low > 0):
                raise SettingError(
                    f"{name} is {(low, high)}; give the lowest and the highest, factors above 0"
                )
        count = len(self.body.joints)
        if (
            not 1
            <= self.weak[0]
            <= self.weak[1]
            <= len(self.joints if self.joints is not None else range(count))
        ):
            raise SettingError(f"weak is {self.weak}; at least one joint weakens, at most all that may")
        if any(not 0 <= joint < count for joint in self.joints or ()):
            raise SettingError(f"joints is {self.joints}; {self.robot} has joints 0..{count - 1}")
        if self.steps < 1 or (
            self.change is not None and not 0 <= self.change[0] <= self.change[1] < self.steps
        ):
            raise SettingError(
                f"steps is {self.steps}, change {self.change}; a change lies within the episode"
            )

    @property
    def body(self) -> Robot:
        """The robot that breaks."""
        return ROBOTS[self.robot]

    def draw(self, generator: torch.Generator) -> Fault:
        """A fault."""
        if float(torch.rand((), generator=generator)) < self.whole:
            return Fault()
        kind = self.kinds[int(torch.randint(len(self.kinds), (), generator=generator))]
        share = float(torch.rand((), generator=generator))
        if kind == "joint":
            may = self.joints if self.joints is not None else tuple(range(len(self.body.joints)))
            count = int(torch.randint(self.weak[0], self.weak[1] + 1, (), generator=generator))
            strength, (low, high) = [1.0] * len(self.body.joints), self.strength
            for place in torch.randperm(len(may), generator=generator)[:count].tolist():
                strength[may[place]] = low + (high - low) * float(torch.rand((), generator=generator))
            return Fault(strength=tuple(strength))
        low, high = self.payload if kind == "payload" else self.friction
        factor = low * (high / low) ** share
        return Fault(payload=factor) if kind == "payload" else Fault(friction=factor)

    def only(self, kind: str) -> Robots:
        """The same with one kind of fault."""
        return replace(self, kinds=(kind,), whole=0.0)

    def life(self, generator: torch.Generator) -> Life:
        """An episode: its seed, its fault and when it comes."""
        fault = self.draw(generator)
        low, high = self.change or (0, 0)
        at = int(torch.randint(low, high + 1, (), generator=generator))
        span = self.target
        share = float(torch.rand((), generator=generator))
        target = None if span is None else span[0] + share * (span[1] - span[0])
        return Life(int(torch.randint(2**31 - 1, (), generator=generator)), fault, at, target)

    def sample(self, generator: torch.Generator) -> RobotTask:
        """One task: one robot with its fault."""
        return RobotTask(
            Numbers(self.body.observations), name=self.robot, family=self, life=self.life(generator)
        )


@dataclass(frozen=True)
class Life:
    """What happens to a robot in an episode: the seed of its start, its fault from step `at` on, a wanted velocity."""

    seed: int
    fault: Fault = Fault()  # noqa: RUF009
    at: int = 0
    target: float | None = None


@dataclass(frozen=True, eq=False)
class RobotTask(InteractiveTask):
    """One robot. An example is a transition: the input is observation and action, the target the change that came,
    as models of this robot see them.

    A policy takes the observation [1, observations] and gives an action [joints]; None acts at random.
    """

    family: Robots = field(kw_only=True)
    life: Life = field(kw_only=True)

    def collect(self, policy: Policy | None, generator: torch.Generator) -> Examples:
        """The transitions of one episode."""
        seen, actions, after, _ = self._episode(policy, generator)
        return Examples(*self.family.body.transitions(seen, actions, after))

    def score(self, policy: Policy, generator: torch.Generator) -> float:
        """The return of one episode."""
        return float(self._episode(policy, generator)[3].sum())

    def _episode(self, policy: Policy | None, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        env = robot_env(self.family, self.life)
        space = self.family.body.actions
        now = torch.as_tensor(env.reset()[0], dtype=torch.float32)
        rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for _ in range(self.family.steps):
            drawn = 2 * torch.rand(1, space.count, generator=rng) - 1
            action = as_action(drawn if policy is None else policy(now[None]), space)[0]
            raw, reward, *_ = env.step(action.numpy())
            after = torch.as_tensor(raw, dtype=torch.float32)
            rows.append((now, action, after, torch.tensor(reward)))
            now = after
        env.close()
        seen, actions, later, rewards = (torch.stack(column) for column in zip(*rows, strict=True))
        return seen, actions, later, rewards


def robot_env(family: Robots, life: Life | None = None, **options: Any) -> Any:
    """A robot of the family as a `gymnasium.Env`.

    Args:
        life: what happens in every episode; None: drawn at each reset, by its seed.
        options: of gymnasium.make, for example render_mode="rgb_array".

    Raises:
        MissingExtraError: gymnasium or mujoco is not installed, or a version that breaks it.

    >>> env = robot_env(Robots(steps=2), Life(0, Fault(payload=2.0), at=1))  # doctest: +SKIP
    """
    need("gymnasium", "mujoco")
    _simulator()
    from kshot.control.robot_wrapper import RobotEnv

    return RobotEnv(family, life, options)


def _simulator() -> None:
    """Import MuJoCo, which needs its own files to be of its own version.

    Raises:
        MissingExtraError: it is not installed, or another package has put another version over it.
    """
    try:
        need("mujoco", "mujoco")
    except OSError as cause:
        raise MissingExtraError(
            f"MuJoCo is installed and cannot be loaded ({cause}); its files are of two versions, as where metaworld "
            "was installed over it: make an environment anew with pip install 'kshot[mujoco]', another for metaworld"
        ) from cause
