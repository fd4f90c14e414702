"""Tasks to numbers: adapt a learner to many tasks it never saw and count."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kshot.data import Episodes, Pool
from kshot.errors import SettingError
from kshot.evaluation.report import Report
from kshot.learners.learner import Learner, evaluating
from kshot.seeds import generator
from kshot.tasks import Examples, InteractiveTask, NWayKShot, Task, TaskSource
from kshot.tasks.spaces import Classes

_CHUNK = 512


def evaluate(
    learner: Learner,
    source: TaskSource,
    *,
    tasks: int = 600,
    seed: int = 0,
    on_task: Callable[[int], None] | None = None,
) -> Report:
    """Adapt `learner` to `tasks` tasks of `source` and judge each on its query.

    The tasks depend on `source` and `seed` alone, so two learners given the same are compared on
    the very same tasks. Where features do not depend on the task, a pool is encoded once.

    Returns:
        A report with a 95 % interval; it says "inductive" or "transductive".
    """
    if tasks < 1:
        raise SettingError(f"tasks is {tasks}; give at least 1")
    draws, fast = _embedded(learner, source)
    rng = generator(seed, "evaluate")
    total = _Total()
    with torch.no_grad(), evaluating(learner):
        for number in range(tasks):
            _judge(learner, draws.sample(rng), fast, rng, total)
            if on_task is not None:
                on_task(number + 1)
    return Report(
        metric=total.metric,
        values=tuple(total.values),
        regime=learner.regime,
        protocol=describe(source),
        figures={name: statistics.fmean(v) for name, v in total.figures.items()},
        per_class={name: statistics.fmean(v) for name, v in sorted(total.per_class.items())},
        adapt_ms=statistics.median(total.times) if total.times else float("nan"),
        seed=seed,
    )


@dataclass
class _Total:
    metric: str = ""
    values: list[float] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    per_class: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    times: list[float] = field(default_factory=list)


def _judge(learner: Learner, task: Task, fast: bool, rng: torch.Generator, total: _Total) -> None:
    if isinstance(task, InteractiveTask):
        _play(learner, task, rng, total)
        return
    start = time.perf_counter()
    ready = _encoded(task) if fast else learner.prepare(task)
    outputs, targets = learner.answer_embedded(ready) if fast else learner.answer(ready)
    total.times.append(1000 * (time.perf_counter() - start))
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


def _play(learner: Learner, task: InteractiveTask, rng: torch.Generator, total: _Total) -> None:
    start = time.perf_counter()
    adapted = learner.adapt(task.collect(None, rng), space=task.space)
    total.times.append(1000 * (time.perf_counter() - start))
    total.metric = "return"
    total.values.append(task.score(adapted.predict, rng))


def _encoded(task: Task) -> Task:
    """An embedded task: only the targets still need encoding."""
    support, query = task.support, task.query
    assert support is not None
    assert query is not None
    encode = task.space.encode
    return Task(
        task.space,
        Examples(support.inputs, encode(support.targets)),
        Examples(query.inputs, encode(query.targets)),
        name=task.name,
    )


def _embedded(learner: Learner, source: TaskSource) -> tuple[TaskSource, bool]:
    """The source over features instead of inputs, where that is the same and cheaper."""
    plain = isinstance(source, Episodes) and source.transform is None and source.pool.in_memory
    if not plain or learner.inner_gradient:
        return source, False
    assert isinstance(source, Episodes)
    labels = [source.pool.classes[int(t)] for t in source.pool.targets]
    features = embed_all(learner, source.pool.inputs)
    return Episodes(Pool(features, labels, source.pool.name), source.sampler), True


def embed_all(learner: Learner, inputs: Any) -> Tensor:
    """Embeddings of many raw inputs, [n, ...], in chunks of bounded memory."""
    with torch.no_grad(), evaluating(learner):
        return torch.cat(
            [learner.embed(learner.prepared(learner.encoder.read(part))) for part in _parts(inputs)]
        )


def _parts(inputs: Any) -> Iterable[Any]:
    for start in range(0, len(inputs), _CHUNK):
        yield inputs[start : start + _CHUNK]


def describe(source: TaskSource) -> str:
    """How a source makes tasks, for people."""
    sampler = getattr(source, "sampler", None)
    name = getattr(getattr(source, "pool", None), "name", "")
    if isinstance(sampler, NWayKShot):
        text = f"{sampler.ways}-way {sampler.shots}-shot, {sampler.queries} queries a class"
        return f"{name} {text}".strip()
    return name or type(sampler or source).__name__
