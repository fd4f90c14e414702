"""Bandits: rules against what is known of them, and a policy that learns to explore."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import kshot
from kshot.control import (
    Bandits,
    Counts,
    arm_policy,
    dark_room,
    gittins,
    greedy,
    oracle,
    play,
    thompson,
    ucb,
    uniform,
)
from kshot.control.arm_policy import ArmPolicy
from kshot.errors import SettingError, UnsupportedError
from kshot.seeds import generator


def known(count: list[float], total: list[float], left: int) -> Counts:
    return Counts(torch.tensor([count]), torch.tensor([total]), left)


def test_the_index_of_one_pull_is_the_mean_and_of_two_is_by_hand() -> None:
    """With two pulls left of a fresh Bernoulli arm: p - r + p (2/3 - r) = 0 with p = 1/2, so r = 5/9."""
    bandits = Bandits(2, 10)
    index = gittins(bandits)
    assert index(bandits, known([0, 3], [0, 2], 1), generator(0))[0].tolist() == pytest.approx(
        [0.5, 0.6], abs=1e-3
    )
    assert float(index(bandits, known([0, 0], [0, 0], 2), generator(0))[0, 0]) == pytest.approx(
        5 / 9, abs=1e-3
    )


def test_the_gaussian_index_of_two_pulls_is_by_hand() -> None:
    """d + E max(0, d + z / sqrt 2) = 0 for a fresh arm; for s = 1 / sqrt 2, found by bisection with erf."""
    from math import erf, exp, pi, sqrt

    def worth(d: float) -> float:
        s = sqrt(0.5)
        density = exp(-((d / s) ** 2) / 2) / sqrt(2 * pi)
        return d + d * 0.5 * (1 + erf(d / s / sqrt(2))) + s * density

    low, high = -1.0, 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if worth(middle) < 0 else (low, middle)
    bandits = Bandits(2, 10, "gaussian")
    found = gittins(bandits)(bandits, known([0, 0], [0, 0], 2), generator(0))[0, 0]
    assert float(found) == pytest.approx(-low, abs=0.005)


def test_rules_stand_in_their_order() -> None:
    """The gaps are many standard errors wide, for all play the same tasks."""
    bandits = Bandits(5, 40)
    hidden = bandits.hide(1500, generator(0))
    rules = {"random": uniform, "thompson": thompson, "greedy": greedy, "ucb": ucb(0.3), "gittins": gittins(bandits),
             "oracle": oracle(hidden)}  # fmt: skip
    earned = {
        name: float(play(bandits, hidden, rule, generator(1)).earned.mean()) for name, rule in rules.items()
    }
    assert earned["random"] < earned["thompson"] < earned["gittins"] < earned["oracle"]
    assert max(earned["greedy"], earned["ucb"]) < earned["gittins"]
    assert earned["random"] == pytest.approx(20, abs=0.5)
    assert earned["oracle"] == pytest.approx(40 * 5 / 6, abs=0.5)


def test_what_is_paid_is_what_arms_pay() -> None:
    bandits = Bandits(3, 50)
    hidden = bandits.hide(3000, generator(0))
    done = play(bandits, hidden, thompson, generator(1))
    assert float(done.paid.mean()) == pytest.approx(float(done.earned.mean()), abs=0.4)
    assert torch.equal(done.counts.count.sum(1), torch.full((3000,), 50.0))
    assert torch.equal(done.counts.total.sum(1), done.paid)


def untrained() -> ArmPolicy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return arm_policy(Bandits(4, 12), width=16)


@pytest.fixture(scope="module")
def trained() -> ArmPolicy:
    start = untrained()
    run = kshot.fit(start, start.bandits, steps=50, meta_batch=64, rate=0.01, clip=1.0, progress=False)
    assert isinstance(run.learner, ArmPolicy)
    return run.learner


def test_practice_teaches_to_earn_more(trained: ArmPolicy) -> None:
    """What practice improves is the policy that draws arms by chance: before and after it, on the same fresh tasks."""
    bandits = trained.bandits
    hidden = bandits.hide(4000, generator(9))

    def drawn(policy: ArmPolicy) -> torch.Tensor:
        def index(given: Bandits, known: Counts, rng: torch.Generator) -> torch.Tensor:
            worth = policy.index(given, known, rng)
            return worth - torch.empty_like(worth).exponential_(generator=rng).log()  # Gumbel's noise: a draw

        return play(bandits, hidden, index, generator(1)).earned

    gap = drawn(trained) - drawn(untrained())
    assert float(gap.mean()) > 3 * float(gap.std()) / len(gap) ** 0.5


def test_the_order_and_number_of_arms_do_not_matter(trained: ArmPolicy) -> None:
    count, total = torch.tensor([[3.0, 1.0, 0.0, 9.0]]), torch.tensor([[2.0, 0.0, 0.0, 5.0]])
    worth = trained.index(trained.bandits, Counts(count, total, 10), None)
    order = [2, 0, 3, 1]
    turned = trained.index(trained.bandits, Counts(count[:, order], total[:, order], 10), None)
    assert torch.allclose(worth[:, order], turned, atol=1e-5)
    assert trained.index(trained.bandits, Counts(torch.zeros(2, 9), torch.zeros(2, 9), 10), None).shape == (
        2,
        9,
    )


def test_adapting_is_remembering_pulls(trained: ArmPolicy) -> None:
    """The same worth by the contract's door as from counts; pulls are added, taken back, saved."""
    pulls, paid = [0, 0, 1, 3, 0], [1.0, 1.0, 0.0, 1.0, 0.0]
    arms = torch.eye(4)
    rows = torch.cat([torch.ones(5, 1), arms[pulls]], 1)
    task = trained.adapt(rows[:3], paid[:3]).add(rows[3:], paid[3:])
    ask = torch.cat([torch.full((4, 1), 10 / 12), arms], 1)
    counts = known([3.0, 1.0, 0.0, 1.0], [2.0, 0.0, 0.0, 1.0], 10)
    expected = trained.index(trained.bandits, counts, None)[0]
    assert np.allclose(task.predict(ask).values[:, 0], expected.numpy(), atol=1e-4)
    without = task.remove(task.ids[3])
    assert not np.allclose(without.predict(ask).values, task.predict(ask).values)


