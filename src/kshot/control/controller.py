"""A controller: predicts with a dynamics model that adapts at every step, and plans with what it predicts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kshot.control.bodies import Robot
from kshot.control.dynamics import Dynamics
from kshot.control.mpc import MPC
from kshot.control.quadruped import Quadruped
from kshot.errors import DataError, SettingError
from kshot.learners import Adapted
from kshot.tasks.spaces import Numbers

WINDOW = 16
"""Transitions that count. A change is known once as many have come; by then a robot that is planned for wrongly has often
fallen, so few are better than what tells the parameters best. Chosen on validation lives, of 8, 16, 32 and 48."""


class Belief:
    """The posterior over several robots' coefficients, moved by each transition; the oldest leave it.

    What it holds is exactly what `learner.adapt(the last transitions)` gives. A transition adds a k x k matrix to
    the precision; one that leaves the window takes its own away.

    Args:
        learner: a trained model. robots: how many, each with a body of its own. window: transitions that count.

    >>> import kshot
    >>> learner = Dynamics(kshot.encoders.mlp(3, (8,)), outputs=2, directions=4)
    >>> belief = Belief(learner, robots=1, window=16)
    >>> belief.add(torch.zeros(1, 3), torch.ones(1, 2))
    >>> belief.state["coefficients"].shape
    torch.Size([1, 4])
    """

    def __init__(self, learner: Dynamics, robots: int = 1, window: int = WINDOW) -> None:
        if window < 1 or robots < 1:
            raise SettingError(f"window is {window} and robots {robots}; give at least 1 of each")
        self.learner, self.robots, self.window = learner, robots, window
        k, self.device = learner.directions, learner.mean.device
        self.evidence = torch.zeros(robots, k, k, device=self.device)
        self.pull = torch.zeros(robots, k, device=self.device)
        self.kept: list[tuple[Tensor, Tensor]] = []
        self.seen = 0
        with torch.no_grad():
            self.state = learner.posterior(self.evidence, self.pull)

    @torch.no_grad()
    def add(self, inputs: Tensor, changes: Tensor) -> None:
        """Learn from one transition of each robot: inputs [robots, inputs], changes [robots, outputs]."""
        if not self.learner.directions:
            return
        learner = self.learner
        embedded = learner.embed(learner.encoder.prepare(inputs.to(self.device)))
        found = learner.evidence(embedded, changes.to(self.device))
        self.kept.append(found)
        self.evidence, self.pull = self.evidence + found[0], self.pull + found[1]
        if len(self.kept) > self.window:
            old = self.kept.pop(0)
            self.evidence, self.pull = self.evidence - old[0], self.pull - old[1]
        self.seen += 1
        if self.seen % self.window == 0:  # so that rounding never adds up
            self.evidence = torch.stack([e for e, _ in self.kept]).sum(0)
            self.pull = torch.stack([p for _, p in self.kept]).sum(0)
        self.state = learner.posterior(self.evidence, self.pull)

    @torch.no_grad()
    def advance(self, known: Tensor | None = None, view: Quadruped | None = None) -> Any:
        """A function from observations and actions to observations after them, for `MPC`.

        Args:
            known: the true parameters of each robot, [robots, k], as an oracle has them; they replace what is
                believed. None: what is believed. view: how the model sees observations; None: as they are.
        """
        told = None if known is None else known.to(self.device)
        found = self.state["coefficients"] if told is None else self.learner.coefficients(told)
        return self.learner.simulator(found.expand(self.robots, -1), view)


class Controller:
    """Acts for one robot, or for several at once, each with a belief of its own. It computes where the learner is.

    Args:
        learner: a trained `Dynamics`. robot: what is controlled, and what is rewarded.
        mpc: how to plan. window: transitions that count. robots: how many. seed: of the plans that are tried.
        known: true parameters of each robot, [robots, k], for an oracle; see `Anchored`.
        target: wanted velocities, [robots]; None: as fast as it can.
    """

    def __init__(
        self, learner: Dynamics, robot: Robot, mpc: MPC | None = None, *, window: int = WINDOW, robots: int = 1,
        generator: torch.Generator, known: Tensor | None = None, target: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.learner, self.robot, self.mpc, self.window = learner, robot, mpc or MPC(), window
        self.robots, self.rng, self.known, self.target = robots, generator, known, target
        self.reset()

    def reset(self) -> None:
        """Forget the robot: a new one, or one that was repaired."""
        self.belief = Belief(self.learner, self.robots, self.window)
        self.plan = self.mpc.start(self.robots, len(self.robot.joints))
        self.lately: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def act(self, seen: Tensor) -> Tensor:
        """Actions [robots, joints] for observations [robots, observations]."""
        with torch.inference_mode():
            plan = self._planned(seen)
        self.plan = plan.clone().cpu()  # one that may be trained on
        action = self.plan[:, 0]
        self.plan = self.mpc.shifted(self.plan)
        return action

    def _planned(self, seen: Tensor) -> Tensor:
        """The plan for these observations, [robots, horizon, joints]; all steps of all plans are rewarded at once."""
        device = self.belief.device
        target = None if self.target is None else self.target[:, None, None].to(device)
        now = seen.to(device)
        advance = self.belief.advance(self.known, self.robot.view)

        def worth(tried: Tensor) -> Tensor:
            after = self.mpc.followed(advance, now, tried)
            return self.robot.objective(tried, after, target).sum(-1)

        return self.mpc.improved(worth, self.plan.to(device), self.rng)

    def observe(self, seen: Tensor, action: Tensor, after: Tensor) -> None:
        """Learn from what happened: observations before and after, and the actions between."""
        inputs, changes = self.robot.transitions(seen, action, after)
        self.lately = [*self.lately[-self.window + 1 :], (inputs, changes)]
        self.belief.add(inputs, changes)

    def task(self, robot: int = 0) -> Adapted:
        """What is believed about a robot now, as an adapted task: its examples are the transitions in the window.

        Raises:
            DataError: nothing was observed yet.
        """
        if not self.lately:
            raise DataError(f"{len(self.lately)} transitions were observed; observe some first")
        inputs, changes = (torch.stack([pair[part][robot] for pair in self.lately]) for part in (0, 1))
        return self.learner.adapt(inputs, changes, space=Numbers(self.learner.outputs))


def replayed(
    learner: Dynamics, seen: Tensor, actions: Tensor, *, robot: Robot, window: int = WINDOW, known: Tensor | None = None
) -> Tensor:  # fmt: skip
    """Squared errors of the predicted change, each predicted before it is seen, in squared deviations of training.

    Args:
        seen: observations of n lives, [n, steps + 1, observations]. actions: [n, steps, joints].
        robot: whose lives. known: true parameters, [n, k], as an oracle has them; None: those found in the last transitions.

    Returns:
        [n, steps, observations].
    """
    belief, found = Belief(learner, len(seen), window), []
    scale = torch.tensor(learner.scale)
    for step in range(actions.shape[1]):
        now, action, after = seen[:, step], actions[:, step], seen[:, step + 1]
        guess = belief.advance(known, robot.view)(now[:, None], action[:, None])[:, 0]
        found.append(((guess - after) / scale).square())
        belief.add(*robot.transitions(now, action, after))
    return torch.stack(found, 1)
