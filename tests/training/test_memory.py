"""Memory is flat: in the meta-batch for the loop, and over validations. Counted in tensors, not in time."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch

import kshot
from kshot.data import Episodes, Pool
from kshot.evaluation import evaluate
from kshot.learners import Learner
from kshot.tasks import NWayKShot
from kshot.training import Settings
from kshot.training.loop import Training


def source() -> Episodes:
    rows = torch.rand(60, 6, generator=torch.Generator().manual_seed(0))
    return Episodes(Pool(rows, [i // 6 for i in range(60)]), NWayKShot(3, 1, 3))


LEARNERS: dict[str, Any] = {
    "protonet": lambda: kshot.learners.ProtoNet(kshot.encoders.mlp(6, (16,))),
    "maml": lambda: kshot.learners.maml(kshot.encoders.mlp(6, (16,)), outputs=3, steps=3),
}


class Held:
    """A tensor kept for the backward pass."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def most_held(learner: Learner, meta_batch: int) -> int:
    """The largest number of bytes that were kept for a backward pass at one time, during one update."""
    now = most = 0

    def gone(size: int) -> None:
        nonlocal now
        now -= size

    def keep(tensor: torch.Tensor) -> Held:
        nonlocal now, most
        held, size = Held(tensor), tensor.numel() * tensor.element_size()
        weakref.finalize(held, gone, size)
        now += size
        most = max(most, now)
        return held

    settings = Settings(steps=1, meta_batch=meta_batch, executor="loop")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held.tensor):
        Training(learner, source(), None, None, settings).run()
    return most


def test_the_loop_keeps_one_task_at_a_time() -> None:
    learner = LEARNERS["protonet"]()
    one, many = most_held(learner, 1), most_held(learner, 16)
    assert one > 0
    assert many == one


def living() -> int:
    """Bytes of all tensors there are."""
    gc.collect()
    tensors = [o for o in gc.get_objects() if type(o) in (torch.Tensor, torch.nn.Parameter)]
    return sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize("name", LEARNERS)
def test_nothing_piles_up_over_evaluations(name: str) -> None:
    learner, tasks = LEARNERS[name](), source()
    evaluate(learner, tasks, tasks=3)
    before = living()
    for seed in range(8):
        evaluate(learner, tasks, tasks=3, seed=seed)
    assert living() == before


@pytest.mark.parametrize("name", LEARNERS)
def test_nothing_piles_up_over_steps_and_validations(name: str) -> None:
    seen: list[int] = []

    def look(_: dict[str, float]) -> None:
        seen.append(living())

    kshot.fit(
        LEARNERS[name](), source(), validate=source(), steps=12, validate_every=2, validation_tasks=3, progress=False,
        on_validation=look,
    )  # fmt: skip
    assert len(seen) == 6
    assert max(seen[1:]) == min(seen[1:])
