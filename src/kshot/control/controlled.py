"""Controllers of many robots by one model, and what they earn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from kshot.control.bodies import Fault
from kshot.control.controller import WINDOW, Controller
from kshot.control.dynamics import Dynamics
from kshot.control.living import Acting, live
from kshot.control.mpc import MPC
from kshot.control.robots import Life, Robots, RobotTask
from kshot.errors import UnsupportedError
from kshot.tasks import InteractiveTask


def controlled(
    model: Dynamics, name: str, family: Robots, lives: list[Life], mpc: MPC, rng: torch.Generator,
    window: int = WINDOW,
) -> tuple[Acting, Callable[[int, list[Any]], None]]:  # fmt: skip
    """A controller of these lives, and what is to be called before each step: it tells a "told" model the truth."""
    joints = len(family.body.joints)
    told = name == "told"
    targets = [life.target for life in lives if life.target is not None]
    acting = Controller(
        model, family.body, mpc, robots=len(lives), generator=rng, window=window,
        known=torch.stack([Fault().numbers(joints)] * len(lives)) if told else None,
        target=torch.tensor(targets) if len(targets) == len(lives) else None,
    )  # fmt: skip

    def tell(step: int, envs: list[Any]) -> None:
        if told:
            faults = [life.fault if step >= life.at else Fault() for life in lives]
            acting.known = torch.stack([fault.numbers(joints) for fault in faults])

    return acting, tell


def play_robots(model: Dynamics, tasks: Sequence[InteractiveTask], rng: torch.Generator) -> list[float]:
    """The return of each robot under control by a model that adapts at every step: see `Dynamics.play_many`."""
    strange = [task for task in tasks if not isinstance(task, RobotTask) or task.family != _family(tasks)]
    if strange:
        raise UnsupportedError(
            f"task {strange[0].name!r} is no robot, or not of the same family as the first; this model controls robots: "
            "evaluate it on kshot.control.Robots, or on Transitions for its predictions"
        )
    family, lives = _family(tasks), [task.life for task in tasks if isinstance(task, RobotTask)]
    if model.outputs != family.body.observations:
        raise UnsupportedError(
            f"this model predicts {model.outputs} numbers, {family.robot} has {family.body.observations} in an "
            "observation; use a model that was trained on this robot"
        )
    acting, _ = controlled(model, "adaptive", family, lives, MPC(), rng)
    return [float(total) for total in live(family, lives, acting).rewards.sum(1)]


def _family(tasks: Sequence[InteractiveTask]) -> Robots:
    first = tasks[0]
    return first.family if isinstance(first, RobotTask) else Robots()
