"""The policy for decision processes: its memory and planning against plain Python, its play, what it cannot do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kshot
from kshot.control import Bandits, ProcessPolicy, TabularMDPs, process_policy, psrl
from kshot.control.worlds import WorldTask, step_input
from kshot.errors import SettingError, UnsupportedError
from kshot.seeds import drawing, generator

WORLD = TabularMDPs(states=3, choices=2, horizon=40, lives=8)


def policy(bonus: bool = False) -> ProcessPolicy:
    with drawing(torch.device("cpu"), 0, "weights"):
        made = process_policy(WORLD, width=4)
        if bonus:
            for number in made.actor.parameters():
                number.data = torch.randn(number.shape)
    return made.eval()


def tasks(count: int, seed: int = 0) -> list[WorldTask]:
    return WORLD.sample_batch(count, generator(seed))


def by_hand(inputs: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """What actions are worth by steps left, [5, states, choices], by loops over steps, states and actions."""
    order = np.argsort(inputs[:, 0])
    pulls, paid, led = np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2, 3))
    for now, then in zip(order, [*order[1:], None], strict=True):
        state, action = int(inputs[now, 2:5].argmax()), int(actions[now])
        pulls[state, action] += 1
        paid[state, action] += inputs[now, 1]
        if then is not None and inputs[then, 0] == inputs[now, 0] + 1 and inputs[then, 0] % 5:
            led[state, action, int(inputs[then, 2:5].argmax())] += 1
    found, value = [], np.zeros(3)
    for _ in range(5):
        worth = np.zeros((3, 2))
        for state in range(3):
            for action in range(2):
                chances = (1 + led[state, action]) / (3 + led[state, action].sum())
                mean = (1 + paid[state, action]) / (1 + pulls[state, action])
                worth[state, action] = mean + chances @ value
        found.append(worth)
        value = worth.max(1)
    return np.stack(found)


def test_without_a_bonus_it_plans_in_the_mean_of_what_is_believed() -> None:
    """Steps in any order, some of them missing."""
    steps = tasks(1)[0].collect(None, generator(1)).take([*range(30, 7, -1), *range(33, 40), *range(5)])
    learner = policy().double()
    task = learner.adapt(steps.inputs.double(), steps.targets)
    expected = by_hand(steps.inputs.numpy(), steps.targets.numpy())
    for left in range(1, 6):
        seen = torch.cat([torch.eye(3), torch.tensor([[left / 5, 0.5]]).expand(3, 2)], 1).double()
        asked = step_input(0, torch.zeros(3), seen)
        scores = learner.respond(task.state, asked, learner.space).detach().numpy()
        assert np.allclose(scores, 3 * expected[left - 1])


def test_it_plays_as_it_answers() -> None:
    """What it does in an episode is what it answers after being adapted to the steps before."""
    learner, task = policy(bonus=True), tasks(1)[0]
    hidden, rng = task.hidden[None], generator(2)
    state, seen, done, paid = WORLD.reset(hidden, rng), [], [], []
    for time in range(WORLD.horizon):
        now = WORLD.observe(state)
        if seen:
            rows = torch.cat([step_input(t, r, s) for t, (r, s) in enumerate(zip(paid, seen, strict=True))])
            adapted = learner.adapt(rows, torch.cat(done))
            action = torch.as_tensor(adapted.predict(step_input(time, torch.zeros(1), now)).actions)
        else:
            action = torch.zeros(1, dtype=torch.long)  # all are alike: the first
        state, reward, _ = WORLD.step(hidden, state, action, rng)
        seen.append(now)
        done.append(action)
        paid.append(reward)
    assert learner.play_many([task], generator(2)) == pytest.approx([float(torch.cat(paid).sum())], abs=1e-3)


def test_it_earns_more_than_posterior_sampling_and_training_runs() -> None:
    many = tasks(400)
    hidden = torch.stack([task.hidden for task in many])
    learner = policy()
    own = torch.tensor(learner.play_many(many, generator(3)))
    sampled, most = psrl(WORLD, hidden, generator(3)), WORLD.optimum(hidden)
    gain = own - sampled
    assert float(gain.mean()) > 3 * float(gain.std()) / 20
    assert float(own.mean()) < float(most.mean())
    run = kshot.fit(learner, WORLD, steps=2, meta_batch=8, rate=0.01, progress=False)
    assert isinstance(run.learner, ProcessPolicy)
    assert not torch.equal(run.learner.actor[-1].weight, learner.actor[-1].weight)


def test_what_it_cannot_do_is_told() -> None:
    with pytest.raises(UnsupportedError, match="make one with"):
        policy().play_many(TabularMDPs(3, 2, horizon=40).sample_batch(1, generator(0)), generator(0))
    with pytest.raises(UnsupportedError, match="acts in"):
        policy().play_many(Bandits(3, 5).sample_batch(1, generator(0)), generator(0))
    with pytest.raises(SettingError, match="at least 2 states"):
        ProcessPolicy(kshot.encoders.identity(5), choices=2, horizon=4)
    with pytest.raises(SettingError, match="multiple of lives"):
        ProcessPolicy(kshot.encoders.identity(7), choices=2, horizon=4, lives=3)
