"""What lies on disk is read and encoded once where many tasks share it, and task by task where few do."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import kshot
from kshot.data import Episodes, Pool
from kshot.evaluation import evaluate
from kshot.learners import ProtoNet, fine_tuning
from kshot.tasks import NWayKShot


class Counting(Sequence[Tensor]):
    """Rows that count how often each is fetched."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.fetched = rows, [0] * len(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[k] for k in range(*place.indices(len(self)))]
        if place >= len(self):
            raise IndexError(place)
        self.fetched[place] += 1
        return self.rows[place]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[k] for k in range(len(self)))


@pytest.fixture
def rows() -> Counting:
    return Counting(torch.rand(60, 4, generator=torch.Generator().manual_seed(0)))


def source(rows: Any) -> Episodes:
    return Episodes(Pool(rows, [k % 6 for k in range(60)]), NWayKShot(3, 1, 4))


def test_many_tasks_fetch_every_example_once(rows: Counting) -> None:
    learner = ProtoNet(kshot.encoders.mlp(4, (8,)))
    found = evaluate(learner, source(rows), tasks=30, timed=0)
    assert max(rows.fetched) <= 2  # the first example is looked at for its size
    assert sum(rows.fetched) <= 61
    assert found.values == pytest.approx(evaluate(learner, source(rows.rows), tasks=30).values)


def test_few_tasks_fetch_what_they_draw(rows: Counting) -> None:
    evaluate(ProtoNet(kshot.encoders.mlp(4, (8,))), source(rows), tasks=2, timed=0)
    assert sum(rows.fetched) == 2 * 3 * 5


def test_learners_that_move_the_network_read_task_by_task(rows: Counting) -> None:
    evaluate(fine_tuning(kshot.encoders.mlp(4, (8,)), outputs=3, steps=1), source(rows), tasks=10, timed=0)
    assert sum(rows.fetched) == 10 * 3 * 5


def test_features_that_do_not_fit_in_memory_are_not_kept(
    rows: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["kshot.evaluation.evaluate"], "_NUMBERS", 60 * 8 - 1)
    evaluate(ProtoNet(kshot.encoders.mlp(4, (8,))), source(rows), tasks=30, timed=0)
    assert sum(rows.fetched) == 30 * 3 * 5 + 1