def test_training_resumes_in_the_same_bits(tmp_path: Path) -> None:
    bandits = Bandits(3, 6)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = arm_policy(bandits, width=8)
    settings = {
        "meta_batch": 8,
        "validate_every": 4,
        "validation_tasks": 20,
        "progress": False,
        "schedule": "constant",
    }
    whole = kshot.fit(start, bandits, validate=bandits, steps=8, **settings)

    def stop(entry: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(kshot.training.Stopped):
        kshot.fit(start, bandits, validate=bandits, steps=8, folder=tmp_path, on_validation=stop, **settings)
    again = kshot.fit(start, bandits, validate=bandits, steps=8, folder=tmp_path, **settings)
    for name, tensor in whole.learner.state_dict().items():
        assert torch.equal(tensor, again.learner.state_dict()[name]), name
    loaded = kshot.load(tmp_path / "learner.kshot")
    assert (
        kshot.evaluate(loaded, bandits, tasks=50).mean
        == kshot.evaluate(whole.learner, bandits, tasks=50).mean
    )


def test_what_it_cannot_play_is_told(trained: ArmPolicy) -> None:
    with pytest.raises(UnsupportedError, match="this policy plays"):
        kshot.evaluate(trained, Bandits(4, 13), tasks=2)
    with pytest.raises(UnsupportedError, match="goal room"):
        kshot.evaluate(trained, dark_room(), tasks=2)
    with pytest.raises(SettingError, match=r"identity.1 . arms"):
        ArmPolicy(kshot.encoders.identity(2), 5)
    proto = kshot.learners.ProtoNet(kshot.encoders.mlp(5, (4,)))
    with pytest.raises(UnsupportedError, match="interactive"):
        kshot.fit(proto, Bandits(4, 5), steps=1, progress=False)
