"""The graph executor: written once, used again only where it holds, and never with other numbers than vmap's."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import kshot
from kshot.data import Sinusoids
from kshot.engine import FallbackWarning, accumulate, choose, graphs, recomputing, stacking
from kshot.learners import GradientLearner
from kshot.training.update import meta_gradient

Tasks = list[Any]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a list was written."""
    counts: list[int] = []
    real = graphs.trace

    def counting(*given: Any) -> Any:
        counts.append(1)
        return real(*given)

    monkeypatch.setattr(graphs, "trace", counting)
    return counts


class Net(nn.Module):
    """With a buffer and a frozen parameter that its loss reads."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 1))
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(2.0))
        self.seen: Tensor
        self.register_buffer("seen", torch.tensor(0))
        self.shift = nn.Parameter(torch.tensor(0.5), requires_grad=False)
        self.factor = 1.0

    def loss(self, x: Tensor) -> Tensor:
        out: Tensor = (self.layers(x) * self.scale + self.shift).square().mean()
        return self.factor * (out if self.training else out.sqrt())


def tasks(rows: int = 4, count: int = 5) -> Tasks:
    generator = torch.Generator().manual_seed(rows)
    return [torch.randn(rows, 3, generator=generator) for _ in range(count)]


def slopes(net: Net, some: Tasks, executor: str, key: str = "key", chunk: int | None = None) -> Tensor:
    net.zero_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = accumulate(net, net.loss, some, executor=executor, key=key, chunk=chunk)
    return torch.cat([value.reshape(1), *(p.grad.flatten() for p in net.parameters() if p.grad is not None)])


def both(net: Net, some: Tasks) -> None:
    assert torch.equal(slopes(net, some, "graph"), slopes(net, some, "vmap"))


def test_written_once(written: list[int]) -> None:
    net = Net()
    for _ in range(3):
        both(net, tasks())
    assert len(written) == 1


def changed(net: Net) -> None:
    with torch.no_grad():
        net.scale.mul_(3)
        net.shift.add_(1)
        for p in net.layers.parameters():
            p.mul_(1.5)


def replaced(net: Net) -> None:
    net.scale = torch.tensor(-1.0)


def frozen_replaced(net: Net) -> None:
    net.shift = nn.Parameter(torch.tensor(-3.0), requires_grad=False)


def mode(net: Net) -> None:
    net.eval()


def frozen(net: Net) -> None:
    net.layers[0].requires_grad_(False)


def doubled(net: Net) -> None:
    net.double()


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (changed, False),
        (replaced, True),
        (frozen_replaced, True),
        (mode, True),
        (frozen, True),
        (doubled, True),
    ],
)
def test_changes_are_seen(change: Callable[[Net], None], again: bool, written: list[int]) -> None:
    net = Net()
    both(net, tasks())
    change(net)
    some = [t.to(net.layers[3].weight.dtype) for t in tasks()]
    for _ in range(3):
        both(net, some)
    assert len(written) == 1 + again


def test_another_key_is_another_loss() -> None:
    net = Net()
    first = slopes(net, tasks(), "graph", "one")
    net.factor = 2.0
    assert torch.equal(slopes(net, tasks(), "graph", "one"), first)  # who names the key answers for it
    torch.testing.assert_close(slopes(net, tasks(), "graph", "two"), 2 * first)


def test_without_a_key_another_function_is_another_loss() -> None:
    net = Net()
    once = accumulate(net, lambda x: net.loss(x), tasks(), executor="graph")
    twice = accumulate(net, lambda x: 2 * net.loss(x), tasks(), executor="graph")
    torch.testing.assert_close(twice, 2 * once)


def test_other_shapes_get_a_list_when_they_come_again_and_only_so_many_are_kept(written: list[int]) -> None:
    net = Net()
    for rows in range(1, 25):
        both(net, tasks(rows))
    assert len(written) == 1
    both(net, tasks(24))
    assert len(written) == 2
    assert len(graphs._KEPT[net].runs) <= graphs._GRAPHS


def test_lists_go_with_their_module() -> None:
    net = Net()
    both(net, tasks())
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_many_tasks_run_in_equal_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacking, "LEAST", 5)
    monkeypatch.setattr(graphs, "_NUMBERS", 100)
    net, some = Net(), tasks(count=13)
    assert torch.equal(slopes(net, some, "graph"), slopes(net, some, "vmap", chunk=5))
    assert [len(part) for part in graphs._parts(some, 5)] == [5, 5, 3]
    assert [len(part) for part in graphs._parts(some, 12)] == [7, 6]
    assert [len(part) for part in graphs._parts(some, 13)] == [13]


@pytest.mark.parametrize(("executor", "like"), [("graph", "vmap"), ("threads", "loop")])
def test_number_types_reach_every_thread(executor: str, like: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacking, "LEAST", 2)
    monkeypatch.setattr(graphs, "_NUMBERS", 100)
    net, some, before = Net(), tasks(count=8), torch.get_num_threads()
    net.layers[1] = nn.Identity()  # torch maps no layer norm of mixed types
    exact = slopes(net, some, like)
    try:
        torch.set_num_threads(2)
        with torch.autocast("cpu", torch.bfloat16):
            expected, found = slopes(net, some, like, chunk=2), slopes(net, some, executor)
    finally:
        torch.set_num_threads(before)
    assert float((exact - expected).norm()) > 1e-4
    torch.testing.assert_close(found[1:], expected[1:])  # without the loss, a sum in another order


@pytest.mark.parametrize(
    ("loss", "word"),
    [
        (lambda net, x: nn.functional.dropout(net.layers(x)).mean(), "draws random numbers"),
        (lambda net, x: net.loss(x) if x.sum() > -1e9 else x.sum(), "data-dependent|tracing tensor"),
        (lambda net, x: (net.loss(x), net.seen.add_(1))[0], "changes buffers"),
    ],
)
def test_what_cannot_be_written_is_left_to_the_loop(loss: Any, word: str) -> None:
    net, other = Net(), Net()
    torch.manual_seed(0)
    with pytest.warns(FallbackWarning, match=word):
        found = accumulate(net, lambda x: loss(net, x), tasks(), executor="graph")
    torch.manual_seed(0)
    expected = accumulate(other, lambda x: loss(other, x), tasks(), executor="loop")
    assert torch.equal(found, expected)


def test_inner_steps_that_are_to_be_computed_again_are_left_to_the_loop() -> None:
    net = Net()
    with recomputing(), pytest.warns(FallbackWarning, match="computed again"):
        accumulate(net, net.loss, tasks(), executor="graph")


def test_a_list_with_other_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "trace", lambda function, given: lambda *g: [2 * t for t in function(*g)])
    net = Net()
    with pytest.warns(FallbackWarning, match="gives other numbers"):
        accumulate(net, net.loss, tasks(), executor="graph")


def learner() -> GradientLearner:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GradientLearner(kshot.encoders.mlp(1, (8, 8)), outputs=1, steps=2)


def test_fit_gives_the_same_numbers_as_with_vmap() -> None:
    def trained(executor: str) -> Tensor:
        run = kshot.fit(
            learner(), Sinusoids(shots=5, queries=5), steps=6, meta_batch=4, executor=executor, progress=False
        )
        return torch.cat([p.detach().flatten() for p in run.learner.parameters()])

    assert torch.equal(trained("graph"), trained("vmap"))


def test_settings_of_a_learner_that_change_change_its_gradient() -> None:
    own = learner().train()
    source = Sinusoids(shots=5, queries=5)
    ready = own.prepare_many(source.sample_batch(3, torch.Generator().manual_seed(0)))
    for steps in (2, 3):
        own.steps = steps
        other = copy.deepcopy(own)
        assert torch.equal(
            meta_gradient(own, ready, "graph", "float32"), meta_gradient(other, ready, "vmap", "float32")
        )


@pytest.mark.parametrize(("updates", "there"), [(None, True), (1000, True), (999, False)])
def test_lists_are_candidates_where_enough_updates_follow(updates: int | None, there: bool) -> None:
    choice = choose(Net(), lambda own: own.loss, tasks(), updates=updates)
    assert ("graph" in choice.seconds) == there
