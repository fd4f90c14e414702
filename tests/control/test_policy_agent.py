"""An agent with the methods of stable-baselines3: it learns while it acts, forgets, is saved, and says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kshot
from kshot.control import (
    Bandits,
    GoalRooms,
    PointGoals,
    PolicyAgent,
    act,
    arm_policy,
    gradient_policy,
    gymnasium_env,
    recurrent_policy,
)
from kshot.errors import BundleError, DataError, SettingError, UnsupportedError
from kshot.learners import save_learner
from kshot.seeds import generator

BANDITS, ROOM, POINTS = Bandits(3, 8), GoalRooms(3, 6), PointGoals(horizon=5)


def agents() -> list[PolicyAgent]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [
            PolicyAgent(BANDITS, arm_policy(BANDITS, width=8)), PolicyAgent(ROOM, recurrent_policy(ROOM, width=8)),
            PolicyAgent(POINTS, gradient_policy(POINTS, width=8)),
        ]  # fmt: skip


def test_it_learns_to_earn_and_acts_as_the_policy_does(tmp_path: Path) -> None:
    """In the gymnasium environment, one step after the other, it earns what it earned stepped as tensors."""
    bandits = Bandits(3, 20)
    agent = PolicyAgent(bandits).learn(20 * 32 * 6)
    env = gymnasium_env(bandits)
    earned = np.concatenate([act(env, agent, seed=seed) for seed in range(30)])
    assert earned.mean() > 12.0  # at random it would be 10, with a deviation of 0.5
    again = PolicyAgent.load(agent.save(tmp_path / "agent.kshot"), bandits)
    assert np.array_equal(act(env, again, seed=3), [earned[3]])


@pytest.mark.parametrize("agent", agents(), ids=lambda agent: agent.world.name)
def test_each_policy_acts_remembers_and_forgets(agent: PolicyAgent) -> None:
    env = gymnasium_env(agent.world)
    found = act(env, agent, episodes=2, deterministic=False, seed=0)
    assert found.shape == (2,)
    assert len(agent.task()) >= agent.world.horizon
    seen, _ = env.reset()
    before, _ = agent.predict(seen)
    assert env.action_space.contains(np.asarray(before, dtype=env.action_space.dtype))
    agent.reset_task()
    with pytest.raises(UnsupportedError, match="0 steps"):
        agent.task()


def test_what_it_knows_is_an_adapted_task() -> None:
    agent = agents()[0]
    agent.adapt(np.ones((2, 1)), [0, 2], [1.0, 0.0])
    task = agent.task()
    assert isinstance(task, kshot.Adapted)
    assert agent.predict(np.ones(1))[0] == 0
    assert task.remove("e0").ids == ("e1",)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda a: a.predict(np.array([np.nan])), "NaN"),
        (lambda a: a.predict(np.ones(2)), "shows 1"),
        (lambda a: a.predict("left"), "numbers"),
        (lambda a: a.adapt(np.ones((1, 1)), [3], [1.0]), "actions run from 3"),
        (lambda a: a.adapt(np.ones((1, 1)), [0], [np.inf]), "inf"),
        (lambda a: a.adapt(np.ones((2, 1)), [0], [1.0]), "2 observations"),
    ],
)
def test_bad_steps_are_refused(call: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        call(agents()[0])


class Broken:
    """An environment whose reset or step is not gymnasium's."""

    def __init__(self, reset: Any, step: Any = None) -> None:
        self.given = (reset, step)

    def reset(self, **_: Any) -> Any:
        return self.given[0]

    def step(self, action: Any) -> Any:
        return self.given[1]


SEEN = (np.ones(1), {})


@pytest.mark.parametrize(
    ("env", "says"),
    [
        (Broken(np.ones(1)), r"reset\(\) gave ndarray"),
        (Broken(SEEN, (np.ones(1), 1.0, False, {})), "step 0 gave 4 values"),
        (Broken(SEEN, (np.ones(1), float("nan"), False, False, {})), "reward nan"),
        (Broken(SEEN, (np.ones(1), "much", False, False, {})), "reward 'much'"),
        (Broken((np.ones(3), {}), None), "shows 1"),
        (Broken(SEEN, (np.array([np.nan]), 1.0, False, False, {})), "NaN"),
    ],
)
def test_a_broken_environment_is_told(env: Broken, says: str) -> None:
    with pytest.raises(DataError, match=says):
        act(env, agents()[0])


def test_it_says_what_it_cannot_be_made_of(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="call learn"):
        PolicyAgent(BANDITS).predict(np.ones(1))
    with pytest.raises(SettingError, match="256"):
        PolicyAgent(BANDITS).learn(100)
    with pytest.raises(UnsupportedError, match="no policy"):
        PolicyAgent(BANDITS, kshot.learners.ProtoNet(kshot.encoders.identity(2)))
    with pytest.raises(UnsupportedError, match="acts in"):
        PolicyAgent(ROOM, gradient_policy(POINTS))  # real actions where one of five is to be chosen
    place = save_learner(kshot.learners.ProtoNet(kshot.encoders.mlp(2, (2,))), tmp_path / "other.kshot")
    with pytest.raises(BundleError, match="ProtoNet"):
        PolicyAgent.load(place, BANDITS)


def test_a_demonstration_of_another_shape_is_told() -> None:
    policy = recurrent_policy(ROOM, width=8)
    steps = ROOM.sample(generator(0)).collect(None, generator(1))
    with pytest.raises(DataError, match="takes"):
        policy.adapt(steps.inputs[:, 1:], steps.targets)
    with pytest.raises(DataError, match="actions"):
        policy.adapt(steps.inputs, steps.targets.float())
