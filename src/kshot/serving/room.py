"""What all parts of a service stand in: its store, bases, limits, batcher and counters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kshot.learners import Adapted, Learner
from kshot.serving.batcher import Batcher
from kshot.serving.limits import Limits
from kshot.serving.observing import Observed
from kshot.serving.store import Store
from kshot.serving.tasks import Tasks


class Room:
    """See `kshot.serving.service.Service`."""

    def __init__(self, store: Store, bases: Mapping[str, Learner], limits: Limits | None = None) -> None:
        self.store, self.bases = store, dict(bases)
        self.limits, self.observed = limits or Limits(), Observed()
        self.batcher = Batcher(self.limits.queue, self.observed)
        self.tasks = Tasks(store, self.bases, self.batcher.embed, self.observed)
        self.fingerprints = self.tasks.fingerprints

    def close(self) -> None:
        """Finish what is queued and close the store."""
        self.batcher.close()
        self.store.close()


def classes_of(task: Adapted) -> list[Any]:
    """Labels of a task's classes; empty where it answers with something else."""
    return list(getattr(task.space, "labels", ()))
