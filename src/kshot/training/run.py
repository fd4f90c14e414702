"""How a meta-training ends: finished, stopped, or diverged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kshot.errors import KshotError
from kshot.evaluation import Report
from kshot.learners.learner import Learner


@dataclass(frozen=True)
class Run:
    """A finished meta-training.

    Attributes:
        learner: the best learner by validation (the last one without validation), in eval mode.
        history: one entry per validation: step, loss, validation figures, seconds, cpu_seconds.
        best: the report of the best validation; None without validation.
        folder: where log and checkpoint lie; None when nothing was kept.
        executor: what ran the tasks of a meta-update; naming it in another run gives the same bits.
    """

    learner: Learner
    history: list[dict[str, float]]
    best: Report | None = None
    folder: Path | None = None
    executor: str = ""


class TrainingDivergedError(KshotError):
    """The loss or a weight is no longer a finite number. The last checkpoint is as it was."""


class Stopped(KshotError, SystemExit):
    """Training was interrupted; the message says where, and how to go on.

    A script that does not catch it ends with the message and exit status 1, without a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message
