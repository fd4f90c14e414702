"""Closed-form learners (mechanism A): an encoder, and a head solved by a formula."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from kshot.encoders import Encoder
from kshot.errors import DataError, SettingError, TaskError
from kshot.heads import HEADS, BayesianLinearHead, Before, Head, WithoutEach
from kshot.heads.grouped_rows import GroupedRows
from kshot.learners.learner import Learner
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Classes, Gaussian, Numbers, OutputSpace


class ClosedForm(Learner):
    """Adapts by solving `head` on the features of the support; the encoder stays as it is.

    Bertinetto et al. (2019), "Meta-learning with differentiable closed-form solvers".

    Args:
        encoder: gives the features.
        head: "prototype", "ridge", "kernel_ridge", "lda", "bayesian", or a head.
        rounds: in meta-training, let the examples of each class take turns as support, the others being
            queries, and average the losses: several tasks for the price of encoding one. Only for
            balanced classes; adapting and evaluation are not affected.

    >>> import torch, kshot
    >>> learner = ClosedForm(kshot.encoders.identity(1), "bayesian")
    >>> task = learner.adapt(torch.tensor([[0.0], [1.0]]), [0.0, 1.0])
    >>> task.predict(torch.tensor([[0.5]])).values.shape
    (1, 1)
    """

    kind: ClassVar[str] = "closed_form"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Classes, Numbers)

    def __init__(
        self, encoder: Encoder, head: str | Head = "kernel_ridge", *, rounds: bool = False, **settings: Any
    ) -> None:
        super().__init__(encoder)
        self.rounds = rounds
        if isinstance(head, str):
            if head not in HEADS:
                raise SettingError(f"head is {head!r}; choose one of {', '.join(HEADS)}")
            head = HEADS[head](**settings)
        self.head = head

    def config(self) -> dict[str, Any]:
        return {"head": self.head.kind, "rounds": self.rounds, **self.head.config()}

    def check_space(self, space: OutputSpace) -> None:
        super().check_space(space)
        if isinstance(space, Numbers) and self.head.kind in ("prototype", "lda"):
            raise SettingError(
                f"a {self.head.kind} head answers with classes, the targets are numbers; "
                "use ridge, kernel_ridge or bayesian"
            )

    def check_count(self, count: int) -> None:
        if self.head.most is not None and count > self.head.most:
            raise DataError(
                f"{count} examples make no small task; a {self.head.kind} head solves for at most {self.head.most} at once: "
                "draw some hundreds of each class, or take the prototype head, whose cost does not grow with "
                "their square"
            )

    def loss(self, task: Task) -> Tensor:
        """Mean query loss; with `rounds` also the mean over turns of which examples are the support."""
        support, query = task.support, task.query
        if not self.rounds or support is None or query is None or isinstance(task.space, Numbers):
            return super().loss(task)
        features = self.embed(self.encoder.join([support.inputs, query.inputs]))
        grouped = _by_class(features, torch.cat([support.targets, query.targets]), task.space.size)
        shots = len(support) // task.space.size
        turns = range(0, grouped.shape[1], shots)
        return torch.stack([self._turn(grouped.roll(-turn, 1), shots, task.space) for turn in turns]).mean()

    def _turn(self, grouped: Tensor, shots: int, space: OutputSpace) -> Tensor:
        """Loss with the first `shots` of each class as support; grouped is [classes, per class, d]."""
        own = torch.arange(space.size, device=grouped.device)
        rest = grouped.shape[1] - shots
        state = self.solve(Examples(grouped[:, :shots].flatten(0, 1), own.repeat_interleave(shots)), space)
        outputs = self.respond(state, grouped[:, shots:].flatten(0, 1), space)
        return space.loss(outputs, own.repeat_interleave(rest))

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        return self.head.solve(support.inputs, support.targets, space.size)

    def solve_after(self, before: Before, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        return self.head.solve_after(before, support.inputs, support.targets, space.size)

    def respond_to_own(self, state: dict[str, Tensor], support: Examples, space: OutputSpace) -> Any:
        found = self.head.respond_to_own(state, support.targets)
        return super().respond_to_own(state, support, space) if found is None else found

    def kept(self, state: dict[str, Tensor], support: Examples) -> Mapping[str, np.ndarray]:
        return self.head.kept(state, support.targets)

    def grown(self, kept: Mapping[str, np.ndarray], embedded: np.ndarray | GroupedRows) -> Any:
        return self.head.grown(kept, embedded)

    def respond(self, state: dict[str, Tensor], inputs: Tensor, space: OutputSpace) -> Any:
        outputs = self.head.respond(state, inputs)
        return (
            Gaussian(*outputs)
            if isinstance(self.head, BayesianLinearHead) and isinstance(outputs, tuple)
            else outputs
        )

    def scalars(self) -> dict[str, float]:
        return {name: float(p.detach()) for name, p in self.head.named_parameters() if p.ndim == 0}

    def with_scalars(self, scalars: Mapping[str, float]) -> ClosedForm:
        head = copy.deepcopy(self.head)
        own = {name: p for name, p in head.named_parameters() if p.ndim == 0}
        for name, value in scalars.items():
            if name not in own or not math.isfinite(value):
                raise SettingError(
                    f"scalar {name!r} is {value!r}; a {self.head.kind} head has {', '.join(own)}, finite numbers"
                )
            own[name].data.fill_(value)
        # a shallow copy: encoder and calibration stay the base's own objects
        other = copy.copy(self)
        other._modules = {**self._modules, "head": head}
        return other

    def without_each(self, support: Examples, space: OutputSpace) -> WithoutEach:
        return self.head.without_each(support.inputs, support.targets, space.size)


def _by_class(features: Tensor, targets: Tensor, size: int) -> Tensor:
    """Features [n, d] of balanced classes as [classes, n / classes, d], in their given order.

    Raises:
        TaskError: classes of different sizes cannot take equal turns.
    """
    if len(features) % size:
        raise TaskError(
            f"{len(features)} examples of {size} classes are not balanced; rounds=True needs as many examples "
            "of each class: use an n-way k-shot sampler, or rounds=False"
        )
    return features[torch.argsort(targets, stable=True)].reshape(size, -1, features.shape[1])
