"""What answers questions to a version, and does nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from kshot.heads.grouped_rows import GroupedRows
from kshot.learners import Learner
from kshot.serving.sheets import Kept
from kshot.tasks.spaces import OutputSpace


class Answerer:
    """A version out of its sheet, for predicting: without examples, so less is put together than for an `Adapted`. Who
    explains, adds or checks reads that one.

    Args:
        features: of the examples, float32 [n, ...], or in groups.
        settings: for `space.decode`.
    """

    __slots__ = ("_settings", "_state", "learner", "space", "weight")

    def __init__(
        self,
        learner: Learner,
        space: OutputSpace,
        kept: Kept,
        features: np.ndarray | GroupedRows,
        settings: dict[str, Any],
    ) -> None:
        self.learner, self.space = learner, space
        # what is kept of a state is an eighth of the features at most, or very small
        self.weight = features.nbytes * 9 // 8
        self._state = learner.grown(kept.solved, features)
        self._settings = settings

    def answer_embedded(self, embedded: Any) -> Any:
        """As `Adapted.answer_embedded`, within rounding."""
        with torch.no_grad():
            outputs = self.learner.respond(self._state, embedded, self.space)
        return self.space.decode(outputs, **self._settings)
