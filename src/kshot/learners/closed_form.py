"""Closed-form learners (mechanism A): an encoder, and a head solved by a formula."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from kshot.encoders import Encoder
from kshot.errors import SettingError
from kshot.heads import HEADS, BayesianLinearHead, Head
from kshot.learners.learner import Learner
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes, Gaussian, Numbers, OutputSpace


class ClosedForm(Learner):
    """Adapts by solving `head` on the features of the support; the encoder stays as it is.

    Bertinetto et al. (2019), "Meta-learning with differentiable closed-form solvers".

    Args:
        encoder: gives the features.
        head: "prototype", "ridge", "kernel_ridge", "lda", "bayesian", or a head.

    >>> import torch, kshot
    >>> learner = ClosedForm(kshot.encoders.identity(1), "bayesian")
    >>> task = learner.adapt(torch.tensor([[0.0], [1.0]]), [0.0, 1.0])
    >>> task.predict(torch.tensor([[0.5]])).values.shape
    (1, 1)
    """

    kind: ClassVar[str] = "closed_form"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Classes, Numbers)

    def __init__(self, encoder: Encoder, head: str | Head = "kernel_ridge", **settings: Any) -> None:
        super().__init__(encoder)
        if isinstance(head, str):
            if head not in HEADS:
                raise SettingError(f"head is {head!r}; choose one of {', '.join(HEADS)}")
            head = HEADS[head](**settings)
        self.head = head

    def config(self) -> dict[str, Any]:
        return {"head": self.head.kind, **self.head.config()}

    def check_space(self, space: OutputSpace) -> None:
        super().check_space(space)
        if isinstance(space, Numbers) and self.head.kind in ("prototype", "lda"):
            raise SettingError(
                f"a {self.head.kind} head answers with classes, the targets are numbers; "
                "use ridge, kernel_ridge or bayesian"
            )

    def solve(self, support: Examples, space: OutputSpace) -> dict[str, Tensor]:
        return self.head.solve(support.inputs, support.targets, space.size)

    def respond(self, state: dict[str, Tensor], inputs: Tensor, space: OutputSpace) -> Any:
        outputs = self.head.respond(state, inputs)
        return (
            Gaussian(*outputs)
            if isinstance(self.head, BayesianLinearHead) and isinstance(outputs, tuple)
            else outputs
        )
