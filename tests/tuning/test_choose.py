"""kshot.choose: judged on what was left out, adapters only where they help, a budget that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import kshot
from kshot.demo.handwriting import digits
from kshot.encoders import Conv4
from kshot.errors import DataError, InputWarning, SettingError, UnsupportedError
from kshot.learners import Adapter, ClosedForm, ProtoNet, Transfer

POOL = digits()


def task(shots: int, ways: int = 4) -> tuple[Tensor, list[int], Tensor, list[int]]:
    """Real scans of digits: support, labels, queries, labels."""
    support = torch.cat([members[:shots] for members in POOL.members[:ways]])
    queries = torch.cat([members[20:40] for members in POOL.members[:ways]])
    return (
        POOL.inputs[support],
        POOL.targets[support].tolist(),
        POOL.inputs[queries],
        POOL.targets[queries].tolist(),
    )


def accuracy(learned: kshot.Adapted, queries: Tensor, expected: list[int]) -> float:
    return learned.check(queries, expected).right / len(expected)


@pytest.fixture(scope="module", name="glyphs")
def _glyphs() -> ClosedForm:
    base = kshot.load("glyphs")
    assert isinstance(base, ClosedForm)
    return base


@pytest.fixture(scope="module", name="small")
def _small() -> ClosedForm:
    """A small convolutional base with random weights: adapters have something to gain."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ProtoNet(Conv4(8, size=8, blocks=2)).eval()


def test_it_compares_and_says_why(glyphs: ClosedForm) -> None:
    inputs, labels, queries, expected = task(5)
    found = kshot.choose(inputs, labels, base=glyphs, adapters=())
    rows = {row.name: row for row in found.table}
    assert set(rows) == {"base", "kernel_ridge", "smooth_kernel_ridge", "ridge", "lda"}
    assert all(row.judged == 20 for row in found.table)
    assert rows[found.name].log_loss == min(row.log_loss or 9 for row in found.table)
    assert found.name in found.reason
    assert "taken" in rows[found.name].note
    assert accuracy(found.task, queries, expected) > 0.9
    assert found.learner is found.task.learner


def test_the_row_of_the_base_is_its_leave_one_out(glyphs: ClosedForm) -> None:
    inputs, labels, *_ = task(3)
    found = kshot.choose(inputs, labels, base=glyphs, adapters=())
    alone = glyphs.adapt(inputs, labels).leave_one_out()
    right = sum(a == b for a, b in zip(alone.labels, labels, strict=True)) / len(labels)
    assert found.table[0].name == "base"
    assert found.table[0].accuracy == pytest.approx(right)


def test_an_adapter_that_helps_is_taken(small: ClosedForm) -> None:
    """Left and right halves are lit by chance except for one faint pixel; only moved features see it."""
    rng = torch.Generator().manual_seed(0)
    labels = [k % 2 for k in range(60)]
    inputs = torch.rand(60, 1, 8, 8, generator=rng)
    inputs[:, :, 2:6, 2:6] = torch.rand(60, 1, 1, 1, generator=rng) * 0.4 + 0.6 * torch.tensor(labels).view(
        -1, 1, 1, 1
    )
    inputs[:, :, 2:6, 2:6] += 0.3 * torch.rand(60, 1, 4, 4, generator=rng)
    before = {name: value.clone() for name, value in small.state_dict().items()}
    weak = ClosedForm(small.encoder, "prototype").eval()
    found = kshot.choose(inputs.clamp(0, 1), labels, base=weak, adapters=("fine_tune",), budget=600)
    row = next(row for row in found.table if row.name == "fine_tune")
    assert row.gain is not None
    assert row.gain_low is not None
    assert (found.name == "fine_tune") == (row.gain_low > 0)
    assert all(torch.equal(before[name], value) for name, value in small.state_dict().items())


def test_a_measurably_better_learner_is_taken_and_a_worse_one_is_dropped() -> None:
    """Rows whose first column alone tells; a learner that looks at it, and one that looks at noise."""
    rng = torch.Generator().manual_seed(0)
    labels = [k % 2 for k in range(40)]
    signal = torch.tensor(labels, dtype=torch.float32).unsqueeze(1) + 0.05 * torch.randn(40, 1, generator=rng)
    rows = torch.cat([signal, torch.randn(40, 30, generator=rng)], 1)
    looking = {name: _looking_at(column) for name, column in (("signal", 0), ("noise", 7))}
    found = kshot.choose(
        rows, labels, base=ClosedForm(kshot.encoders.identity(31)).eval(), others=looking, adapters=()
    )
    table = {row.name: row for row in found.table}
    assert found.name == "signal"
    assert (table["signal"].gain_low or 0) > 0
    assert "signal" in found.reason
    assert "dropped after 2 rounds" in table["noise"].note
    assert table["noise"].judged < table["signal"].judged
    assert found.task.predict(rows).labels == labels


def _looking_at(column: int) -> ClosedForm:
    encoder = kshot.encoders.ScaledRows(31)
    encoder.weight = torch.zeros(31, dtype=torch.float64)
    encoder.weight[column] = 10.0
    return ClosedForm(encoder).eval()


def test_one_example_a_class_cannot_be_judged(glyphs: ClosedForm) -> None:
    inputs, labels, queries, _ = task(1)
    found = kshot.choose(inputs, labels, base=glyphs)
    assert found.learner is glyphs
    assert "one example" in found.reason
    assert [row.accuracy for row in found.table] == [None]
    assert found.task.predict(queries).labels == glyphs.adapt(inputs, labels).predict(queries).labels


