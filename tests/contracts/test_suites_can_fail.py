"""Each conformance check is shown a part with exactly the fault it looks for, and must name it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from kshot import bundles, encoders, storage
from kshot.learners import ClosedForm, GradientLearner, ProtoNet
from kshot.learners.learner import Learner
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Classes, Numbers
from kshot.testing import (
    LEARNER_CHECKS,
    Blobs,
    check_encoder,
    check_learner,
    check_space,
    check_store,
    check_task_source,
)


def rows() -> encoders.Encoder:
    return encoders.mlp(4, (8,), activation="tanh")


class Mutates(ProtoNet):
    def solve(self, support: Examples, space: Any) -> Any:
        self.head.log_scale.data += 0.1
        return super().solve(support, space)


class DrawsGlobally(ProtoNet):
    def solve(self, support: Examples, space: Any) -> Any:
        torch.rand(1)
        return super().solve(support, space)


class SharesScratch(ProtoNet):
    """Keeps the support on itself between two steps, so that threads meet."""

    def solve(self, support: Examples, space: Any) -> Any:
        object.__setattr__(self, "scratch", support)
        time.sleep(0.002)
        return super().solve(self.scratch, space)


class CountsPlaces(ProtoNet):
    """Weighs examples by their place in the support: the order of adding matters."""

    def solve(self, support: Examples, space: Any) -> Any:
        weight = torch.linspace(0.5, 1.5, len(support)).to(support.inputs).unsqueeze(1)
        return super().solve(Examples(support.inputs * weight, support.targets), space)


class SeesCompany(ProtoNet):
    """Centres queries on their own mean, and still says inductive."""

    def respond(self, state: Any, inputs: Tensor, space: Any) -> Any:
        return super().respond(state, inputs - inputs.mean(0), space)


class Leaks(ProtoNet):
    def answer(self, task: Task) -> tuple[Any, Any]:
        assert task.query is not None
        hint = torch.nn.functional.one_hot(task.query.targets, task.space.size)
        outputs, targets = super().answer(task)
        return outputs + 5 * hint, targets


class ThreeWaysOnly(ProtoNet):
    def solve(self, support: Examples, space: Any) -> Any:
        return super().solve(support, Classes((0, 1, 2)))


class Climbs(ProtoNet):
    def loss(self, task: Task) -> Tensor:
        value = super().loss(task)
        return 2 * value.detach() - value


class WrongGradient(GradientLearner):
    """First order, said to be exact."""

    def solve(self, support: Examples, space: Any) -> Any:
        self.order = 1
        state = super().solve(support, space)
        self.order = 2
        return state


class ForgetsConfig(ClosedForm):
    def config(self) -> dict[str, Any]:
        return {"head": "ridge"}


class Unregistered(ProtoNet):
    kind: ClassVar[str] = "nobody knows me"


@bundles.register_learner
class Narrows(ProtoNet):
    """Comes back in float32, whatever it was saved in."""

    kind: ClassVar[str] = "narrows"

    def load_state_dict(self, state: Any, *rest: Any, **more: Any) -> Any:
        self.float()
        return super().load_state_dict(state, *rest, **more)


class Indulgent(ProtoNet):
    def adapt(self, inputs: Any, targets: Any = None, **more: Any) -> Any:
        if targets is not None and len(set(map(str, list(targets)))) == 1:
            raise RuntimeError("something went wrong")
        return super().adapt(inputs, targets, **more)


FAULTS: list[tuple[Callable[[], Learner], str, str]] = [
    (lambda: Mutates(rows()), "check_learner_unchanged", "changed a weight"),
    (lambda: DrawsGlobally(rows()), "check_learner_unchanged", "global random state"),
    (lambda: SharesScratch(rows()), "check_threads", "two threads gave other bytes"),
    (lambda: CountsPlaces(rows()), "check_add", "does not equal adapting"),
    (lambda: SeesCompany(rows()), "check_queries_apart", "depend on the other queries"),
    (lambda: Leaks(rows()), "check_no_leak", "labels leak"),
    (lambda: ThreeWaysOnly(rows()), "check_other_way_and_shot", "one column per class"),
    (lambda: Climbs(rows()), "check_learns", "it must fall"),
    (lambda: WrongGradient(rows(), outputs=3), "check_exact_gradient", "finite differences say"),
    (lambda: ForgetsConfig(rows(), "kernel_ridge"), "check_config", "differs in"),
    (lambda: Unregistered(rows()), "check_saving", "register"),
    (lambda: Narrows(rows()), "check_saving", "fingerprint"),
    (lambda: Indulgent(rows()), "check_refusals", "RuntimeError was raised where a UserError"),
]


@pytest.mark.parametrize(("make", "name", "sentence"), FAULTS, ids=[f"{n}-{s}" for _, n, s in FAULTS])
def test_faulty_learner(make: Callable[[], Learner], name: str, sentence: str) -> None:
    check = next(check for check in LEARNER_CHECKS if check.__name__ == name)
    with pytest.raises(AssertionError, match=sentence):
        check(make(), Blobs())


def test_the_whole_suite_fails_on_a_fault() -> None:
    with pytest.raises(AssertionError, match="one column per class"):
        check_learner(ThreeWaysOnly(rows()), Blobs())


class Ignores(Blobs):
    """Does not listen to the generator."""

    def sample(self, generator: torch.Generator) -> Task:
        return super().sample(torch.Generator().manual_seed(0))


class Global(Blobs):
    def sample(self, generator: torch.Generator) -> Task:
        task = super().sample(generator)
        torch.rand(1)
        return task


class Unseeded(Blobs):
    def sample(self, generator: torch.Generator) -> Task:
        return super().sample(torch.Generator().manual_seed(time.perf_counter_ns() % 2**31))


class Overlaps(Blobs):
    def sample(self, generator: torch.Generator) -> Task:
        task = super().sample(generator)
        return Task(task.space, task.support, task.support)


class AsksStrangers(Blobs):
    def sample(self, generator: torch.Generator) -> Task:
        task = super().sample(generator)
        assert task.support is not None
        return Task(task.space, task.support.take([0, 1]), task.query)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (Ignores(), "one and the same task"),
        (Global(), "global random state"),
        (Unseeded(), "the same generator state must give the same task"),
        (Overlaps(), "in the support and in the query"),
        (AsksStrangers(), "without a support example"),
    ],
)
def test_faulty_source(source: Blobs, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_task_source(source)


class Sociable(encoders.Identity):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class InPlace(encoders.Identity):
    def prepare(self, inputs: Any) -> Tensor:
        out: Tensor = inputs.mul_(1.5)
        return out


class SameForAll(encoders.MLP):
    def fingerprint(self) -> str:
        return "0"


@pytest.mark.parametrize(
    ("encoder", "sentence"),
    [
        (Sociable(3), "company in the batch"),
        (InPlace(3), "in place|other features"),
        (SameForAll(3, (4,)), "leaves the fingerprint"),
    ],
)
def test_faulty_encoder(encoder: encoders.Encoder, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_encoder(encoder, torch.rand(4, 3, generator=torch.Generator().manual_seed(0)))


class NoLoss(Numbers):
    def loss(self, outputs: Any, targets: Any) -> Tensor:
        return torch.ones(()).requires_grad_()


class OtherMetric(Numbers):
    metric: ClassVar[str] = "beauty"


@pytest.mark.parametrize(
    ("space", "sentence"), [(NoLoss(1), "makes another space"), (OtherMetric(1), "makes another space")]
)
def test_space_that_does_not_come_back(space: Numbers, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_space(space, [0.0, 1.0], torch.zeros(2, 1))


def test_space_that_takes_everything() -> None:
    with pytest.raises(AssertionError, match="nothing was raised"):
        check_space(Numbers(1), [0.0, 1.0], torch.zeros(2, 1), wrong=[[0.5]])


def test_store_without_checksum(tmp_path: Path) -> None:
    from safetensors.torch import load, save

    def write(path: Path, manifest: Any, tensors: Any) -> None:
        import json

        clean = {name: t.contiguous() for name, t in tensors.items()}
        path.write_bytes(save(clean, {"manifest": json.dumps(manifest)}))

    def read(path: Path) -> Any:
        import json

        blob = path.read_bytes()
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
        return json.loads(header["__metadata__"]["manifest"]), load(blob)

    with pytest.raises(AssertionError, match="flipped"):
        check_store(tmp_path, write, read)
    assert storage.FORMAT >= 1
