"""Policy gradients that were learned: one step on episodes of a task gets nearer to its goal."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch

import kshot
from kshot.control import Bandits, Demonstrations, GoalRooms, PointGoals, gradient_policy
from kshot.control.gradient_policy import GradientPolicy
from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.seeds import generator

WORLD = PointGoals(horizon=12)


@pytest.fixture(scope="module")
def trained() -> GradientPolicy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = gradient_policy(WORLD, width=24, episodes=10)
    run = kshot.fit(start, WORLD, steps=35, meta_batch=12, rate=0.01, warmup=5, clip=1.0, progress=False)
    return cast(GradientPolicy, run.learner)


def test_a_step_gets_nearer_to_goals_that_cannot_be_seen(trained: GradientPolicy) -> None:
    found = trained.returns(WORLD.sample_batch(60, generator(5)), generator(6), 1)
    gain = found[:, 1] - found[:, 0]
    assert float(gain.mean()) > 4 * float(gain.std()) / len(gain) ** 0.5


def test_adapting_to_examples_is_the_step_that_was_practised(trained: GradientPolicy) -> None:
    """The door of the contract and the batched way give the same policy from the same episodes."""
    hidden = WORLD.hide(1, generator(1))
    with torch.no_grad():
        moving = {name: v.detach() for name, v in trained._stacked(1).items()}
        lived = trained.live(moving, WORLD, hidden, generator(2))
    with torch.enable_grad():
        moved = trained._stepped(moving, trained._lived(lived), 0)
    rows, acts = [], []
    for episode in range(trained.episodes):
        for step in range(WORLD.horizon):
            if lived.going[0, step, episode]:
                number = torch.tensor([float(episode * WORLD.horizon + step)])
                rows.append(
                    torch.cat([number, lived.rewards[0, step, episode][None], lived.seen[0, step, episode]])
                )
                acts.append(lived.actions[0, step, episode])
    task = trained.adapt(torch.stack(rows), torch.stack(acts))
    asked = torch.cat([torch.zeros(5, 2), torch.randn(5, 2, generator=generator(3))], 1)
    with torch.no_grad():
        expected = trained.outputs(moved, asked[None, :, 2:])
    assert np.allclose(task.predict(asked).actions, expected.mean[0].clamp(-0.1, 0.1).numpy(), atol=1e-4)


def test_a_second_round_is_a_second_step() -> None:
    """Episodes from number `episodes` on are of the next round; in one round they would be one step."""
    policy = gradient_policy(WORLD, width=8, episodes=1, rounds=2)
    task = WORLD.sample(generator(0))
    one, two = task.collect(None, generator(1)), task.collect(None, generator(2))
    later = two.inputs.clone()
    later[:, 0] += WORLD.horizon
    stepped = policy.adapt(one).add(later, two.targets)
    again = policy.adapt(torch.cat([one.inputs, later]), torch.cat([one.targets, two.targets]))
    assert all(torch.equal(stepped.state[name], value) for name, value in again.state.items())
    once = policy.adapt(one)
    assert not torch.equal(stepped.state["w0"], once.state["w0"])


def test_it_never_becomes_certain() -> None:
    policy = gradient_policy(WORLD, width=8)
    with torch.no_grad():
        policy.weights["spread"].fill_(-50.0)
    lived = policy.live(policy._stacked(2), WORLD, WORLD.hide(2, generator(0)), generator(1))
    assert float(lived.actions.detach().std(2).min()) > 1e-3


def test_what_does_not_fit_is_told(trained: GradientPolicy) -> None:
    with pytest.raises(UnsupportedError, match="acts in"):
        kshot.evaluate(trained, GoalRooms(3, 12), tasks=2)
    with pytest.raises(SettingError, match="12"):
        kshot.evaluate(trained, PointGoals(horizon=5), tasks=2)
    with pytest.raises(DataError, match="-1"):
        trained.adapt(torch.tensor([[-1.0, 0.0, 0.0, 0.0]]), torch.zeros(1, 2))
    with pytest.raises(SettingError, match="discount"):
        gradient_policy(WORLD, discount=3.0)


def test_it_does_what_it_was_shown_once() -> None:
    """One demonstration of a task gets it nearer to the goal than the start that it adapts from."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = gradient_policy(WORLD, width=24, imitates=True, rounds=3, rate=0.5, episodes=5)
    run = kshot.fit(start, Demonstrations(WORLD), steps=30, meta_batch=8, rate=0.02, clip=1.0, progress=False)
    learner, tasks = cast(GradientPolicy, run.learner), WORLD.sample_batch(40, generator(1))
    shown = torch.tensor(learner.play_many(tasks, generator(2)))
    gain = shown - learner.returns(tasks, generator(2), 0)[:, 0]
    assert float(gain.mean()) > 3 * float(gain.std()) / len(gain) ** 0.5
    with pytest.raises(UnsupportedError, match="Demonstrations"):
        kshot.fit(start, WORLD, steps=1, progress=False)


def test_demonstrations_are_what_the_expert_does() -> None:
    hidden = torch.tensor([0.35, -0.2])
    shown = Demonstrations(WORLD).episode(hidden, 0.0, generator(0))
    assert shown.targets.sum(0).tolist() == pytest.approx(hidden.tolist(), abs=0.011)
    with pytest.raises(UnsupportedError, match="expert"):
        Demonstrations(Bandits(3, 5)).sample(generator(0))
    with pytest.raises(SettingError, match="astray"):
        Demonstrations(WORLD, astray=2.0)
