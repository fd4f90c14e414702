"""Executors give one meta-gradient; the fastest is chosen by measuring, kept, and may be forced."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kshot import encoders
from kshot.engine import EXECUTORS, FallbackWarning, accumulate, calibration, choose
from kshot.errors import SettingError
from kshot.learners import GradientLearner, Learner, ProtoNet
from kshot.tasks import Examples, Task
from kshot.testing import Blobs, check_meta_gradient
from kshot.testing.gradients import tree_loss, trees

IMAGES = Blobs(shape=(1, 8, 8))
NAMED = [name for name in EXECUTORS if name != "auto"]


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """On a busy machine even small convolutions wait long for a second thread, so only what needs two has two."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def two_threads() -> Iterator[None]:
    with torch_threads(2):
        yield


def conv(norm: str = "batch") -> GradientLearner:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = encoders.conv4(4, norm=norm, size=8, blocks=2)
        return GradientLearner(encoder, outputs=3, steps=2, rate=0.2, regime="transductive")


def slopes(learner: Learner, executor: str, count: int = 5) -> tuple[float, Tensor]:
    own = copy.deepcopy(learner).double().train()
    tasks = trees(own, IMAGES, count)
    with torch_threads(2 if executor.startswith("threads") else 1):
        value = accumulate(own, tree_loss(own, tasks[0]), [t[1] for t in tasks], executor=executor)
    return float(value), torch.cat([p.grad.flatten() for p in own.parameters() if p.grad is not None])


@pytest.mark.parametrize("executor", NAMED)
def test_every_executor_gives_the_loops_meta_gradient(executor: str) -> None:
    expected, found = slopes(conv(), "loop"), slopes(conv(), executor)
    assert found[0] == pytest.approx(expected[0], rel=1e-12)
    assert float((found[1] - expected[1]).norm() / expected[1].norm()) < 1e-10


class Turned(nn.Module):
    """Its weight is contracted over the middle, so autograd hands back its gradient in another memory layout."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(24.0).reshape(3, 4, 2).sin())

    def loss(self, task: Tensor) -> Tensor:
        return torch.tensordot(task, self.weight, dims=([-1], [1])).square().sum()


@pytest.mark.parametrize("executor", [name for name in NAMED if ":" not in name])
def test_a_fused_step_is_the_loops_step_whatever_the_layout_of_the_gradient(executor: str) -> None:
    """PyTorch's fused AdamW on a CPU pairs numbers by their place in memory and does not look at strides."""
    stepped = []
    for way in ("loop", executor):
        module, tasks = Turned(), list(torch.arange(32.0).reshape(4, 2, 4).cos())
        with torch_threads(2 if way == "threads" else 1):
            accumulate(module, module.loss, tasks, executor=way)
        torch.optim.AdamW(module.parameters(), 0.1, fused=True).step()
        stepped.append(module.weight.detach())
    assert torch.allclose(*stepped, atol=1e-6)


@pytest.mark.parametrize("executor", ["loop:channels_last", "threads:channels_first"])
def test_finite_differences(executor: str) -> None:
    check_meta_gradient(conv(), IMAGES, executor=executor)


def test_threads_give_the_same_bits_every_time() -> None:
    first, second = slopes(conv(), "threads"), slopes(conv(), "threads")
    assert torch.equal(first[1], second[1])


@pytest.mark.usefixtures("two_threads")
def test_threads_leave_torchs_number_of_threads_as_it_was() -> None:
    net = Branching()
    accumulate(net, net.loss, [torch.ones(2, 5, 3)] * 2, executor="threads")
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("made", "word"),
    [
        (lambda: ProtoNet(encoders.conv4(4, size=8, blocks=2)), "running statistics"),
        (lambda: Dropping(), "dropout"),
    ],
)
def test_what_depends_on_the_order_is_left_to_the_loop(made: Callable[[], Learner], word: str) -> None:
    learner = made().train()
    tasks = trees(learner, IMAGES, 3)
    state = {name: value.clone() for name, value in learner.state_dict().items()}
    with pytest.warns(FallbackWarning, match=word):
        accumulate(learner, undrawn_loss(learner, tasks[0][0]), [t[1] for t in tasks], executor="threads")
    other = made().train()
    other.load_state_dict(state)
    accumulate(other, undrawn_loss(other, tasks[0][0]), [t[1] for t in tasks], executor="loop")
    assert all(torch.equal(a, b) for a, b in zip(learner.buffers(), other.buffers(), strict=True))


def undrawn_loss(learner: Learner, like: Task) -> Callable[[Any], Tensor]:
    """As `tree_loss`, which however draws dropout alike each time, and so leaves no trace."""
    return lambda t: learner.loss(Task(like.space, Examples(t[0], t[1]), Examples(t[2], t[3])))


