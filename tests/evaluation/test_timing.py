"""One definition of the time to adapt: encoding counts, answering does not, wherever it is reported."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
import torch
from torch import Tensor

import kshot
from kshot.data import Episodes, Flat, Pool
from kshot.encoders import Identity
from kshot.errors import SettingError
from kshot.evaluation import cross_domain, evaluate, time_to_adapt
from kshot.learners import Learner, ProtoNet, Transfer
from kshot.tasks import NWayKShot

PAUSE = 0.02


class SlowEyes(Identity):
    """Every call of the encoder takes 20 ms."""

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(PAUSE)
        return super().forward(x)


class SlowTongue(ProtoNet):
    """Every answer takes 20 ms."""

    def respond(self, state: Any, inputs: Tensor, space: Any) -> Tensor:
        time.sleep(PAUSE)
        return super().respond(state, inputs, space)


def episodes(inputs: Any = None) -> Episodes:
    rows = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    return Episodes(
        Pool(rows if inputs is None else inputs(rows), [i // 8 for i in range(40)]), NWayKShot(2, 1, 2)
    )


@pytest.mark.parametrize("inputs", [None, list], ids=["encoded once", "encoded task by task"])
def test_encoding_counts_and_answering_does_not(inputs: Any) -> None:
    source = episodes(inputs)
    eyes = evaluate(ProtoNet(SlowEyes(3)), source, tasks=3).adapt_ms
    tongue = evaluate(SlowTongue(Identity(3)), source, tasks=3).adapt_ms
    assert eyes >= 1000 * PAUSE > tongue > 0


def test_every_table_says_the_same_time() -> None:
    slow, source = ProtoNet(SlowEyes(3)), episodes()
    row = cross_domain({"slow": slow}, {"rows": source}, tasks=2).rows[0]
    for found in (row.report.adapt_ms, time_to_adapt(slow, source)):
        assert 1000 * PAUSE <= found < 3000 * PAUSE


def test_timed_tasks_change_no_figure() -> None:
    learner, source = ProtoNet(Identity(3)), episodes()
    one, other = evaluate(learner, source, tasks=6, timed=0), evaluate(learner, source, tasks=6, timed=2)
    assert one.values == other.values
    assert math.isnan(one.adapt_ms)
    assert json.loads(json.dumps(one.to_json(), allow_nan=False))["adapt_ms"] is None


def test_a_validation_in_training_costs_no_further_adapting() -> None:
    asked = []

    class Counted(ProtoNet):
        def adapt(self, *args: Any, **more: Any) -> Any:
            asked.append(1)
            return super().adapt(*args, **more)

    learner: Learner = Counted(kshot.encoders.mlp(3, (4,)))
    kshot.fit(
        learner,
        episodes(),
        validate=episodes(),
        steps=2,
        validate_every=1,
        validation_tasks=2,
        progress=False,
    )
    assert not asked


def test_what_cannot_be_adapted_to_has_no_time() -> None:
    flat = Flat(episodes().pool, batch=8)
    report = evaluate(Transfer(Identity(3), classes=5), flat, tasks=2)
    assert math.isnan(report.adapt_ms)
    assert 0 <= report.mean <= 1


def test_a_median_needs_a_task() -> None:
    with pytest.raises(SettingError, match="tasks is 0"):
        time_to_adapt(ProtoNet(Identity(3)), episodes(), tasks=0)
