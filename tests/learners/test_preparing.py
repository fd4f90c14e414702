"""Tasks prepared for a network, many at once or one by one: the same tensors."""

from __future__ import annotations

import torch

import kshot
from kshot.data import Sinusoids
from kshot.learners import maml
from kshot.seeds import generator


def test_preparing_many_equals_preparing_each() -> None:
    learner = maml(kshot.encoders.mlp(1, (8,)), outputs=1)
    tasks = Sinusoids().sample_batch(7, generator(0))
    together, alone = learner.prepare_many(tasks), [learner.prepare(t) for t in tasks]
    for one, other in zip(together, alone, strict=True):
        assert one.space == other.space
        for a, b in ((one.support, other.support), (one.query, other.query)):
            assert torch.equal(a.inputs, b.inputs)
            assert torch.equal(a.targets, b.targets)


def test_ragged_tasks_are_prepared_one_by_one() -> None:
    learner = maml(kshot.encoders.mlp(1, (8,)), outputs=1)
    tasks = [Sinusoids(shots=k).sample(generator(0)) for k in (2, 3)]
    assert [len(t.support) for t in learner.prepare_many(tasks)] == [2, 3]
