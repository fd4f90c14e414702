"""What all parts of a service stand in: its store, bases, limits, batcher and counters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kshot.learners import Adapted, Learner
from kshot.serving.batcher import Batcher
from kshot.serving.limits import Limits
from kshot.serving.observing import Observed
from kshot.serving.store import Store, Stored
from kshot.serving.tasks import Tasks
from kshot.serving.warming import Warming


class Room:
    """See `kshot.serving.service.Service`."""

    def __init__(self, store: Store, bases: Mapping[str, Learner], limits: Limits | None = None) -> None:
        self.store, self.bases = store, dict(bases)
        self.limits, self.observed = limits or Limits(), Observed()
        self.batcher = Batcher(self.limits.queue, self.observed)
        self.tasks = Tasks(store, self.bases, self.batcher.embed, self.observed)
        self.fingerprints = self.tasks.fingerprints
        self.warming = Warming(store.database)

    def close(self) -> None:
        """Finish what is queued and close the store."""
        self.warming.close()
        self.batcher.close()
        self.tasks.close()
        self.store.close()

    def _golden(self, tenant: str, stored: Stored) -> list[tuple[int, Any, Any]]:
        """Number, label and input of a version's golden examples."""
        wanted = set(stored.version.golden)
        blocks = self.store.blocks(tenant, stored.version.model) if wanted else []
        return [
            (number, label, item)
            for block in blocks
            for number, label, item in zip(block.numbers, block.labels, block.inputs, strict=True)
            if number in wanted
        ]

    def guarded(self, tenant: str, stored: Stored, task: Adapted) -> Adapted:
        """The task with the version's golden examples, where it has any; not those of a class that is no more."""
        known = getattr(task.space, "labels", ())
        held = [one for one in self._golden(tenant, stored) if isinstance(one[1], list) or one[1] in known]
        if not held:
            return task
        numbers, labels, items = zip(*held, strict=True)
        return task.with_golden(list(items), list(labels), ids=[f"e{n}" for n in numbers])


def classes_of(task: Adapted) -> list[Any]:
    """Labels of a task's classes; empty where it answers with something else."""
    return list(getattr(task.space, "labels", ()))
