"""Which classes are taken for which, counted over many tasks."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kshot.errors import DataError
from kshot.evaluation.evaluate import _embedded
from kshot.learners.embedding import encoded
from kshot.learners.eval_mode import evaluating
from kshot.learners.learner import Learner
from kshot.seeds import generator
from kshot.tasks import TaskSource
from kshot.tasks.spaces import Classes


@dataclass(frozen=True)
class Confusion:
    """`counts[i][j]`: how often an input of class `labels[i]` was answered with `labels[j]`."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def confusion(learner: Learner, source: TaskSource, *, tasks: int = 50, seed: int = 0) -> Confusion:
    """Count right and wrong answers per class over `tasks` tasks whose classes have names.

    Raises:
        DataError: the tasks do not answer with classes.
    """
    counts: dict[tuple[str, str], int] = {}
    seen: set[str] = set()
    rng = generator(seed, "evaluate")
    draws, fast = _embedded(learner, source, tasks)
    with torch.no_grad(), evaluating(learner):
        for _ in range(tasks):
            task = draws.sample(rng)
            if not isinstance(task.space, Classes):
                raise DataError(f"the tasks answer with {task.space.kind}; a confusion matrix needs classes")
            outputs, targets = (
                learner.answer_embedded(encoded(task)) if fast else learner.answer(learner.prepare(task))
            )
            names = [str(label) for label in task.space.labels]
            seen.update(names)
            for true, given in zip(targets.tolist(), outputs.argmax(-1).tolist(), strict=True):
                counts[names[true], names[given]] = counts.get((names[true], names[given]), 0) + 1
    labels = tuple(sorted(seen))
    return Confusion(labels, tuple(tuple(counts.get((t, g), 0) for g in labels) for t in labels))