def test_the_budget_stops_new_work(small: ClosedForm) -> None:
    inputs, labels, *_ = task(3)
    ticks: Iterator[int] = count()
    found = kshot.choose(inputs, labels, base=small, budget=1, clock=lambda: float(next(ticks)))
    notes = {row.name: row.note for row in found.table}
    assert all(notes[name] == "skipped: the time budget is spent" for name in ("film", "lora", "fine_tune"))
    assert all(row.accuracy is not None for row in found.table if row.kind == "head")


def test_a_budget_that_ends_midway_keeps_what_was_judged(small: ClosedForm) -> None:
    inputs, labels, *_ = task(4)
    time = iter([0.0] * 400)
    spent = {"now": 0.0}

    def clock() -> float:
        next(time)
        spent["now"] += 1.0
        return spent["now"]

    found = kshot.choose(inputs, labels, base=small, budget=22, clock=clock)
    assert any("the time budget is spent" in row.note for row in found.table)


def test_further_encoders_are_compared(small: ClosedForm) -> None:
    inputs, labels, queries, expected = task(4)
    found = kshot.choose(
        inputs, labels, base=small, encoders={"pixels": kshot.encoders.pixels(8)}, adapters=()
    )
    assert {"pixels: prototype", "pixels: kernel_ridge", "kernel_ridge"} <= {row.name for row in found.table}
    assert accuracy(found.task, queries, expected) > 0.8


def test_the_same_seed_gives_the_same_choice(small: ClosedForm) -> None:
    inputs, labels, *_ = task(3)
    first, second = (
        kshot.choose(inputs, labels, base=small, adapters=("film",), budget=600, seed=3) for _ in range(2)
    )
    assert first.name == second.name
    assert [(r.accuracy, r.log_loss) for r in first.table] == [(r.accuracy, r.log_loss) for r in second.table]


def test_the_chosen_task_is_saved_and_opened(small: ClosedForm, tmp_path: Path) -> None:
    inputs, labels, queries, _ = task(3)
    learned = Adapter.of(small, "film", steps=3).adapt(inputs, labels)
    learned.save(tmp_path / "film.kshot", include_base=True)
    again = kshot.load(tmp_path / "film.kshot")
    assert isinstance(again, kshot.Adapted)
    torch.testing.assert_close(
        torch.from_numpy(again.predict(queries).probabilities),
        torch.from_numpy(learned.predict(queries).probabilities),
    )


def test_adapters_say_where_they_have_nothing_to_move() -> None:
    rows = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    found = kshot.choose(rows, [k % 3 for k in range(12)])
    notes = {row.name: row.note for row in found.table}
    assert "none" in notes["film"]
    assert "nothing of that kind" in notes["fine_tune"]


def test_a_gradient_free_base_of_another_kind_is_judged_in_rounds() -> None:
    rows = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    rows[8:] += 3
    base = Transfer(kshot.encoders.identity(4), classes=2).eval()
    found = kshot.choose(rows, [0] * 8 + [1] * 8, base=base)
    assert found.table[0].judged == 16
    assert "closed-form bases" in found.table[1].note


@pytest.mark.parametrize("budget", [0, -1.0, float("nan")])
def test_a_budget_is_above_0(budget: float) -> None:
    with pytest.raises(SettingError, match="budget is"):
        kshot.choose(torch.eye(4), [0, 0, 1, 1], budget=budget)


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (torch.eye(3), ["a", "a", "a"], "at least two"),
        (torch.ones(1, 3), ["a"], "at least two"),
        (torch.tensor([[0.0, float("nan")], [1.0, 2.0]]), ["a", "b"], "NaN"),
        (torch.tensor([[0.0, float("inf")], [1.0, 2.0]]), ["a", "b"], "infinite"),
        (torch.zeros(0, 3), [], "0 examples"),
        (torch.eye(3), ["a", "b"], "3 inputs came with 2"),
        (torch.zeros(4, 2, 2), ["a", "a", "b", "b"], "rows"),
        (["x", "y"], ["a", "b"], "rows"),
        (torch.eye(2), None, "no targets"),
    ],
)
def test_bad_input(inputs: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        kshot.choose(inputs, labels)


def test_numbers_and_unknown_adapters_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="FewShotRegressor"):
        kshot.choose(torch.eye(3), [0.5, 1.5, 2.0])
    with pytest.raises(SettingError, match="adapter 'prompt'"):
        kshot.choose(torch.eye(4), [0, 0, 1, 1], adapters=["prompt"])


def test_many_columns_without_variance_and_two_thousand_classes() -> None:
    rows = torch.zeros(6, 500)
    rows[3:, 0] = 1.0
    assert kshot.choose(rows, ["a"] * 3 + ["b"] * 3).task.predict(rows[3:4]).labels == ["b"]
    many = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
    found = kshot.choose(many, [f"c{k}" for k in range(2000)])
    assert found.task.predict(many[:3]).labels == ["c0", "c1", "c2"]


def test_photographs_of_another_kind_still_warn(glyphs: ClosedForm) -> None:
    inputs, labels, *_ = task(2)
    with pytest.warns(InputWarning):
        kshot.choose(255 - inputs, labels, base=glyphs, adapters=())
