"""Invariants of the samplers, over many draws and hostile class sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kshot.data import Episodes, Mixed, Pool
from kshot.errors import SettingError, TaskError
from kshot.tasks import NWayKShot, VariableWayShot


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_support_and_query_share_nothing_and_classes_are_distinct() -> None:
    sampler, sizes = NWayKShot(4, 2, 3), [5, 9, 6, 30, 5, 7]
    for seed in range(50):
        plan = sampler.draw(sizes, gen(seed))
        assert len({draw.index for draw in plan}) == 4
        for draw in plan:
            places = [*draw.support, *draw.query]
            assert (len(draw.support), len(draw.query), len(set(places))) == (2, 3, 5)
            assert max(places) < sizes[draw.index]


def test_a_generator_state_resumes_the_sequence() -> None:
    for sampler in (NWayKShot(2, 1, 2), VariableWayShot(2, 4)):
        generator, sizes = gen(), [9, 8, 7, 6]
        sampler.draw(sizes, generator)
        state = generator.get_state()
        after = [sampler.draw(sizes, generator) for _ in range(5)]
        resumed = gen(99)
        resumed.set_state(state)
        assert [sampler.draw(sizes, resumed) for _ in range(5)] == after


def test_a_batch_of_draws_is_disjoint_within_class_sizes_and_as_even_as_single_draws() -> None:
    sampler, sizes, count = NWayKShot(2, 1, 2), [3, 5, 8], 6000
    classes, places = sampler.draw_batch(torch.tensor(sizes), count, gen())
    assert all(len(set(row)) == 2 for row in classes.tolist())
    assert all(len(set(row)) == 3 for row in places.flatten(0, 1).tolist())
    assert bool((places < torch.tensor(sizes)[classes].unsqueeze(-1)).all())
    single = [sampler.draw(sizes, g) for g in [gen(1)] for _ in range(count)]
    for c, size in enumerate(sizes):
        drawn = places[..., 0][classes == c]
        batch = torch.bincount(drawn, minlength=size) / count
        alone = torch.zeros(size)
        for plan in single:
            for draw in plan:
                if draw.index == c:
                    alone[draw.support[0]] += 1 / count
        expected = 2 / 3 / size
        assert float((batch - expected).abs().max()) < 0.03
        assert float((alone - expected).abs().max()) < 0.03


def test_batched_and_single_episodes_hold_the_right_examples() -> None:
    labels = [c for c in range(5) for _ in range(4)]
    pool = Pool(torch.tensor([[100.0 * c + i] for i, c in enumerate(labels)]), labels)
    source = Episodes(pool, NWayKShot(3, 1, 2))
    for task in [*source.sample_batch(20, gen()), *[source.sample(g) for g in [gen(5)] for _ in range(20)]]:
        assert task.support is not None
        assert task.query is not None
        support, query = task.support.inputs.flatten(), task.query.inputs.flatten()
        assert not set(support.tolist()) & set(query.tolist())
        of = dict(
            zip(task.space.encode(task.support.targets).tolist(), (support // 100).tolist(), strict=True)
        )
        assert [of[t] for t in task.space.encode(task.query.targets).tolist()] == (query // 100).tolist()


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ([5, 2, 5], r"class 1 has 2 examples \(1 of 3 classes are too small\); 1 shots \+ 2 queries need 3"),
        ([5], "1 classes; 2-way tasks need at least 2"),
        ([], "0 classes"),
    ],
)
def test_an_impossible_draw_says_why(sizes: list[int], says: str) -> None:
    sampler = NWayKShot(2, 1, 2)
    with pytest.raises(TaskError, match=says):
        sampler.draw(sizes, gen())
    with pytest.raises(TaskError, match=says):
        sampler.draw_batch(torch.tensor(sizes, dtype=torch.long), 3, gen())


@pytest.mark.parametrize(
    "bad", [{"ways": 1}, {"shots": 0}, {"shots": 1.5}, {"queries": -1}, {"ways": True}, {"ways": "5"}]
)
def test_settings_outside_their_range_are_named(bad: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(bad))} is {next(iter(bad.values()))!r}"):
        NWayKShot(**bad)


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 300), min_size=3, max_size=40),
    least=st.integers(2, 5),
    more=st.integers(0, 30),
    queries=st.integers(1, 12),
    spare=st.integers(0, 60),
    per_class=st.integers(1, 120),
    seed=st.integers(0, 2**31),
)
def test_varied_tasks_keep_meta_datasets_invariants(
    sizes: list[int], least: int, more: int, queries: int, spare: int, per_class: int, seed: int
) -> None:
    most = least + more
    sampler = VariableWayShot(least, most, queries, most + spare, per_class)
    usable = sum(size >= 2 for size in sizes)
    if usable < least:
        with pytest.raises(TaskError, match=f"{usable} of {len(sizes)} classes"):
            sampler.draw(sizes, gen(seed))
        return
    plan = sampler.draw(sizes, gen(seed))
    assert least <= len(plan) <= min(most, usable)
    assert len({draw.index for draw in plan}) == len(plan)
    assert sum(len(draw.support) for draw in plan) <= most + spare
    counts = {len(draw.query) for draw in plan}
    assert len(counts) == 1
    assert 1 <= counts.pop() <= min(queries, *[sizes[d.index] // 2 for d in plan])
    for draw in plan:
        places = [*draw.support, *draw.query]
        assert 1 <= len(draw.support) <= per_class
        assert len(set(places)) == len(places)
        assert max(places) < sizes[draw.index]


def test_varied_tasks_vary_in_ways_shots_and_balance() -> None:
    sampler, generator = VariableWayShot(5, 20), gen()
    plans = [sampler.draw([100] * 10 + [20] * 20, generator) for _ in range(300)]
    assert {len(plan) for plan in plans} == set(range(5, 21))
    totals = [sum(len(d.support) for d in plan) for plan in plans]
    assert min(totals) < 30
    assert 150 < max(totals) <= 500
    assert sum(len({len(d.support) for d in plan}) > 1 for plan in plans) > 250


@pytest.mark.parametrize(
    "bad",
    [{"min_ways": 1}, {"min_ways": 9, "max_ways": 5}, {"max_support": 10}, {"max_ways": 7.5}, {"max_support": 90.5},
     {"max_queries": 0}, {"max_support_per_class": 0}],
)  # fmt: skip
def test_varied_settings_outside_their_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=str(next(iter(bad.values())))):
        VariableWayShot(**bad)


def test_mixed_sources_are_drawn_with_their_weights_and_resume() -> None:
    one = Episodes(Pool(torch.zeros(4, 1), [0, 0, 1, 1], "one"), NWayKShot(2, 1, 1))
    two = Episodes(Pool(torch.ones(4, 1), ["a", "a", "b", "b"], "two"), NWayKShot(2, 1, 1))
    mixed, generator = Mixed([one, two], [1, 3]), gen()
    state = generator.get_state()
    names = [mixed.sample(generator).name for _ in range(2000)]
    assert abs(names.count("two") / 2000 - 0.75) < 0.035
    generator.set_state(state)
    assert [mixed.sample(generator).name for _ in range(20)] == names[:20]
    assert {Mixed([one, two], [1, 0]).sample(generator).name for _ in range(50)} == {"one"}


@pytest.mark.parametrize(
    "weights", [[1.0], [0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0], [float("inf"), 1.0]]
)
def test_weights_that_make_no_distribution_are_refused(weights: list[float]) -> None:
    source = Episodes(Pool(torch.zeros(4, 1), [0, 0, 1, 1]), NWayKShot(2, 1, 1))
    with pytest.raises(SettingError, match="weight"):
        Mixed([source, source], weights)
