"""A policy that adapts by policy gradients: MAML for reinforcement learning.

Finn et al. (2017), "Model-Agnostic Meta-Learning", algorithm 3: act a few episodes, take a step of a policy gradient,
act again. Four things keep training from diverging: the inner gradient is that of a ratio of chances, whose second
derivative is right (Rothfuss et al. 2019, "ProMP", the low variance curvature estimator); inner steps are
learned by layer and step and cut to a length; the spread of actions has a floor; and returns are judged
against a baseline fitted to the very episodes (Duan et al. 2016, "Benchmarking Deep Reinforcement Learning").
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kshot.control.demonstrations import Demonstrations
from kshot.control.episodes import Episodes, by_task, scaled_advantages
from kshot.control.worlds import World, one_world
from kshot.encoders import Encoder, identity
from kshot.encoders.sizes import whole
from kshot.engine import rates
from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.learners import Learner
from kshot.tasks import Examples, InteractiveTask
from kshot.tasks.spaces import Actions, OutputSpace
from kshot.tasks.spaces.numbers import Gaussian

FLOOR = -3.0
"""Least logarithm of the spread of actions, in units of the action's range: a policy that is certain learns no more."""

Weights = dict[str, Tensor]
Loss = Callable[[Weights], Tensor]


class GradientPolicy(Learner):
    """Adapts to episodes of a task by steps of a policy gradient, one for each round of `episodes` episodes.

    An example is a step, as for `RecurrentPolicy`: the input its number, the reward that its action earned and what was
    seen, [2 + observations]; the target is the action. Numbers run on from episode to episode: each starts at a
    multiple of `horizon`.

    With `imitates` the steps are demonstrations: what their actions earned is not looked at, and `rounds` gradient steps of
    behaviour cloning are taken on all of them, Finn et al. (2017), "One-Shot Visual Imitation Learning via
    Meta-Learning". Train it on `Demonstrations`.

    Args:
        encoder: `kshot.encoders.identity(2 + observations)`; see `gradient_policy`.
        horizon: steps of an episode at most. actions, continuous, low, high: what can be done, as in `Actions`.
        width: of two hidden layers. rounds: inner steps that are trained. episodes: of a round.
        rate: of inner steps, the start of what is learned. discount: of rewards to come.

    >>> from kshot.control import PointGoals
    >>> policy = gradient_policy(PointGoals(horizon=5), width=8, episodes=2)
    >>> rng = torch.Generator().manual_seed(0)
    >>> task = policy.adapt(PointGoals(horizon=5).sample(rng).collect(None, rng))
    >>> task.predict(task.inputs[:3]).actions.shape
    (3, 2)
    """

    kind: ClassVar[str] = "gradient_policy"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Actions,)
    inner_gradient: ClassVar[bool] = True

    def __init__(
        self, encoder: Encoder, actions: int, horizon: int, *, continuous: bool = False, low: float | None = None,
        high: float | None = None, width: int = 64, rounds: int = 1, episodes: int = 20, rate: float = 0.1,
        discount: float = 0.99, imitates: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(encoder)
        if encoder.features < 3 or not 0 <= discount <= 1:
            raise SettingError(
                f"the encoder gives {encoder.features} numbers, discount is {discount}; the encoder is "
                "identity(2 + observations), discount lies in 0..1"
            )
        limits = {k: v for k, v in (("low", low), ("high", high)) if v is not None}
        self.space = Actions(whole("actions", actions), continuous, **limits)
        self.horizon, self.width, self.rounds = (
            whole("horizon", horizon),
            whole("width", width),
            whole("rounds", rounds),
        )
        self.episodes, self.rate, self.discount = whole("episodes", episodes), rate, discount
        self.imitates = imitates
        self.scale = high if continuous and high is not None else 1.0
        sizes = (encoder.features - 2, self.width, self.width, self.space.count)
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        self.weights = nn.ParameterDict({f"w{i}": layer.weight for i, layer in enumerate(layers)})
        self.weights.update({f"b{i}": layer.bias for i, layer in enumerate(layers)})
        if continuous:
            self.weights["spread"] = nn.Parameter(torch.zeros(self.space.count))
        self.rates = rates("per_layer_per_step", rate)
        self.rates.make(dict(self.weights), self.rounds)

    def config(self) -> dict[str, Any]:
        space = self.space.to_json()
        return {
            "actions": space.pop("count"), "horizon": self.horizon, "width": self.width, "rounds": self.rounds,
            "episodes": self.episodes, "rate": self.rate, "discount": self.discount,
            "imitates": self.imitates, **{k: v for k, v in space.items() if k != "kind"},
        }  # fmt: skip

    def guess_space(self, targets: Any) -> OutputSpace:
        """Its own actions."""
        return self.space

    def solve(self, support: Examples, space: OutputSpace) -> Weights:
        """One step of the policy gradient for each round of episodes, in the order of their numbers; or of cloning."""
        training = torch.is_grad_enabled()
        moving: Weights = dict(self.weights) if training else _constant(dict(self.weights))
        losses = self._cloning(support) if self.imitates else [self._lived(e) for e in self._rounds(support)]
        with torch.enable_grad():
            for number, loss in enumerate(losses):
                moved = self._stepped(moving, loss, number)
                moving = moved if training else _constant(moved)
        return moving

    def _cloning(self, support: Examples) -> list[Loss]:
        """`rounds` times the same loss: - mean log pi(a) of what was demonstrated."""
        seen, acts = support.inputs[..., 2:], support.targets
        return [lambda own: -self._chances(self.outputs(own, seen), acts).mean(-1).sum()] * self.rounds

    def _lived(self, lived: Episodes, given: bool = True) -> Loss:
        return lambda own: self.surrogate(own, lived, given).sum()

    def respond(self, state: Weights, inputs: Tensor, space: OutputSpace) -> Tensor | Gaussian:
        """Scores of actions, or their Gaussian, for each observation."""
        return self.outputs(state, inputs[:, 2:])

    def outputs(self, weights: Weights, seen: Tensor) -> Tensor | Gaussian:
        """As `respond`, for observations [..., n, observations] under weights with as many leading axes."""
        x = seen
        for i in range(3):
            x = x @ weights[f"w{i}"].transpose(-1, -2) + weights[f"b{i}"].unsqueeze(-2)
            x = torch.tanh(x) if i < 2 else x
        if "spread" not in weights:
            return x
        spread = self.scale * weights["spread"].clamp(min=FLOOR).exp()
        return Gaussian(self.scale * x, spread.square().unsqueeze(-2).expand_as(x))

    def _rounds(self, support: Examples) -> list[Episodes]:
        """The steps laid out by round, step and episode; what is missing counts nothing."""
        time = support.inputs[:, 0].round().long()
        if len(time) and int(time.min()) < 0:
            raise DataError(f"step {int(time.min())} was given; steps are numbered from 0")
        episode, step = time // self.horizon, time % self.horizon
        out = []
        for number in (episode // self.episodes).unique().tolist():
            own = (episode // self.episodes == number).nonzero().flatten()
            at = (step[own], episode[own] % self.episodes)
            x, acts = support.inputs[own], support.targets[own]
            shape = (self.horizon, self.episodes)
            lay = [torch.zeros(*shape, *v.shape[1:], dtype=v.dtype, device=v.device).index_put(at, v)
                   for v in (x[:, 2:], acts, x[:, 1], torch.ones_like(x[:, 1]))]  # fmt: skip
            out.append(Episodes(*lay))
        return out

    def _stepped(self, moving: Weights, loss: Loss, number: int) -> Weights:
        """theta' = theta - alpha grad L(theta), for one task or for many with stacked weights."""
        own = {name: v if v.requires_grad else v.detach().requires_grad_() for name, v in moving.items()}
        found = torch.autograd.grad(
            loss(own), list(own.values()), create_graph=torch.is_grad_enabled(), allow_unused=True,
            materialize_grads=True,
        )  # fmt: skip
        return {
            name: own[name] - self.rates.rate(name, number, own[name]) * slope
            for name, slope in zip(own, found, strict=True)
        }

    def surrogate(self, weights: Weights, lived: Episodes, given: bool = False) -> Tensor:
        """- mean of log pi(a) * advantage over steps that were given: a number for each task. Where the policy itself
        lived them, of the ratio of chances: it is 1 and its slope the same, but its second derivative also knows that
        another policy would have lived something else.
        """
        outputs = self.outputs(weights, lived.seen.flatten(-3, -2))
        acts = lived.actions.flatten(-3, -2) if self.space.continuous else lived.actions.flatten(-2)
        chance = self._chances(outputs, acts)
        ratio = chance if given else (chance - chance.detach()).exp()
        weight = scaled_advantages(lived, self.discount).flatten(-2)
        return -(ratio * weight).sum(-1) / lived.going.flatten(-2).sum(-1).clamp(min=1)

    def _chances(self, outputs: Tensor | Gaussian, actions: Tensor) -> Tensor:
        """log pi(a), [..., n]: what `Actions.log_probability` gives, with leading axes."""
        if isinstance(outputs, Gaussian):
            gap = (actions - outputs.mean) ** 2 / outputs.variance
            return -0.5 * (outputs.variance.log() + gap).sum(-1)
        return outputs.log_softmax(-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)

    @torch.no_grad()
    def live(self, weights: Weights, world: World, hidden: Tensor, rng: torch.Generator) -> Episodes:
        """`episodes` episodes of each of n tasks, with weights stacked over tasks, [n, steps, episodes, ...]."""
        count, each = len(hidden), self.episodes
        copies = hidden.repeat_interleave(each, 0)
        state, rows = world.reset(copies, rng), []
        going = weights["b0"].new_ones(count * each)
        for _ in range(self.horizon):
            seen = world.observe(state).to(going)
            outputs = self.outputs(weights, seen.reshape(count, each, -1))
            action = self._drawn(outputs, rng)
            state, reward, done = world.step(copies, state, action, rng)
            rows.append((seen, action, reward.to(going), going))
            going = going * (~done).to(going)
        return Episodes(*(by_task(torch.stack(column), count) for column in zip(*rows, strict=True)))

    def _drawn(self, outputs: Tensor | Gaussian, rng: torch.Generator) -> Tensor:
        if isinstance(outputs, Gaussian):
            return torch.normal(outputs.mean, outputs.variance.sqrt(), generator=rng).flatten(0, 1)
        return torch.multinomial(outputs.softmax(-1).flatten(0, 1), 1, generator=rng)[:, 0]

    def returns(self, tasks: Sequence[InteractiveTask], generator: torch.Generator, rounds: int) -> Tensor:
        """Mean return of an episode after 0, 1, ... `rounds` inner steps, [n, rounds + 1]."""
        world, hidden = self._world(tasks)
        moving, found = _constant(self._stacked(len(hidden))), []
        for number in range(rounds + 1):
            lived = self.live(moving, world, hidden, generator)
            found.append((lived.rewards * lived.going).sum(1).mean(1))
            if number < rounds:
                with torch.enable_grad():
                    moving = _constant(self._stepped(moving, self._lived(lived, False), number))
        return torch.stack(found, 1).detach()

    def play_many(self, tasks: Sequence[InteractiveTask], generator: torch.Generator) -> list[float]:
        """Mean return of an episode of each task after the inner steps that were trained, or after one demonstration."""
        if not self.imitates:
            return self.returns(tasks, generator, self.rounds)[:, -1].tolist()
        world, hidden = self._world(tasks)
        shown = Demonstrations(world)
        moving = [self.solve(shown.episode(row, 0.0, generator), self.space) for row in hidden]
        stacked = {name: torch.stack([_constant(own)[name] for own in moving]) for name in self.weights}
        lived = self.live(stacked, world, hidden, generator)
        return (lived.rewards * lived.going).sum(1).mean(1).tolist()

    def practise(self, tasks: Sequence[InteractiveTask], generator: torch.Generator) -> Tensor:
        """The outer loss: the mean surrogate of new episodes after each inner step, through all steps."""
        if self.imitates:
            raise UnsupportedError(
                f"{tasks[0].name} was given to be acted in; a policy that imitates is trained on Demonstrations(world)"
            )
        world, hidden = self._world(tasks)
        moving, losses = self._stacked(len(hidden)), []
        lived = self.live(_constant(moving), world, hidden, generator)
        for number in range(self.rounds):
            moving = self._stepped(moving, self._lived(lived, False), number)
            lived = self.live(_constant(moving), world, hidden, generator)
            losses.append(self.surrogate(moving, lived).mean())
        return torch.stack(losses).mean()

    def _stacked(self, count: int) -> Weights:
        return {name: value.expand(count, *value.shape) for name, value in self.weights.items()}

    def _world(self, tasks: Sequence[InteractiveTask]) -> tuple[World, Tensor]:
        world, hidden = one_world(tasks, self.space, self.encoder.features - 2)
        if world.horizon != self.horizon:
            raise SettingError(
                f"an episode has {world.horizon} steps; this policy was made for {self.horizon}"
            )
        return world, hidden


def _constant(weights: Weights) -> Weights:
    return {name: value.detach() for name, value in weights.items()}


def gradient_policy(world: World, **settings: Any) -> GradientPolicy:
    """An untrained policy for a world: `kshot.fit(gradient_policy(world), world, meta_batch=20)` trains it.

    Args:
        settings: of `GradientPolicy`, for example `rounds`.

    >>> from kshot.control import PointGoals
    >>> gradient_policy(PointGoals(), rounds=2).config()["horizon"]
    100
    """
    space = world.actions.to_json()
    settings = {k: v for k, v in space.items() if k not in ("kind", "count")} | settings
    return GradientPolicy(identity(2 + world.observations), space["count"], world.horizon, **settings)
