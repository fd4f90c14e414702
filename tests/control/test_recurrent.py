"""A policy with a memory: it learns a room it can be judged in, reads its steps in their order, refuses other worlds."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch

import kshot
from kshot.control import Bandits, GoalRooms, PointGoals, TabularMDPs, best_seeking, psrl, recurrent_policy
from kshot.control.recurrent import RecurrentPolicy
from kshot.control.worlds import step_input
from kshot.errors import SettingError, UnsupportedError
from kshot.seeds import generator

ROOM = GoalRooms(2, 12, 3, near=1)


@pytest.fixture(scope="module")
def trained() -> RecurrentPolicy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = recurrent_policy(ROOM, width=16, entropy=0.05)
    run = kshot.fit(start, ROOM, steps=150, meta_batch=32, rate=0.02, warmup=5, clip=1.0, progress=False)
    return cast(RecurrentPolicy, run.learner)


def test_practice_comes_near_to_the_optimum(trained: RecurrentPolicy) -> None:
    """It has to look for the goal once and to remember it over lives: without a memory nobody gets there."""
    goals = ROOM.goals()
    lived = trained.live(ROOM, goals, generator(1), greedy=True)
    assert float(lived.rewards.sum(0).mean()) > 0.9 * best_seeking(ROOM).value


def test_adapting_is_what_living_remembers(trained: RecurrentPolicy) -> None:
    """The answer by the contract's door, from examples in any order, is that of the network while it acts."""
    lived = trained.live(ROOM, torch.tensor([[1, 0]]), generator(2))
    seen = lived.read[:, 0, : ROOM.observations]
    rows = torch.cat([step_input(t, lived.rewards[t], seen[t : t + 1]) for t in range(ROOM.horizon)])
    upto = 7
    order = torch.randperm(upto, generator=generator(3))
    task = trained.adapt(rows[order], lived.actions[order, 0])
    told = task.predict(rows[upto : upto + 1]).probabilities
    with torch.no_grad():
        first = trained.first(lived.read)
        features = torch.cat([first, trained.memory(first)[0]], -1)[upto]
        expected = trained.actor(features).softmax(-1)
    assert np.allclose(told, expected.numpy(), atol=1e-5)


def test_places_are_new_once(trained: RecurrentPolicy) -> None:
    lived = trained.live(ROOM, torch.tensor([[1, 1], [1, 0]]), generator(4))
    assert (lived.new.sum(0) <= 3).all()
    assert set(lived.new.unique().tolist()) <= {0.0, 1.0}


def test_real_actions_are_practised_too() -> None:
    world = PointGoals(horizon=8)
    policy = recurrent_policy(world, width=8)
    run = kshot.fit(policy, world, steps=2, meta_batch=4, progress=False)
    lived = cast(RecurrentPolicy, run.learner).live(world, world.hide(3, generator(0)), generator(1))
    assert lived.actions.shape == (8, 3, 2)


def test_worlds_that_it_cannot_play_are_told(trained: RecurrentPolicy) -> None:
    with pytest.raises(UnsupportedError, match="acts in"):
        kshot.evaluate(trained, PointGoals(), tasks=2)  # real actions, and the policy chooses among five
    with pytest.raises(UnsupportedError, match="sees"):
        kshot.evaluate(trained, GoalRooms(3, 12), tasks=2)
    with pytest.raises(UnsupportedError, match="arm_policy"):
        recurrent_policy(Bandits(3, 5))
    with pytest.raises(UnsupportedError, match="acts in"):
        trained.adapt(
            PointGoals().sample(generator(0)).collect(None, generator(1)), space=PointGoals().actions
        )
    with pytest.raises(SettingError, match="decay"):
        recurrent_policy(ROOM, decay=2.0)
    mixed = [*ROOM.sample_batch(1, generator(0)), *GoalRooms(2, 12).sample_batch(1, generator(0))]
    with pytest.raises(UnsupportedError, match="one at a time"):
        trained.play_many(mixed, generator(0))


def test_sampling_the_posterior_comes_near_to_the_optimum() -> None:
    """Regret falls: in the last lives of many it earns nearly what one who knows the process does."""
    rng = generator(0)
    long, half = TabularMDPs(3, 2, 320, 80), TabularMDPs(3, 2, 160, 40)
    hidden = long.hide(200, rng)
    late = psrl(long, hidden, generator(1)) - psrl(half, hidden, generator(1))
    best = half.optimum(hidden)
    assert float(late.mean()) > 0.96 * float(best.mean())
    assert float(psrl(half, hidden, generator(1)).mean()) < float(late.mean())
