"""An interactive task of ten lines: what is seen depends on what is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

import kshot
from kshot.errors import TaskError
from kshot.evaluation import Interval
from kshot.seeds import generator
from kshot.tasks import Examples, InteractiveTask, Policy, Task
from kshot.tasks.spaces import Numbers
from kshot.testing import check_task_source

ARMS, PULLS = 4, 24


@dataclass(frozen=True)
class Bandit(InteractiveTask):
    """Bernoulli arms. An input is an arm (one-hot), its target the reward; a policy values all arms at once."""

    chances: tuple[float, ...] = ()

    def collect(self, policy: Policy | None, generator: torch.Generator) -> Examples:
        arms = torch.eye(ARMS)[[self.pull(policy, place) for place in range(PULLS)]]
        won = torch.rand(PULLS, generator=generator) < arms @ torch.tensor(self.chances)
        return Examples(arms, won.float().unsqueeze(1))

    def pull(self, policy: Policy | None, place: int) -> int:
        return (
            place % ARMS if policy is None else int(torch.as_tensor(policy(torch.eye(ARMS)).values).argmax())
        )

    def score(self, policy: Policy, generator: torch.Generator) -> float:
        return float(self.collect(policy, generator).targets.mean())


@dataclass(frozen=True)
class Bandits:
    """Chances of each bandit are drawn anew."""

    def sample(self, generator: torch.Generator) -> Task:
        return Bandit(
            Numbers(1), name="bandit", chances=tuple(torch.rand(ARMS, generator=generator).tolist())
        )


def random_returns(tasks: int) -> list[float]:
    """What pulling all arms alike earns on bandits of the same distribution."""
    rng = generator(7, "random")
    drawn = [Bandits().sample(rng) for _ in range(tasks)]
    return [float(task.collect(None, rng).targets.mean()) for task in drawn]


@pytest.mark.parametrize("head", ["ridge", "kernel_ridge", "bayesian"])
def test_a_learner_earns_more_than_chance(head: str) -> None:
    learner = kshot.learners.ClosedForm(kshot.encoders.identity(ARMS), head)
    report = kshot.evaluate(learner, Bandits(), tasks=50)
    assert report.metric == "return"
    assert report.interval.count == 50
    chance = Interval.of(random_returns(50))
    assert report.interval.low > chance.high
    assert report.interval.low < report.mean < report.interval.high <= 1
    assert "return" in str(report)


def test_what_is_seen_depends_on_what_is_done() -> None:
    learner = kshot.learners.ClosedForm(kshot.encoders.identity(ARMS), "ridge")
    bandit = Bandit(Numbers(1), chances=(0.0, 0.0, 1.0, 0.0))
    seen = bandit.collect(None, generator(0))
    assert seen.inputs.sum(0).tolist() == [PULLS / ARMS] * ARMS
    adapted = learner.adapt(seen, space=bandit.space)
    again = bandit.collect(adapted.predict, generator(0))
    assert again.inputs.sum(0).tolist() == [0, 0, PULLS, 0]
    assert bandit.score(adapted.predict, generator(0)) == 1.0
    more = adapted.add(again.inputs, again.targets)  # what its own policy saw is added like any example
    assert len(more) == 2 * PULLS


def test_bandits_are_a_task_source() -> None:
    check_task_source(Bandits())


def test_an_interactive_task_must_say_how() -> None:
    with pytest.raises(TaskError, match="InteractiveTask has no collect"):
        InteractiveTask(Numbers(1)).collect(None, generator(0))
    with pytest.raises(TaskError, match="has no score"):
        InteractiveTask(Numbers(1)).score(lambda seen: seen, generator(0))


def test_a_given_task_ignores_the_policy() -> None:
    support = Examples(torch.eye(2), ["a", "b"])
    given: Any = Task(kshot.tasks.spaces.Classes(("a", "b")), support)
    assert given.collect(None, generator(0)) is support
    with pytest.raises(TaskError, match="has no support"):
        Task(Numbers(1), name="empty").collect(None, generator(0))
