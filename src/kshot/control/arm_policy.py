"""A policy for bandits that is learned, whatever the order and the number of the arms.

Duan et al. (2016), "RL^2", and Wang et al. (2016), "Learning to reinforcement learn": act in many tasks, remember
what was seen, and let a policy gradient find how to explore. Here the memory is given: pulls and rewards of each
arm are all that can matter. So a network of a few thousand numbers that treats arms alike (Zaheer et al. 2017,
"Deep Sets") is enough, and what it answers is an index of each arm, to be set beside Gittins'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from kshot.control.advantages import advantages
from kshot.control.bandits import REWARDS, Bandits, Counts, play
from kshot.control.worlds import WorldTask
from kshot.encoders import Encoder, identity
from kshot.encoders.sizes import whole
from kshot.errors import SettingError, UnsupportedError
from kshot.learners import Learner
from kshot.tasks import Examples, InteractiveTask
from kshot.tasks.spaces import Numbers, OutputSpace

SEEN = 7
"""Numbers that describe an arm: see `_describe`."""

DECAY = 0.95
"""Of generalised advantages. Schulman et al. (2016), "High-Dimensional Continuous Control Using GAE"."""


class ArmPolicy(Learner):
    """Pulls arms by a learned index. Adapting is remembering pulls: an example is a pull, its target the reward.

    An input is the share of pulls that are left and the arm, one-hot, [1 + arms]; the answer for it is what
    pulling this arm is worth, on a scale of its own: pull the arm of the largest.

    Args:
        encoder: `kshot.encoders.identity(1 + arms)`; see `arm_policy`. pulls: of an episode.
        rewards: "bernoulli" or "gaussian". width: of the hidden layers.

    >>> bandits = Bandits(arms=3, pulls=10)
    >>> policy = arm_policy(bandits, width=8)
    >>> task = policy.adapt(torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.9, 1.0, 0.0, 0.0]]), [1.0, 1.0])
    >>> worth = task.predict(torch.tensor([[0.8, 1.0, 0.0, 0.0], [0.8, 0.0, 1.0, 0.0]])).values
    >>> bool(worth[0] > worth[1])
    True
    """

    kind: ClassVar[str] = "arm_policy"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Numbers,)

    def __init__(self, encoder: Encoder, pulls: int, rewards: str = "bernoulli", width: int = 16) -> None:
        super().__init__(encoder)
        if rewards not in REWARDS or encoder.features < 3:
            raise SettingError(
                f"rewards is {rewards!r} and the encoder gives {encoder.features} numbers; rewards is one of "
                f"{', '.join(REWARDS)}, the encoder identity(1 + arms) with at least 2 arms"
            )
        self.pulls, self.rewards, self.width = whole("pulls", pulls), rewards, whole("width", width)
        self.bandits = Bandits(encoder.features - 1, self.pulls, rewards)
        self.actor, self.critic = _Arms(SEEN, self.width), _Arms(SEEN + 1, self.width)

    def config(self) -> dict[str, Any]:
        return {"pulls": self.pulls, "rewards": self.rewards, "width": self.width}

    def index(self, bandits: Bandits, known: Counts, generator: torch.Generator | None) -> Tensor:
        """What each arm is worth, [n, arms]: an `Index` for `kshot.control.play`."""
        with torch.no_grad():
            return self._worth(self._describe(known.count, known.total, torch.tensor(float(known.left))))

    def _describe(self, count: Tensor, total: Tensor, left: Tensor) -> Tensor:
        """Each arm's posterior mean and deviation, how often it was pulled, the pulls left, and how far it is behind
        the best, [..., arms, SEEN]."""
        mean, variance = self.bandits.posterior(count, total)
        best = mean.amax(-1, keepdim=True)
        share = (left / self.pulls).expand(count.shape)
        often = (count + 1).log() / 3
        return torch.stack(
            [mean, 4 * variance.sqrt(), often, share, (left + 1).log().expand(count.shape) / 3, 4 * (mean - best),
             variance.sqrt() * left.sqrt().expand(count.shape)], -1,
        )  # fmt: skip

    def _worth(self, seen: Tensor) -> Tensor:
        # it starts from what paid so far; that exploring pays is left to be found out
        worth: Tensor = 10 * seen[..., 0] + self.actor(seen)
        return worth

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        """Pulls and rewards of each arm, [arms] each."""
        arms = support.inputs[:, 1:]
        return {"count": arms.sum(0), "total": (arms * support.targets).sum(0)}

    def respond(self, state: dict[str, Tensor], inputs: Tensor, space: OutputSpace) -> Tensor:
        """Worth [m, 1] of the arms asked for, at the share of pulls left that each input says."""
        left = inputs[:, :1] * self.pulls
        count, total = (state[name].expand(len(inputs), -1) for name in ("count", "total"))
        worth = self._worth(self._describe(count, total, left))
        return (worth * inputs[:, 1:]).sum(1, keepdim=True)

    def play_many(self, tasks: Sequence[InteractiveTask], generator: torch.Generator) -> list[float]:
        """Mean payments of the arms pulled, summed over an episode, of each task; learning while acting."""
        return cast(list[float], play(*self._bandits(tasks), self.index, generator).earned.tolist())

    def practise(self, tasks: Sequence[InteractiveTask], generator: torch.Generator) -> Tensor:
        """Advantage actor-critic, one step on one episode of each task.

        In training the simulator tells what arms really pay: the critic sees it, and rewards are replaced by their
        means, which leaves the gradient's mean as it is and takes noise away. The policy sees counts only.
        """
        bandits, hidden = self._bandits(tasks)
        seen, arms = self._episode(bandits, hidden, generator)
        paid = hidden.expand(len(arms), -1, -1).gather(2, arms[..., None])[..., 0]
        # worth on average of each pull that is left, so that early and late pulls are of one scale
        left = torch.arange(bandits.pulls, 0, -1, dtype=paid.dtype)[:, None]
        value = self.critic(torch.cat([seen, hidden.expand(len(arms), -1, -1)[..., None]], -1)).mean(-1)
        advantage = advantages(paid, (value * left).detach(), decay=DECAY)
        target = advantage / left + value.detach()
        scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-6)
        chosen = self._worth(seen).log_softmax(-1).gather(2, arms[..., None])[..., 0]
        loss: Tensor = (value - target).square().mean() - (chosen * scaled).mean()
        return loss

    def _episode(self, bandits: Bandits, hidden: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """What was seen before each pull, [pulls, n, arms, SEEN], and the arms drawn from the policy, [pulls, n]."""
        count, total = torch.zeros_like(hidden), torch.zeros_like(hidden)
        state, seen, arms = bandits.reset(hidden, rng), [], []
        rows = torch.arange(len(hidden))
        with torch.no_grad():
            for place in range(bandits.pulls):
                seen.append(self._describe(count, total, torch.tensor(float(bandits.pulls - place))))
                chance = self._worth(seen[-1]).softmax(-1)
                arms.append(torch.multinomial(chance, 1, generator=rng)[:, 0])
                state, reward, _ = bandits.step(hidden, state, arms[-1], rng)
                count[rows, arms[-1]] += 1
                total[rows, arms[-1]] += reward
        return torch.stack(seen), torch.stack(arms)

    def _bandits(self, tasks: Sequence[InteractiveTask]) -> tuple[Bandits, Tensor]:
        strange = [t for t in tasks if not isinstance(t, WorldTask) or t.world != self.bandits]
        if strange:
            raise UnsupportedError(
                f"this policy plays {self.bandits}; task {strange[0].name!r} is another: make one with "
                "kshot.control.arm_policy(bandits)"
            )
        hidden = torch.stack([cast(WorldTask, task).hidden for task in tasks])
        return self.bandits, hidden.to(next(self.parameters()).dtype)


def arm_policy(bandits: Bandits, width: int = 16) -> ArmPolicy:
    """An untrained policy for these bandits: `kshot.fit(arm_policy(bandits), bandits, meta_batch=256)` trains it.

    >>> arm_policy(Bandits(arms=5, pulls=10)).config()["pulls"]
    10
    """
    return ArmPolicy(identity(1 + bandits.arms), bandits.pulls, bandits.rewards, width)


class _Arms(nn.Module):
    """Numbers of each arm, [..., arms, inputs], to one number each; each sees the mean and the maximum of all."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.own = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.together = nn.Linear(2 * width, width)
        self.last = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, seen: Tensor) -> Tensor:
        own = self.own(seen)
        all_ = self.together(torch.cat([own.mean(-2), own.amax(-2)], -1)).unsqueeze(-2)
        out: Tensor = self.last(torch.relu(own + all_)).squeeze(-1)
        return out
