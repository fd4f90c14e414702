"""Prototypical networks. Snell et al. (2017), "Prototypical Networks for Few-shot Learning"."""

from __future__ import annotations

from typing import Any, ClassVar

from kshot.encoders import Encoder
from kshot.heads import PrototypeHead
from kshot.learners.closed_form import ClosedForm
from kshot.tasks.spaces import Classes, OutputSpace


class ProtoNet(ClosedForm):
    """Each class is the mean c_k of its embedded support (equation 1); p(y = k | x) is the softmax of
    -||f(x) - c_k||^2 (equation 2); trained on the negative log-probability of the queries.

    Args:
        encoder: f. rounds: see `ClosedForm`.

    >>> import torch, kshot
    >>> learner = ProtoNet(kshot.encoders.identity(2))
    >>> learner.adapt(torch.eye(2), [7, 9]).predict(torch.eye(2)).labels
    [7, 9]
    """

    kind: ClassVar[str] = "protonet"
    spaces: ClassVar[tuple[type[OutputSpace], ...]] = (Classes,)

    def __init__(self, encoder: Encoder, *, rounds: bool = False) -> None:
        super().__init__(encoder, PrototypeHead(), rounds=rounds)

    def config(self) -> dict[str, Any]:
        return {"rounds": self.rounds}
