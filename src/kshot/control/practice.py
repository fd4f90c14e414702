"""How models for control are trained: what is lived through, for how long they learn, how they plan meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kshot.control.mpc import MPC
from kshot.errors import SettingError

MODELS = ("adaptive", "plain", "told")
"""One that adapts, one free of context, and one that is told the true parameters: the oracle's."""


@dataclass(frozen=True)
class Practice:
    """How models are trained; all of them on the same lives, and on as many transitions.

    Attributes:
        simulated, shaken: lives to begin with, of a planner in the simulator and of random actions.
        rounds: of controlling by what was learned, `lives` lives of each model, and learning from all of them.
        length: steps of a stretch; lives last two, and half of the faults come between.
        first, last: meta-updates before the first round, and of those that are kept, which are trained anew on all
            lives. steps: the same in each round.
        again: meta-updates, as a share of `first` and `last`, that follow with the rate back at where it began.
        hidden: widths of the layers. rows: transitions of a meta-update.
        mpc: how to plan. simulator: the same for the planner in the simulator.
        noise: standard deviation of what is added to actions, to see more than the best.
        rehearsed: plans that are carried out in the simulator at a step of a robot, and the share of steps at which
            they are; 0: none. others: the share of these under another fault of the family than the robot's own.
        recalled: how often, when all was lived through, every step of it is rehearsed again, with as many plans, for the
            models that are kept, which learn from this in place of what was rehearsed on the way: each time under another
            fault drawn anew, but for a share of 1 - `others`.
        settings: of `kshot.fit`.

    Raises:
        SettingError: nothing to begin with.
    """

    simulated: int = 24
    shaken: int = 30
    rounds: int = 4
    lives: int = 8
    length: int = 100
    first: int = 900
    steps: int = 300
    last: int = 1600
    again: float = 0.2
    hidden: tuple[int, ...] = (160, 160, 160)
    rows: int = 3008
    mpc: MPC = MPC(horizon=12)  # noqa: RUF009
    simulator: MPC = MPC(plans=48, horizon=12)  # noqa: RUF009
    noise: float = 0.1
    rehearsed: tuple[int, float] = (4, 0.6)
    others: float = 0.7
    recalled: int = 0
    settings: Mapping[str, Any] = field(
        default_factory=lambda: {
            "rate": 3e-3,
            "warmup": 20,
            "clip": 1.0,
            "average": 0.98,
        }
    )

    def __post_init__(self) -> None:
        if self.simulated + self.shaken < 1:
            raise SettingError(
                f"simulated is {self.simulated} and shaken {self.shaken}; a model needs some life to begin with"
            )
        if self.recalled < 0 or (self.recalled and not self.rehearsed[0]):
            raise SettingError(
                f"recalled is {self.recalled} and rehearsed {self.rehearsed}; lives are recalled 0 times or more, with "
                "at least one plan that is rehearsed"
            )
