"""Encoding once what many tasks share: pools of raw inputs to pools of embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from kshot.data import Episodes, Mixed, Pool
from kshot.learners.eval_mode import evaluating
from kshot.learners.learner import Learner
from kshot.tasks import Examples, Task, TaskSource
from kshot.tasks.examples import joined, take

_CHUNK = 512
_LAZY_CHUNK = 32  # pictures on disk may be far larger than what a network sees of them


def embed_all(learner: Learner, inputs: Any) -> Any:
    """Embeddings of many raw inputs (`Embedded`), in chunks of bounded memory."""
    with torch.no_grad(), evaluating(learner):
        return joined(
            [learner.embed(learner.prepared(learner.encoder.read(part))) for part in _parts(inputs)]
        )


def _parts(inputs: Any) -> Iterable[Any]:
    step = _CHUNK if isinstance(inputs, Tensor) else _LAZY_CHUNK
    for start in range(0, len(inputs), step):
        yield inputs[start : start + step]


def keeps_features(learner: Learner, source: TaskSource) -> bool:
    """Is the embedding of an example the same in every task, so that it can be computed once?"""
    if isinstance(source, Mixed):
        return all(keeps_features(learner, part) for part in source.sources)
    return isinstance(source, Episodes) and source.transform is None and not learner.inner_gradient


def embedded_source(
    learner: Learner, source: TaskSource, *, examples: int | None = None, generator: torch.Generator
) -> TaskSource:
    """The same tasks over embeddings instead of inputs, for a source that `keeps_features`.

    Args:
        examples: encode at most so many, of classes drawn by `generator`; None: all.
    """
    if isinstance(source, Mixed):
        share = None if examples is None else examples // len(source.sources)
        parts = [embedded_source(learner, p, examples=share, generator=generator) for p in source.sources]
        return Mixed(parts, source.weights)
    assert isinstance(source, Episodes)
    pool = source.pool if examples is None else _thinned(source, examples, generator)
    labels = [pool.classes[int(t)] for t in pool.targets]
    return Episodes(Pool(embed_all(learner, pool.inputs), labels, pool.name), source.sampler)


def _thinned(source: Episodes, examples: int, generator: torch.Generator) -> Pool:
    """Classes drawn from a pool until it holds `examples` examples, as many from each as a task needs, or 20."""
    pool, sampler = source.pool, source.sampler
    each = max(20, getattr(sampler, "shots", 0) + getattr(sampler, "queries", 0))
    least = getattr(sampler, "ways", getattr(sampler, "max_ways", 2))
    count = max(least, examples // each)
    if len(pool) <= max(examples, least * each):
        return pool
    chosen = torch.randperm(len(pool.classes), generator=generator)[:count].tolist()
    rows = [
        int(pool.members[c][p])
        for c in sorted(chosen)
        for p in torch.randperm(pool.sizes[c], generator=generator)[:each].tolist()
    ]
    return Pool(
        take(pool.inputs, rows) if pool.in_memory else [pool.inputs[r] for r in rows],
        [pool.classes[int(pool.targets[r])] for r in rows],
        pool.name,
    )


def encoded(task: Task) -> Task:
    """An embedded task with its targets encoded."""
    support, query, encode = task.support, task.query, task.space.encode
    return replace(
        task,
        support=support and Examples(support.inputs, encode(support.targets)),
        query=query and Examples(query.inputs, encode(query.targets)),
    )
