"""Many tasks of many sizes, adapted to and answered: what calibration counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kshot.data import Episodes, Mixed
from kshot.errors import SettingError
from kshot.learners.embedding import embedded_source, encoded, keeps_features
from kshot.learners.eval_mode import evaluating
from kshot.learners.learner import Learner
from kshot.learners.self_knowledge import Gauge
from kshot.tasks import Examples, InteractiveTask, NWayKShot, Task, TaskSource
from kshot.tasks.examples import take
from kshot.tasks.spaces import Classes
from kshot.tasks.task import sample_batch

WAYS, SHOTS = (2, 5, 10, 20, 50, 100), (1, 2, 5, 10, 20)
"""Sizes of tasks that a base learns about, as far as the data can make them."""

_EXAMPLES, _READ = 20_000, 4_000
"""Examples encoded at most: those in memory, and those that are each read from a file."""

_SUPPORT, _QUERIES = 500, 150
"""Examples and queries of a task at most, where the size of tasks is chosen here."""


@dataclass(frozen=True)
class Answered:
    """One task that was adapted to and answered.

    Attributes:
        ways, shots: its size.
        outputs: scores [queries, classes] in float64. targets: true classes [queries].
        gauge: the task's measure of scores; None where there were no examples to adapt to.
    """

    ways: int
    shots: float
    outputs: Tensor
    targets: Tensor
    gauge: Gauge | None

    @property
    def measured(self) -> Tensor:
        """Scores in units of the task's span."""
        return self.outputs / (self.gauge.span if self.gauge else 1.0)


def answer(learner: Learner, task: Task, *, embedded: bool = False) -> Answered:
    """Adapt to a task's support and answer its query.

    Args:
        task: prepared, or `embedded` with targets encoded.
    """
    support, query, ways = task.support, task.query, task.space.size
    if support is None or query is None or not len(support):
        outputs, targets = learner.answer(task)
        return Answered(ways, 0.0, outputs.double(), targets, None)
    if not embedded:
        support = Examples(learner.embed(support.inputs), support.targets)
        query = Examples(learner.embed(query.inputs), query.targets)
    state = learner.solve(support, task.space)
    own = learner.respond(state, support.inputs, task.space)
    outputs = learner.respond(state, query.inputs, task.space).double()
    gauge = Gauge.of(own, support.targets, learner.respond_left_out(state, support, task.space))
    return Answered(ways, len(support) / ways, outputs, query.targets, gauge)


def answer_many(
    learner: Learner,
    source: TaskSource,
    tasks: int,
    generator: torch.Generator,
    *,
    ways: Sequence[int] | None = None,
    shots: Sequence[int] | None = None,
) -> tuple[list[Answered], Tensor]:
    """`tasks` tasks of each size, answered where answers are classes, and profiles [n, statistics] of inputs.

    Where an example's features are the same in every task they are computed once, and by default all of
    `WAYS` and `SHOTS` that the data can make are tried; else the source's own sizes.
    """
    found: list[Answered] = []
    with torch.no_grad(), evaluating(learner):
        keeps = keeps_features(learner, source)
        profiles = [_profile(learner, source, generator)] if keeps else []
        if keeps:
            source = embedded_source(learner, source, examples=_most(source), generator=generator)
        for part in sizes(source, ways, shots) if keeps or ways or shots else [source]:
            for drawn in _drawn(part, tasks, generator, batch=keeps):
                if isinstance(drawn, InteractiveTask):
                    continue  # nothing is known of it before one acts
                task = encoded(drawn) if keeps else learner.prepare(drawn)
                shown = task.support if task.support is not None and len(task.support) else task.query
                if not keeps and shown is not None:
                    profiles.append(learner.encoder.profile(shown.inputs))
                if isinstance(task.space, Classes):
                    found.append(answer(learner, task, embedded=keeps))
    return found, torch.cat(profiles) if profiles else torch.zeros(0, 0)


def _drawn(source: TaskSource, tasks: int, generator: torch.Generator, batch: bool) -> Iterable[Task]:
    """Tasks one by one, or where they are light all at once, which is faster."""
    return (
        sample_batch(source, tasks, generator) if batch else (source.sample(generator) for _ in range(tasks))
    )


def _most(source: TaskSource) -> int:
    parts = source.sources if isinstance(source, Mixed) else [source]
    return _EXAMPLES if all(isinstance(p, Episodes) and p.pool.in_memory for p in parts) else _READ


def _profile(learner: Learner, source: TaskSource, generator: torch.Generator) -> Tensor:
    """Profiles of a thousand examples of each pool, of two hundred where each is read from a file."""
    if isinstance(source, Mixed):
        return torch.cat([_profile(learner, part, generator) for part in source.sources])
    assert isinstance(source, Episodes)
    pool = source.pool
    rows = torch.randperm(len(pool), generator=generator)[: 1000 if pool.in_memory else 200].tolist()
    return learner.encoder.profile(learner.prepared(learner.encoder.read(take(pool.inputs, rows))))


def sizes(
    source: TaskSource, ways: Sequence[int] | None = None, shots: Sequence[int] | None = None
) -> Iterator[TaskSource]:
    """The source with every size of task that is asked for, or by default that its data can make.

    Raises:
        SettingError: sizes are asked for and the source has no `using(ways=, shots=, queries=)`.
        TaskError: the data cannot make such tasks.
    """
    limits = _limits(source)
    if ways is None and shots is None and limits is None:
        yield source
        return
    most_ways, most = limits or (math.inf, math.inf)
    for w in [w for w in WAYS if w <= most_ways] if ways is None else ways:
        for k in [k for k in SHOTS if k < most and w * k <= _SUPPORT] if shots is None else shots:
            yield _using(source, w, k, int(max(1, min(15, most - k, _QUERIES // w))))


def _limits(source: TaskSource) -> tuple[int, int] | None:
    """Classes, and examples of the smallest class; None where tasks are not n-way k-shot from a pool."""
    if isinstance(source, Mixed):
        each = [_limits(part) for part in source.sources]
        known = [limit for limit in each if limit is not None]
        return (min(w for w, _ in known), min(n for _, n in known)) if len(known) == len(each) else None
    if isinstance(source, Episodes) and isinstance(source.sampler, NWayKShot):
        return len(source.pool.classes), min(source.pool.sizes)
    return None


def _using(source: TaskSource, ways: int, shots: int, queries: int) -> TaskSource:
    if isinstance(source, Mixed):
        return Mixed([_using(part, ways, shots, queries) for part in source.sources], source.weights)
    using = getattr(source, "using", None)
    if using is None:
        raise SettingError(
            f"ways and shots were given, but {type(source).__name__} makes tasks of its own sizes; leave them out, "
            "or give kshot.data.Episodes"
        )
    changed: TaskSource = using(ways=ways, shots=shots, queries=queries)
    return changed
