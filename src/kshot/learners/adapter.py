"""Adapters: a chosen part of a trained encoder moves on the support, and a closed-form head answers.

Li, Liu and Bilen (2022), "Cross-domain Few-shot Learning with Task-specific Adapters": what moves is fitted so
that class means tell the support apart.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.adaptation import Subset, norm_parameters, subset
from kshot.encoders import Encoder
from kshot.engine import call, descend, gradient_nodes, own_values, rates
from kshot.errors import SettingError
from kshot.heads import HEADS, Head
from kshot.learners.closed_form import ClosedForm
from kshot.learners.learner import Learner, Movement
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import OutputSpace

_BODY = "encoder."


class Adapter(Learner):
    """Adapts by `steps` gradient steps on part of the encoder, then solves `head` on the moved features.

    Each step asks the head for every support example's label as if it had never seen that example
    (leave-one-out), since an encoder that has seen it can always make it right. Examples that are alone in
    their class cannot be left out; the means then include them. Batch norms keep the encoder's own statistics.

    Args:
        encoder: trained already; adapting starts from its weights.
        moves: film, lora, lora:RANK, bias, body or full (see `kshot.adaptation`).
        head: "prototype", "kernel_ridge", "lda", "ridge", or a head.
        steps, rate: how many gradient steps, and how large.

    `loss`, for meta-training, is that of the head on the encoder as it is: episodes train the start.

    >>> import torch, kshot
    >>> learner = Adapter(kshot.encoders.mlp(2, (8,)), "full", steps=5)
    >>> learner.adapt(torch.eye(2), ["a", "b"]).predict(torch.eye(2)).labels
    ['a', 'b']
    """

    kind: ClassVar[str] = "adapter"

    def __init__(
        self,
        encoder: Encoder,
        moves: str | Subset = "film",
        head: str | Head = "prototype",
        *,
        steps: int = 20,
        rate: float = 0.1,
        **settings: Any,
    ) -> None:
        super().__init__(encoder)
        if steps < 0 or not rate > 0:
            raise SettingError(f"steps is {steps} and rate {rate}; give 0 steps or more and a rate above 0")
        if isinstance(head, str) and head not in HEADS:
            raise SettingError(f"head is {head!r}; choose one of {', '.join(HEADS)}")
        self.head = HEADS[head](**settings) if isinstance(head, str) else head
        self.steps, self.rate, self.subset = steps, rate, subset(moves)
        self.norms = norm_parameters(encoder, _BODY)
        if not self.subset.initial(self._start(), self.norms):
            raise SettingError(
                f"moves is {self.subset.spec()!r}, but this {encoder.kind} encoder has nothing of that kind to move; "
                "choose another part, or a closed-form learner"
            )
        self.rates = rates("fixed", rate)

    @classmethod
    def of(
        cls, base: ClosedForm, moves: str | Subset = "film", *, steps: int = 20, rate: float = 0.1
    ) -> Adapter:
        """An adapter that starts from a trained base's encoder (shared, never changed) and its head's scalars.

        The base's threshold does not come along: moved features have other distances.
        """
        made = cls(base.encoder, moves, copy.deepcopy(base.head), steps=steps, rate=rate)
        made.temperature.copy_(base.temperature)
        made.seen = base.seen.clone()
        return made.train(base.training)

    def config(self) -> dict[str, Any]:
        return {
            "moves": self.subset.spec(),
            "head": self.head.kind,
            "steps": self.steps,
            "rate": self.rate,
            **self.head.config(),
        }

    def embed(self, prepared: Tensor) -> Tensor:
        """The inputs themselves: what moves lies in the encoder."""
        return prepared

    def loss(self, task: Task) -> Tensor:
        support, query = task.support, task.query
        if support is None or query is None:
            return super().loss(task)  # which says what is missing
        features = self.encoder(self.encoder.join([support.inputs, query.inputs]))
        state = self.head.solve(features[: len(support)], support.targets, task.space.size)
        return task.space.loss(self.head.respond(state, features[len(support) :]), query.targets)

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, dict[str, Tensor]]:
        parameters, size = self._start(), space.size
        several = torch.bincount(support.targets, minlength=size)[support.targets] > 1

        def loss(moving: dict[str, Tensor], _: int) -> Tensor:
            features = self._features(self.subset.apply(parameters, moving), support.inputs)
            return _support_loss(self.head, features, support.targets, size, several)

        start = self.subset.initial(parameters, self.norms)
        nodes = gradient_nodes(self.head.parameters())  # the head's own take part in each step
        moving = descend(loss, start, steps=self.steps, rates=self.rates, order=0)[0]
        del nodes
        features = self._features(self.subset.apply(parameters, moving), support.inputs)
        return {"moving": moving, "head": self.head.solve(features, support.targets, size)}

    def respond(self, state: dict[str, dict[str, Tensor]], inputs: Tensor, space: OutputSpace) -> Any:
        parameters = self.subset.apply(self._start(), state["moving"])
        return self.head.respond(state["head"], self._features(parameters, inputs))

    def movement(self, state: dict[str, dict[str, Tensor]], space: OutputSpace) -> Movement:
        before = self._start()
        return Movement(before, self.subset.apply(before, state["moving"]), state["moving"])

    def _start(self) -> dict[str, Tensor]:
        return own_values({_BODY + name: p for name, p in self.encoder.named_parameters()})

    def _features(self, parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        own = {name.removeprefix(_BODY): p for name, p in parameters.items() if name.startswith(_BODY)}
        features: Tensor = call(self.encoder, own, inputs)
        return features


def _support_loss(head: Head, features: Tensor, targets: Tensor, size: int, several: Tensor) -> Tensor:
    """Cross entropy of leave-one-out answers, where an example can be left out, else of answers with it."""
    if bool(several.all()):
        return F.cross_entropy(head.leave_one_out(features, targets, size), targets)
    whole = head.respond(head.solve(features, targets, size), features)
    if not bool(several.any()):
        return F.cross_entropy(whole, targets)
    left = head.leave_one_out(features, targets, size)
    return F.cross_entropy(torch.where(several.unsqueeze(1), left, whole), targets)
