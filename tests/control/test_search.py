"""Search is exact where it says so, never enters a wall, and says when there is no way."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kshot.control import Grid, search
from kshot.control.grids import MOVES
from kshot.errors import DataError, SettingError
from kshot.seeds import generator


def random_grid(seed: int, rough: bool) -> Grid:
    """A map of 12 x 9 with three walls in ten cells; costs 1 to 5 where `rough`."""
    rng = generator(seed, "grid")
    free = torch.rand(12, 9, generator=rng) > 0.3
    cost = 1 + 4 * torch.rand(12, 9, generator=rng) * float(rough)
    return Grid(np.where(free.numpy(), cost.numpy(), np.inf))


def walked(grid: Grid, path: tuple[tuple[int, int], ...]) -> float:
    """The cost of a path, if it is one."""
    for (a, b), (c, d) in itertools.pairwise(path):
        assert (c - a, d - b) in MOVES
    assert all(grid.free[cell] for cell in path)
    return float(sum(grid.cost[cell] for cell in path[1:]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([0.0, 0.5, 1.0, 1.7, 4.0]))
def test_cost_is_exact_or_within_the_weight(seed: int, rough: bool, weight: float) -> None:
    grid = random_grid(seed, rough)
    cells = [tuple(cell) for cell in np.argwhere(grid.free)]
    start, goal = cells[seed % len(cells)], cells[seed // 7 % len(cells)]
    least = grid.cost_to_go(goal)[start]
    found = search(grid, start, goal, weight=weight)
    if math.isinf(least):
        assert found.path is None
        assert math.isinf(found.cost)
        return
    assert found.path is not None
    assert (found.path[0], found.path[-1]) == (start, goal)
    assert walked(grid, found.path) == pytest.approx(found.cost)
    assert least - 1e-9 <= found.cost <= max(weight, 1) * least + 1e-9


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_a_guide_of_nonsense_costs_time_but_never_leads_through_a_wall(seed: int) -> None:
    grid = random_grid(seed, True)
    cells = [tuple(cell) for cell in np.argwhere(grid.free)]
    start, goal = cells[0], cells[-1]
    nonsense = 50 * torch.rand(grid.shape, generator=generator(seed)).numpy()
    found = search(grid, start, goal, guide=nonsense)
    assert (found.path is None) == math.isinf(grid.cost_to_go(goal)[start])
    if found.path is not None:
        walked(grid, found.path)


def test_a_perfect_guide_expands_the_path_and_nothing_else() -> None:
    grid = random_grid(3, True)
    goal = tuple(np.argwhere(grid.free)[0])
    field = grid.cost_to_go(goal)
    start = np.unravel_index(np.where(np.isfinite(field), field, -1).argmax(), grid.shape)
    found = search(grid, start, goal, guide=np.where(np.isfinite(field), field, 99.0))
    assert found.path is not None
    assert found.expansions == len(found.path) - 1
    assert (
        found.expansions
        < search(grid, start, goal).expansions
        <= search(grid, start, goal, weight=0).expansions
    )


def test_a_goal_behind_walls_is_told_after_looking_at_all_that_can_be_reached() -> None:
    free = np.ones((5, 7))
    free[:, 3] = 0
    found = search(Grid.of(free), (0, 0), (0, 6))
    assert found.path is None
    assert found.expansions == 15
    assert search(Grid.of(free), (2, 2), (2, 2)).path == ((2, 2),)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda g: search(g, (0, 1), (0, 0)), "start .0, 1. lies inside a wall"),
        (lambda g: search(g, (0, 0), (0, 1)), "goal .0, 1. lies inside a wall"),
        (lambda g: search(g, (0, 0), (5, 0)), "goal is .5, 0.; the map has 2 rows"),
        (lambda g: search(g, (-1, 0), (0, 0)), "start is .-1, 0."),
        (lambda g: search(g, 3, (0, 0)), "start is 3; give a row and a column"),
        (lambda g: search(g, (0, 0), (1, 1), guide=np.ones((3, 3))), "guide has shape .3, 3."),
        (lambda g: search(g, (0, 0), (1, 1), guide=np.full((2, 2), np.nan)), "guide is NaN"),
        (lambda g: Grid(np.zeros((2, 2))), "a cell costs 0"),
        (lambda g: Grid(np.full((2, 2), np.nan)), "a cell costs nan"),
        (lambda g: Grid(np.ones(4)), "shape .4,."),
    ],
)
def test_what_is_no_question_is_a_clear_error(ask: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        ask(Grid.of(np.array([[1, 0], [1, 1]])))


def test_a_weight_below_zero_is_refused() -> None:
    with pytest.raises(SettingError, match="weight is -1"):
        search(Grid.of(np.ones((2, 2))), (0, 0), (1, 1), weight=-1)
