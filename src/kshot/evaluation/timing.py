"""How long a task takes to learn. One definition, for every figure that is called "ms to adapt"."""

from __future__ import annotations

import statistics
import time

from kshot.errors import DataError, SettingError
from kshot.learners.learner import Learner
from kshot.seeds import generator
from kshot.tasks import TaskSource


def time_to_adapt(learner: Learner, source: TaskSource, *, tasks: int = 5, seed: int = 0) -> float:
    """Median milliseconds from a task's raw examples to a task that answers: reading, encoding and adapting.

    What `learner.adapt(support)` takes, one task after the other, on the device where the learner is. Drawing
    the task and answering its query do not count, nor does the first task: it warms the machine up.

    Returns:
        Milliseconds; NaN where a support cannot be adapted to by itself (it is empty, or lacks a class).

    >>> import torch, kshot
    >>> pool = kshot.data.Pool(torch.rand(12, 3), [i // 3 for i in range(12)])
    >>> source = kshot.data.Episodes(pool, kshot.tasks.NWayKShot(2, 1, 1))
    >>> time_to_adapt(kshot.learners.ProtoNet(kshot.encoders.identity(3)), source) > 0
    True
    """
    if tasks < 1:
        raise SettingError(f"tasks is {tasks}; give at least 1")
    rng, times = generator(seed, "evaluate"), []
    for _ in range(tasks + 1):
        task = source.sample(rng)
        support = task.collect(None, rng)
        start = time.perf_counter()
        try:
            learner.adapt(support, space=task.space)
        except DataError:
            return float("nan")
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])