class Dropping(ProtoNet):
    """Drops features at random while training."""

    def __init__(self) -> None:
        super().__init__(encoders.conv4(4, norm="group", size=8, blocks=2))

    def embed(self, prepared: Tensor) -> Tensor:
        return nn.functional.dropout(super().embed(prepared), 0.5, self.training)


class Branching(nn.Module):
    """Looks at a number, which vmap cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def loss(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x).square().mean()
        return out if out.item() < 1e9 else 2 * out


def test_tasks_of_different_shapes_share_vmap_calls_by_shape() -> None:
    """A choice measured on equal tasks meets ragged ones later: no warning, the loop's gradient."""
    generator = torch.Generator().manual_seed(0)
    tasks = [torch.rand(rows, 3, generator=generator) for rows in (6, 3, 6, 2, 3)]
    one, other = nn.Linear(3, 1).double(), nn.Linear(3, 1).double()
    other.load_state_dict(one.state_dict())
    tasks = [task.double() for task in tasks]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = accumulate(one, lambda x: one(x).tanh().mean(), tasks, executor="vmap", chunk=4)
    expected = accumulate(other, lambda x: other(x).tanh().mean(), tasks, executor="loop")
    torch.testing.assert_close(found, expected)
    for mine, its in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)


def test_what_vmap_cannot_run_falls_back_with_one_named_warning() -> None:
    net = Branching()
    with pytest.warns(FallbackWarning, match="vmap cannot run this model") as caught:
        accumulate(net, net.loss, [torch.ones(2, 5, 3)] * 2, executor="vmap")
    assert len(caught) == 1


def chosen(module: nn.Module, count: int = 3, **more: Any) -> calibration.Choice:
    tasks = [torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(k)) for k in range(count)]
    return choose(module, lambda own: own.loss, tasks, **more)


@pytest.mark.usefixtures("two_threads")
def test_choosing_says_why_and_changes_nothing() -> None:
    net = Branching()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    choice = chosen(net)
    assert choice.executor in ("loop", "threads")
    assert set(choice.seconds) == {"loop", "threads"}
    assert "vmap cannot run this model" in choice.reason
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_the_choice_is_kept_for_equal_runs() -> None:
    assert chosen(Branching(), key="kept") is chosen(Branching(), key="kept")
    assert chosen(Branching(), key="kept") is not chosen(Branching(), key="other")
    assert chosen(Branching(), key="kept") is not chosen(Branching(), 2, key="kept")


@pytest.mark.usefixtures("two_threads")
def test_an_executor_with_another_meta_gradient_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard can fail: an executor that is wrong by one part in a million is found out in float64."""

    def wrong(module: nn.Module, loss: Any, tasks: Any, *, executor: str) -> Tensor:
        value = accumulate(module, loss, tasks, executor="loop")
        if executor == "threads":
            for p in module.parameters():
                assert p.grad is not None
                p.grad *= 1 + 1e-6
        return value

    monkeypatch.setattr(calibration, "accumulate", wrong)
    with pytest.warns(FallbackWarning, match="threads differs from the loop"):
        choice = chosen(Branching(), key="wrong")
    assert "threads" not in choice.seconds


@pytest.mark.parametrize("made", [lambda: ProtoNet(encoders.conv4(4, size=8, blocks=2)), lambda: Dropping()])
def test_where_the_order_matters_only_loops_are_candidates(made: Callable[[], Learner]) -> None:
    learner = made().train()
    tasks = trees(learner, IMAGES, 2)
    choice = choose(learner, lambda own: undrawn_loss(own, tasks[0][0]), [t[1] for t in tasks])
    assert set(choice.seconds) == {"loop:channels_last", "loop:channels_first"}


def test_one_task_without_images_has_nothing_to_choose() -> None:
    choice = chosen(Branching(), 1)
    assert (choice.executor, choice.seconds) == ("loop", {})


@pytest.mark.usefixtures("two_threads")
def test_layouts_are_candidates_where_there_are_images() -> None:
    learner = conv().train()
    tasks = trees(learner, IMAGES, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choice = choose(learner, lambda own: tree_loss(own, tasks[0]), [t[1] for t in tasks])
    assert set(choice.seconds) == {
        f"{kind}:{layout}" for kind in ("loop", "threads") for layout in ("channels_first", "channels_last")
    } | {"vmap"}


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SettingError, match="processes"):
        accumulate(nn.Linear(1, 1), lambda x: x, [], executor="processes")


def test_a_slow_first_call_does_not_decide_how_many_tasks_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []

    def timed(module: nn.Module, loss: Any, tasks: list[Any], name: str) -> float:
        measured.append(len(tasks))
        return 5.0 if len(measured) == 1 else 0.001 * len(tasks)

    monkeypatch.setattr(calibration, "_timed", timed)
    chosen(Branching(), 25)
    assert set(measured[2:]) == {25}
