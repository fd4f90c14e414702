"""Meta-training: draw tasks, take the meta-gradient, step, validate on tasks of unseen classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kshot.errors import SettingError
from kshot.learners.learner import Learner
from kshot.tasks import TaskSource
from kshot.tracking import Tracker
from kshot.training.loop import Training
from kshot.training.memory import keep_freed_memory
from kshot.training.progress import Progress
from kshot.training.run import Run
from kshot.training.settings import Settings


def fit(
    learner: Learner,
    train: TaskSource,
    *,
    validate: TaskSource | None = None,
    folder: str | Path | None = None,
    trackers: list[Tracker] | None = None,
    progress: bool = True,
    settings: Settings | None = None,
    on_validation: Callable[[dict[str, float]], None] | None = None,
    **changes: Any,
) -> Run:
    """Meta-train a copy of `learner` on tasks of `train`.

    It runs where the learner's parameters are and in their number type: `fit(learner.to("cuda"), ...)`
    trains on the GPU. Tasks are drawn on the CPU and moved there.

    Args:
        validate: tasks of other classes; picks the best weights and stops early. The tasks are those of
            `seed`, the same at every validation.
        folder: for log.jsonl, the checkpoint and the result (learner.kshot). A run found there is resumed
            and ends in the same parameters as an uninterrupted one on the same machine.
        trackers: further places for the numbers (see `kshot.tracking`). They are closed at the end.
        progress: show a bar on a terminal, lines elsewhere, on standard error.
        settings, changes: a `Settings`, or its fields by name: `fit(..., steps=5000, rate=1e-3)`.
        on_validation: called with the new entry of the history after each validation.

    Raises:
        SettingError: a setting outside its range.
        CheckpointError: the folder holds another run, or the checkpoint cannot be read or written.
        TrainingDivergedError: the loss became infinite or NaN.
        Stopped: Ctrl-C or SIGTERM; the running step was ended and saved, the same call resumes.

    >>> import torch, kshot
    >>> pool = kshot.data.Pool(torch.rand(40, 4), [i // 4 for i in range(40)])
    >>> source = kshot.data.Episodes(pool, kshot.tasks.NWayKShot(5, 1, 1))
    >>> learner = kshot.learners.ProtoNet(kshot.encoders.mlp(4, (8,)))
    >>> run = kshot.fit(learner, source, steps=2, progress=False)
    >>> run.learner.training
    False
    """
    if settings is not None and changes:
        raise SettingError(
            f"settings came with {sorted(changes)} too; give either settings= or single settings"
        )
    chosen = settings or Settings.of(**changes)
    keep_freed_memory()
    training = Training(learner, train, validate, Path(folder) if folder else None, chosen)
    training.trackers = list(trackers or [])
    training.bar = Progress(chosen, show=progress and training.ranks.leads)
    training.on_validation = on_validation
    return training.run()
