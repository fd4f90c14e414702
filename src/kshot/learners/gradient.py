"""Gradient learners (mechanism D): a composition of what moves, how it moves, and a head.

MAML and its family differ in three settings only, so they are recipes of a few lines in
`recipes.py`. Finn et al. (2017), "Model-Agnostic Meta-Learning", algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F

from kshot.adaptation import Subset, norm_parameters, subset
from kshot.encoders import BatchNorm2d, Encoder, normalising
from kshot.engine import call, descend, descend_weighted, own_values, rates, rows_like, same_gradient
from kshot.errors import DataError, SettingError
from kshot.learners.learner import Learner, Movement
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Classes, Numbers, OutputSpace

REGIMES = ("inductive", "transductive")
_BODY = "encoder."


class Moved(NamedTuple):
    """State of an adapted gradient learner: what moved, and the support's norm statistics."""

    moving: dict[str, Tensor]
    statistics: list[tuple[Tensor, Tensor]]


class GradientLearner(Learner):
    """Adapts by `steps` gradient steps on the support loss.

    Args:
        encoder: the body. Its batch norms use statistics of the batch at hand, never running ones.
        outputs: classes (or numbers) the head is trained for. Tasks with fewer use its first rows,
            tasks with more start further rows at the mean of the trained ones.
        moves: what moves: full, head, body, bias, film, lora or lora:RANK.
        steps: inner steps. rate: their size.
        rates: "fixed", "per_parameter" (learned, Meta-SGD), "per_layer_per_step" (learned, MAML++).
        order: 2 (exact meta-gradients), 1 (first order), 0 (Reptile: the base is pulled to where the steps lead;
            in training each step sees another part of the task's examples).
        regime: "inductive": queries are normalised with the support's statistics; "transductive": with
            their own, as in the MAML paper, so the answer to one query depends on the others.

    >>> import torch, kshot
    >>> learner = GradientLearner(kshot.encoders.mlp(2, (8,)), outputs=2, steps=50)
    >>> task = learner.adapt(torch.eye(2), ["a", "b"])
    >>> task.predict(torch.eye(2)).labels
    ['a', 'b']
    """

    kind: ClassVar[str] = "gradient"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Classes, Numbers)
    inner_gradient: ClassVar[bool] = True

    def __init__(
        self,
        encoder: Encoder,
        *,
        outputs: int = 5,
        moves: str | Subset = "full",
        steps: int = 5,
        rate: float = 0.1,
        rates: str = "fixed",
        order: int = 2,
        regime: str = "inductive",
    ) -> None:
        super().__init__(encoder)
        _check(outputs, steps, order, regime)
        self.outputs, self.steps, self.order, self.regime = outputs, steps, order, regime
        self.head = nn.Linear(encoder.features, outputs)
        nn.init.zeros_(self.head.bias)
        self.subset = subset(moves)
        self.norms = norm_parameters(encoder, _BODY)
        self.normalises = any(isinstance(m, BatchNorm2d) for m in encoder.modules())
        self._rates = (rates, rate)
        self.rates = _rates(rates, rate)
        self.rates.make(
            {k: v.detach() for k, v in self.subset.initial(self._start(outputs), self.norms).items()}, steps
        )

    def config(self) -> dict[str, Any]:
        return {
            "outputs": self.outputs,
            "moves": self.subset.spec(),
            "steps": self.steps,
            "rate": self._rates[1],
            "rates": self._rates[0],
            "order": self.order,
            "regime": self.regime,
        }

    def embed(self, prepared: Tensor) -> Tensor:
        """The inputs themselves: what moves lies in the encoder."""
        return prepared

    def solve(self, support: Examples, space: OutputSpace) -> Moved:
        """theta' of equation 1: `steps` gradient steps on the support loss, from the meta-learned start."""
        parameters = self._start(space.size)
        return self._settled(parameters, self._moved(parameters, [support], space), support)

    def _settled(
        self,
        parameters: dict[str, Tensor],
        moving: dict[str, Tensor],
        support: Examples,
        weights: Tensor | None = None,
    ) -> Moved:
        if not self.normalises or self.regime == "transductive":
            return Moved(moving, [])
        with normalising("record", weights=weights) as statistics:
            call(self.encoder, _body(self.subset.apply(parameters, moving)), support.inputs)
        return Moved(moving, statistics)

    def _moved(
        self, parameters: dict[str, Tensor], parts: list[Examples], space: OutputSpace
    ) -> dict[str, Tensor]:
        """What moves, after `steps` steps; each sees the next of `parts`, in turn."""
        # a body that stays gives every step the same features
        stays = self.subset.spec() == "head"
        features = [self._features(parameters, part.inputs, "batch") for part in parts] if stays else []

        def loss(moving: Mapping[str, Tensor], step: int) -> Tensor:
            place = step % len(parts)
            moved = self.subset.apply(parameters, dict(moving))
            if stays:
                outputs = _head(moved, features[place])
            else:
                outputs = self._forward(moved, parts[place].inputs, "batch")
            return space.loss(outputs, parts[place].targets)

        start = self.subset.initial(parameters, self.norms)
        return descend(loss, start, steps=self.steps, rates=self.rates, order=self.order)[0]

    def respond(self, state: Moved, inputs: Tensor, space: OutputSpace) -> Tensor:
        parameters = self.subset.apply(self._start(space.size), state.moving)
        if self.regime == "transductive":
            return self._forward(parameters, inputs, "batch")
        return self._forward(parameters, inputs, "replay", state.statistics)

    def movement(self, state: Moved, space: OutputSpace) -> Movement:
        before = self._start(space.size)
        return Movement(before, self.subset.apply(before, state.moving), state.moving, "batch")

    def influence(
        self, support: Examples, query: Tensor, space: OutputSpace, score: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """How `score` of the outputs for `query` depends on the weight of each support example, [n].

        A weight counts in the inner loss and in the statistics of batch norms, which then are weighted means. The
        derivative at equal weights is exact, through all inner steps and whatever `order`.
        """
        parameters = {name: p.detach() for name, p in self._start(space.size).items()}

        def loss(moving: dict[str, Tensor], weights: Tensor) -> Tensor:
            moved = self.subset.apply(parameters, moving)
            outputs = self._forward(moved, support.inputs, "batch", weights=weights)
            each = vmap(lambda out, goal: space.loss(out.unsqueeze(0), goal.unsqueeze(0)))(
                outputs, support.targets
            )
            return (weights * each).sum() / weights.sum()

        start = self.subset.initial(parameters, self.norms)
        weights = query.new_ones(len(support)).requires_grad_()
        moved, back = descend_weighted(loss, start, weights, steps=self.steps, rates=self.rates)
        with torch.enable_grad():
            moving = {name: t.detach().requires_grad_() for name, t in moved.items()}
            value = score(self.respond(self._settled(parameters, moving, support, weights), query, space))
            at = [*moving.values(), weights]
            *ends, direct = torch.autograd.grad(value, at, allow_unused=True, materialize_grads=True)
        return back(dict(zip(moving, ends, strict=True))) + direct

    def loss(self, task: Task) -> Tensor:
        """Query loss after adapting; for order 0 a loss whose gradient is start minus result (Reptile)."""
        return super().loss(task) if self.order else self._pulled(task)

    def _pulled(self, task: Task) -> Tensor:
        """Reptile needs no query: its steps see the task's examples in parts, for only steps on different
        examples make the start generalise (Nichol et al. 2018, section 5.1). Shown is the last part's loss.
        """
        if task.support is None or task.query is None:
            raise DataError(f"task {task.name!r} lacks a support or a query; training needs both")
        parameters = self._start(task.space.size)
        parts = _parts(task.support + task.query, self.steps)
        moving = self._moved(parameters, parts, task.space)
        start = self.subset.initial(parameters, self.norms)
        pull = {name: value - moving[name] for name, value in start.items()}
        outputs = self._forward(self.subset.apply(parameters, moving), parts[-1].inputs, "batch")
        return same_gradient(start, pull, task.space.loss(outputs, parts[-1].targets))

    def _start(self, size: int) -> dict[str, Tensor]:
        """Parameters of body and head, the head with `size` rows."""
        weight = rows_like(self.head.weight, self.head.weight.new_empty(size, 0))
        bias = rows_like(self.head.bias, self.head.bias.new_empty(size))
        body = {_BODY + name: p for name, p in self.encoder.named_parameters()}
        return own_values({**body, "head.weight": weight, "head.bias": bias})

    def _forward(
        self,
        parameters: dict[str, Tensor],
        x: Tensor,
        policy: str,
        kept: Any = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        return _head(parameters, self._features(parameters, x, policy, kept, weights))

    def _features(
        self,
        parameters: Mapping[str, Tensor],
        x: Tensor,
        policy: str,
        kept: Any = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        with normalising(policy, kept, weights):
            features: Tensor = call(self.encoder, _body(parameters), x)
        return features


def _head(parameters: Mapping[str, Tensor], features: Tensor) -> Tensor:
    return F.linear(features, parameters["head.weight"], parameters["head.bias"])


def _body(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(_BODY): p for name, p in parameters.items() if name.startswith(_BODY)}


def _parts(examples: Examples, count: int) -> list[Examples]:
    """The examples dealt out to `count` parts, as cards are; not more parts than examples."""
    count = max(1, min(count, len(examples)))
    return [Examples(examples.inputs[k::count], examples.targets[k::count]) for k in range(count)]


_rates = rates


def _check(outputs: int, steps: int, order: int, regime: str) -> None:
    if outputs < 1:
        raise SettingError(f"outputs is {outputs}; a head has at least 1")
    if steps < 0:
        raise SettingError(f"steps is {steps}; inner steps are 0 or more")
    if order not in (0, 1, 2):
        raise SettingError(f"order is {order!r}; choose 2 (exact), 1 (first order) or 0 (Reptile)")
    if regime not in REGIMES:
        raise SettingError(f"regime is {regime!r}; choose one of {', '.join(REGIMES)}")
