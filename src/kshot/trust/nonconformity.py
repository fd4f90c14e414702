"""Nonconformity: numbers that say how little an input, or its right answer, fits what a task learned.

Vovk, Gammerman and Shafer (2022), "Algorithmic Learning in a Random World", call such a score a nonconformity measure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.learners import Adapted
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes

Score = Callable[[Adapted, Tensor], np.ndarray]
"""A task and embedded inputs [n, ...] to n numbers: the larger, the stranger."""


def strangeness(task: Adapted, embedded: Tensor) -> np.ndarray:
    """How little embedded inputs [n, ...] look like what the task learned, [n]."""
    if isinstance(task.space, Classes):
        return -np.asarray(task.answer_embedded(embedded).scores, dtype=np.float64)
    own, new = (x.flatten(1).double() for x in (task.embedded, embedded))
    nearest: np.ndarray = torch.cdist(new, own).amin(1).numpy(force=True)
    return nearest


def wrongness(task: Adapted, embedded: Tensor, targets: list[Any]) -> np.ndarray:
    """How badly embedded inputs [n, ...] are answered, [n]: negative log-probability; inf: a class never taught."""
    answer = task.answer_embedded(embedded)
    if isinstance(task.space, Classes):
        column = {label: place for place, label in enumerate(answer.classes)}
        given = [
            answer.probabilities[row, column[label]] if label in column else 0.0
            for row, label in enumerate(targets)
        ]
        return np.array([-math.log(p) if p > 0 else math.inf for p in given])
    losses = [
        float(task.space.loss(task.outputs(embedded[row : row + 1]), task.space.encode([target])))
        for row, target in enumerate(targets)
    ]
    return np.array(losses)


def losses_of(task: Adapted, examples: Examples) -> np.ndarray:
    """Loss of each example, [n]: for classes 1 where it is answered wrong, else 0."""
    embedded = task.embed(task.learner.encoder.read(examples.inputs))
    if not isinstance(task.space, Classes):
        return wrongness(task, embedded, list(examples.targets))
    given = task.answer_embedded(embedded).labels
    return np.array([float(g != y) for g, y in zip(given, examples.targets, strict=True)])
