"""Tasks to numbers: adapt a learner to many tasks it never saw and count."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kshot.data import Episodes, Pool
from kshot.errors import SettingError
from kshot.evaluation.reliability import Reliability, prediction
from kshot.evaluation.report import Report
from kshot.evaluation.timing import time_to_adapt
from kshot.learners.embedding import embed_all, encoded, keeps_features
from kshot.learners.eval_mode import evaluating
from kshot.learners.learner import Learner
from kshot.seeds import generator
from kshot.tasks import InteractiveTask, NWayKShot, Task, TaskSource, sample_batch
from kshot.tasks.spaces import Classes
from kshot.trust.answered import answer

_NUMBERS = 2**28
"""Numbers of features that are kept of pictures that lie on disk: a gibibyte."""


def evaluate(
    learner: Learner,
    source: TaskSource,
    *,
    tasks: int = 600,
    seed: int = 0,
    timed: int = 5,
    on_task: Callable[[int], None] | None = None,
) -> Report:
    """Adapt `learner` to `tasks` tasks of `source` and judge each on its query.

    The tasks depend on `source` and `seed` alone, so two learners given the same are compared on
    the very same tasks. Where features do not depend on the task, a pool is encoded once.

    Args:
        timed: tasks that are taught once more, one by one from their raw examples, to time it (see
            `kshot.evaluation.time_to_adapt`); 0: the report says no time.
        on_task: called with the number of tasks judged, after each; interactive tasks are played all at once.

    Returns:
        A report with a 95 % interval; it says "inductive" or "transductive".
    """
    if tasks < 1:
        raise SettingError(f"tasks is {tasks}; give at least 1")
    draws, fast = _embedded(learner, source, tasks)
    rng = generator(seed, "evaluate")
    total = _Total()
    with torch.no_grad(), evaluating(learner):
        judged = 0
        while judged < tasks:
            task = draws.sample(rng)
            if isinstance(task, InteractiveTask):
                _play(learner, [task, *sample_batch(draws, tasks - 1, rng)], rng, total)
                judged = tasks
            else:
                _judge(learner, task, fast, total)
                judged += 1
            if on_task is not None:
                on_task(judged)
    return Report(
        metric=total.metric,
        values=tuple(total.values),
        regime=learner.regime,
        protocol=describe(source),
        figures={name: statistics.fmean(v) for name, v in total.figures.items()},
        per_class={name: statistics.fmean(v) for name, v in sorted(total.per_class.items())},
        reliability=total.reliability.figures,
        adapt_ms=time_to_adapt(learner, source, tasks=timed, seed=seed) if timed else float("nan"),
        seed=seed,
    )


@dataclass
class _Total:
    metric: str = ""
    values: list[float] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    per_class: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    reliability: Reliability = field(default_factory=Reliability)


def _judge(learner: Learner, task: Task, fast: bool, total: _Total) -> None:
    ready = encoded(task) if fast else learner.prepare(task)
    if isinstance(task.space, Classes) and len(learner.self_knowledge):
        found = answer(learner, ready, embedded=fast)
        outputs, targets = found.outputs, found.targets
        total.reliability.count(prediction(learner, task.space, found), targets)
    else:
        outputs, targets = learner.answer_embedded(ready) if fast else learner.answer(ready)
    metrics = task.space.metrics(outputs, targets)
    total.metric = task.space.metric
    total.values.append(metrics.pop(task.space.metric))
    for name, value in metrics.items():
        total.figures[name].append(value)
    if isinstance(task.space, Classes):
        _count_classes(task.space, outputs, targets, total)


def _count_classes(space: Classes, outputs: Tensor, targets: Tensor, total: _Total) -> None:
    hits = (outputs.argmax(-1) == targets).float()
    for index, label in enumerate(space.labels):
        own = targets == index
        if bool(own.any()):
            total.per_class[str(label)].append(float(hits[own].mean()))


def _play(learner: Learner, tasks: list[Task], rng: torch.Generator, total: _Total) -> None:
    """Interactive tasks are played all at once, for a learner that can."""
    played = [task for task in tasks if isinstance(task, InteractiveTask)]
    total.metric = "return"
    total.values.extend(learner.play_many(played, rng))


def _embedded(learner: Learner, source: TaskSource, tasks: int) -> tuple[TaskSource, bool]:
    """The source over features instead of inputs, where that is the same and cheaper for so many tasks."""
    if not isinstance(source, Episodes) or not keeps_features(learner, source):
        return source, False
    if not source.pool.in_memory and not _pays(learner, source, tasks):
        return source, False
    labels = [source.pool.classes[int(t)] for t in source.pool.targets]
    features = embed_all(learner, source.pool.inputs)
    return Episodes(Pool(features, labels, source.pool.name), source.sampler), True


def _pays(learner: Learner, source: Episodes, tasks: int) -> bool:
    """Do so many tasks draw more examples than the pool holds, and do the features of all fit in memory?"""
    sampler, pool = source.sampler, source.pool
    drawn = tasks * sampler.ways * (sampler.shots + sampler.queries) if isinstance(sampler, NWayKShot) else 0
    return drawn >= len(pool) and embed_all(learner, pool.inputs[:1]).numel() * len(pool) <= _NUMBERS


def describe(source: TaskSource) -> str:
    """How a source makes tasks, for people."""
    sampler = getattr(source, "sampler", None)
    name = getattr(getattr(source, "pool", None), "name", "")
    if isinstance(sampler, NWayKShot):
        text = f"{sampler.ways}-way {sampler.shots}-shot, {sampler.queries} queries a class"
        return f"{name} {text}".strip()
    return name or type(sampler or source).__name__
