"""What control brings passes the suites that kshot ships."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from kshot import encoders
from kshot.control import (
    Anchored,
    Bandits,
    CostToGo,
    Demonstrations,
    Dynamics,
    GoalRooms,
    Guidance,
    MapEncoder,
    MotorDynamics,
    PlanningTasks,
    PointGoals,
    TabularMDPs,
    TerrainCosts,
    TerrainEncoder,
    Terrains,
    Transitions,
    Walks,
    World,
    arm_policy,
    draw_family,
    gradient_policy,
    process_policy,
    recurrent_policy,
    walk,
)
from kshot.learners import Learner
from kshot.seeds import generator
from kshot.tasks import Examples, Task, TaskSource
from kshot.tasks.spaces import Numbers
from kshot.testing import LEARNER_CHECKS, check_encoder, check_space, check_task_source
from kshot.testing.learners import Check

FAMILIES = tuple(draw_family(kind, 8, generator(0, kind), 8) for kind in ("gaps", "maze"))
ROOM, POINTS = GoalRooms(3, 6), PointGoals(horizon=6)
PROCESSES = TabularMDPs(3, 2, horizon=6, lives=2)
GROUND = Terrains(kinds=3, size=8, shots=2, queries=2)
MAPS = PlanningTasks(FAMILIES, shots=2, queries=3)


class Pulls:
    """Pulls of arms with what they paid, and others to be valued: an interactive task, looked at from behind."""

    def sample(self, generator: torch.Generator) -> Task:
        """Six pulls, four questions."""
        parts = []
        for count in (6, 4):
            arms = torch.eye(3)[torch.randint(3, (count,), generator=generator)]
            left = torch.rand(count, 1, generator=generator)
            paid = (torch.rand(count, 1, generator=generator) < 0.5).float()
            parts.append(Examples(torch.cat([left, arms], 1), paid))
        return Task(Numbers(1), *parts, name="pulls")


class Steps:
    """Steps of a small world with the actions of one who acts at random, and others to be told the action of."""

    def __init__(self, world: World) -> None:
        self.world = world

    def sample(self, generator: torch.Generator) -> Task:
        """An episode, and the first steps of another."""
        task = self.world.sample(generator)
        return Task(
            task.space,
            task.collect(None, generator),
            task.collect(None, generator).take(range(4)),
            name="steps",
        )


def pushed() -> Transitions:
    """Points pushed with a gain of their own."""
    rng = generator(0, "pushed")
    gain = torch.rand(12, 1, 1, generator=rng)
    x = torch.randn(12, 14, 4, generator=rng)
    return Transitions(x, gain * x[..., 2:] - 0.1 * x[..., :2], gain[:, 0], shots=(6,), queries=5)


def ground_costs() -> TerrainCosts:
    """Costs that are unequal to begin with: where all are alike ways tie, and a loss has no slope."""
    learner = TerrainCosts(TerrainEncoder(3))
    with torch.no_grad():
        learner.prior.copy_(torch.tensor([0.1, 0.4, -0.2]))
    return learner


MEMBERS: list[tuple[str, Callable[[], Learner], TaskSource]] = [
    ("guidance", lambda: Guidance(MapEncoder(width=4, features=3)), MAPS),
    ("dynamics", lambda: Dynamics(encoders.mlp(4, (8,), activation="tanh"), 2, 3), pushed()),
    (
        "anchored dynamics",
        lambda: Anchored(encoders.mlp(5, (8,), activation="tanh", mean=[0.0] * 5, std=[1.0] * 5), 2, 1),
        replace(pushed(), told=True),
    ),
    (
        "motor dynamics",
        lambda: MotorDynamics(
            encoders.mlp(4, (8,), activation="tanh"), 2, 3, None, [[0.8, 0.7, 0.0], [0.1, 0.1, 1.0]], 2
        ),
        pushed(),
    ),
    ("recurrent policy", lambda: recurrent_policy(ROOM, width=8), Steps(ROOM)),
    ("recurrent policy, real actions", lambda: recurrent_policy(POINTS, width=8), Steps(POINTS)),
    ("gradient policy", lambda: gradient_policy(ROOM, width=8, episodes=2), Steps(ROOM)),
    ("gradient policy, real actions", lambda: gradient_policy(POINTS, width=8, episodes=2), Steps(POINTS)),
    ("policy that imitates", lambda: gradient_policy(POINTS, width=8, imitates=True), Demonstrations(POINTS)),
    ("terrain costs", ground_costs, GROUND),
    ("process policy", lambda: process_policy(PROCESSES, width=4), Steps(PROCESSES)),
    ("arm policy", lambda: arm_policy(Bandits(3, 10), width=8), Pulls()),
]


@pytest.mark.parametrize("check", LEARNER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "make", "source"), MEMBERS, ids=[row[0] for row in MEMBERS])
def test_learner(name: str, make: Callable[[], Learner], source: TaskSource, check: Check) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = make()
    check(learner, source)


def test_encoder() -> None:
    check_encoder(MapEncoder(width=4, features=3), FAMILIES[0].maps[:3])
    check_encoder(MapEncoder(width=4, features=3), [FAMILIES[1].problem(place) for place in range(3)])

    ground = GROUND.sample(generator(0)).support
    assert ground is not None
    check_encoder(TerrainEncoder(3), ground.inputs)


def test_source() -> None:
    check_task_source(GROUND)
    check_task_source(MAPS)
    check_task_source(pushed())
    for world in (POINTS, ROOM, TabularMDPs(3, 2, 6)):
        check_task_source(Demonstrations(world), distinct_inputs=False)  # both start at one place


def test_space() -> None:
    field = [[[0.0, 1.0], [float("inf"), 2.0]], [[-1.0, 0.0], [1.0, float("nan")]]]
    wrong = [[[1.0, 2.0]], [[["a", "b"]]], [[[float("inf")]]], [[[1.0, 2.0], [3.0]]]]
    check_space(CostToGo(), field, torch.ones(2, 2, 2), wrong=wrong)
    here = walk([(0, 0), (0, 1)], (1, 2))
    wrong = [[[[1, 2]]], [["a"]], [[[0]]], here, [[[0, 1], [2, 2]]]]
    check_space(Walks(), here[None], torch.zeros(1, 10, 1, 2), wrong=wrong)
