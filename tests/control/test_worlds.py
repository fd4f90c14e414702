"""Worlds: the gymnasium wrapper is the world itself, outside checkers accept it, optima are optima."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from kshot.control import (
    Bandits,
    PointGoals,
    TabularMDPs,
    World,
    WorldTask,
    dark_room,
    gymnasium_env,
    small_grid,
)
from kshot.control.worlds import random_actions
from kshot.errors import DataError, SettingError, TaskError
from kshot.seeds import generator
from kshot.testing import check_task_source

WORLDS: list[World] = [
    Bandits(4, 12), Bandits(3, 9, "gaussian"), TabularMDPs(4, 3, 6), dark_room(), small_grid(), PointGoals(),
]  # fmt: skip
each = pytest.mark.parametrize("world", WORLDS, ids=lambda world: f"{world.name} {world.horizon}")


@each
def test_it_is_a_task_source(world: World) -> None:
    check_task_source(world)


@each
def test_the_wrapper_agrees_step_for_step(world: World) -> None:
    env = gymnasium_env(world)
    rng, acts = generator(5, "gymnasium"), generator(1)
    seen, _ = env.reset(seed=5)
    hidden = world.hide(1, rng)
    state = world.reset(hidden, rng)
    for taken in range(world.horizon):
        assert np.array_equal(seen, world.observe(state)[0].numpy())
        assert env.observation_space.contains(seen)
        action = random_actions(world, 1, acts)
        seen, reward, ended, cut, _ = env.step(action[0].numpy())
        state, paid, done = world.step(hidden, state, action, rng)
        assert reward == float(paid)
        assert cut == (taken + 1 == world.horizon)
        assert (ended or cut) == (bool(done) or cut)
        if bool(done):
            break
    assert np.array_equal(seen, world.observe(state)[0].numpy())


@each
def test_copies_do_not_meet(world: World) -> None:
    """Where nothing is drawn on the way, n copies stepped together are n copies stepped alone."""
    hidden, acts = world.hide(5, generator(0)), random_actions(world, 5, generator(1))
    together = world.step(hidden, world.reset(hidden, generator(2)), acts, generator(3))
    if world.name in ("bandits", "tabular MDP"):
        assert together.reward.shape == (5,)
        return
    for place in range(5):
        own = hidden[place : place + 1]
        alone = world.step(own, world.reset(own, generator(2)), acts[place : place + 1], generator(3))
        assert all(torch.equal(a[0], b[place]) for a, b in zip(alone, together, strict=True))


@each
@pytest.mark.filterwarnings("ignore")
def test_outside_checkers_accept_it(world: World) -> None:
    check_env(gymnasium_env(world), skip_render_check=True)
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checker.check_env(gymnasium_env(world))


def test_resets_keep_or_change_the_task() -> None:
    env = gymnasium_env(dark_room())
    with pytest.raises(DataError, match="call reset"):
        env.keep_task()
    with pytest.raises(DataError, match="before reset"):
        env.step(0)
    env.reset(seed=1)
    first = env.hidden.tolist()
    env.keep_task()
    env.reset()
    assert env.hidden.tolist() == first
    env.new_task()
    drawn = {tuple(env.hidden.tolist()) for _ in range(8) if env.reset()}
    assert len(drawn) > 2
    env.keep_task(torch.tensor([3, 4]))
    env.reset()
    assert env.hidden.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("world", "action", "says"),
    [
        (dark_room(), 5, "actions run from 5 to 5"),
        (dark_room(), 0.5, "actions are torch.float32|actions are torch.float64"),
        (dark_room(), [0, 1], "2 actions for one observation"),
        (dark_room(), "up", "the policy gave 'up'"),
        (PointGoals(), [np.nan, 0.0], "NaN"),
        (PointGoals(), [0.5, 0.0], "lies in -0.1..0.1"),
        (PointGoals(), 1, "shape"),
    ],
)
def test_an_action_of_another_space_is_refused(world: World, action: Any, says: str) -> None:
    env = gymnasium_env(world)
    env.reset(seed=0)
    with pytest.raises(DataError, match=says):
        env.step(action)
    with pytest.raises(DataError, match=says):
        world.sample(generator(0)).score(lambda seen: action, generator(1))


def test_a_reward_that_is_no_number_is_told() -> None:
    task = Bandits(2, 3, "gaussian").sample(generator(0))
    broken = WorldTask(task.space, name="b", world=task.world, hidden=torch.tensor([float("nan")] * 2))
    with pytest.raises(TaskError, match="rewards are finite"):
        broken.collect(None, generator(0))


def test_nobody_does_better_than_the_optimum_of_a_decision_process() -> None:
    """Value iteration against playing the policy of another way to the optimum: enumeration."""
    world = TabularMDPs(2, 2, 2)
    hidden = world.hide(3, generator(0))
    best = []
    for task in hidden:
        mean, to = task[..., 0], task[..., 1:]
        last = mean.amax(1)
        best.append(max(float(mean[0, a] + to[0, a] @ last) for a in range(2)))
    assert world.optimum(hidden).tolist() == pytest.approx(best, rel=1e-5)
    draws = world.step(hidden[:1].expand(20000, -1, -1, -1), torch.zeros(20000, 2, dtype=torch.long),
                       torch.zeros(20000, dtype=torch.long), generator(1))  # fmt: skip
    assert float(draws.reward.mean()) == pytest.approx(float(hidden[0, 0, 0, 0]), abs=0.03)
    share = torch.bincount(draws.state[:, 0], minlength=2) / 20000
    assert share.tolist() == pytest.approx(hidden[0, 0, 0, 1:].tolist(), abs=0.02)


def test_rooms_pay_on_the_goal_and_put_back_to_the_corner() -> None:
    room = small_grid()
    assert len(room.goals()) == 21
    hidden = torch.tensor([[0, 2]])
    state, rewards = room.reset(hidden, generator(0)), []
    for action in (1, 1, *[4] * 13):
        state, reward, done = room.step(hidden, state, torch.tensor([action]), generator(0))
        rewards.append(round(float(reward), 1))
    assert rewards == [-0.1, *[1.0] * 14]
    assert state.tolist() == [[0, 0, 15]]
    assert not bool(done)


def test_the_straight_way_is_the_oracle_of_navigation() -> None:
    """The authors report -2.29 for an oracle of theirs that knows the goal."""
    world = PointGoals()
    hidden = world.hide(2000, generator(0))
    assert -2.3 < float(world.optimum(hidden).mean()) < -0.3


def test_impossible_worlds_are_refused() -> None:
    for make in (
        lambda: Bandits(1, 5), lambda: Bandits(3, 0), lambda: Bandits(3, 3, "poisson"), lambda: TabularMDPs(1),
        lambda: dark_room().__class__(1), lambda: dark_room().__class__(5, 10, 3), lambda: dark_room().__class__(5, near=5),
    ):  # fmt: skip
        with pytest.raises(SettingError):
            make()


def test_gymnasium_is_what_it_says() -> None:
    assert isinstance(gymnasium_env(dark_room()), gymnasium.Env)
