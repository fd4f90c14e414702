"""Memory is flat: in the meta-batch for the loop, and over validations. Counted in tensors, not in time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import kshot
from kshot.data import Episodes, Pool
from kshot.errors import SettingError
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


def most_held(learner: Learner, meta_batch: int, **changes: Any) -> int:
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

    settings = Settings(steps=1, meta_batch=meta_batch, executor="loop", **changes)
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


@pytest.fixture
def aside() -> Iterator[None]:
    """What other tests left is not looked at, which takes seconds each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("aside")
@pytest.mark.parametrize("name", LEARNERS)
def test_nothing_piles_up_over_evaluations(name: str) -> None:
    learner, tasks = LEARNERS[name](), source()
    evaluate(learner, tasks, tasks=3)
    before = living()
    for seed in range(8):
        evaluate(learner, tasks, tasks=3, seed=seed)
    assert living() == before


@pytest.mark.usefixtures("aside")
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


# ---- activation checkpointing


def trained(executor: str, checkpointing: bool) -> torch.Tensor:
    torch.manual_seed(0)
    learner = kshot.learners.maml(kshot.encoders.mlp(6, (16,)), outputs=3, steps=4).double()
    run = kshot.fit(
        learner, source(), steps=3, meta_batch=4, rate=0.01, executor=executor, checkpointing=checkpointing, progress=False
    )  # fmt: skip
    return torch.cat([p.detach().flatten() for p in run.learner.parameters()])


@pytest.mark.parametrize("executor", ["loop", "threads"])
def test_steps_computed_again_give_the_same_weights(executor: str) -> None:
    torch.testing.assert_close(trained(executor, True), trained(executor, False), rtol=1e-10, atol=1e-12)


def test_auto_does_not_take_what_keeps_all_activations() -> None:
    learner = kshot.learners.maml(kshot.encoders.mlp(6, (16,)), outputs=3, steps=2)
    run = kshot.fit(learner, source(), steps=1, meta_batch=16, checkpointing=True, progress=False)
    assert not run.executor.startswith("vmap")


def test_steps_computed_again_keep_little() -> None:
    def held(steps: int, checkpointing: bool) -> int:
        learner = kshot.learners.maml(kshot.encoders.mlp(6, (64, 64)), outputs=3, steps=steps)
        return most_held(learner, 2, checkpointing=checkpointing)

    assert held(8, True) < 0.5 * held(8, False)


def test_where_checkpointing_is_refused() -> None:
    with pytest.raises(SettingError, match="takes no inner steps"):
        kshot.fit(LEARNERS["protonet"](), source(), steps=1, checkpointing=True, progress=False)
    with pytest.raises(SettingError, match="which keeps all activations"):
        Settings(checkpointing=True, executor="vmap")
