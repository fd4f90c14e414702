"""The best way to look for a goal: against all walks of small rooms, and against the room itself."""

from __future__ import annotations

import itertools

import pytest
import torch

from kshot.control import GoalRooms, best_seeking, dark_room, small_grid
from kshot.errors import UnsupportedError
from kshot.seeds import generator


def walked(room: GoalRooms, moves: torch.Tensor) -> torch.Tensor:
    """Mean return over goals of each walk [walks, horizon]; where the goal is found one goes straight there and stays."""
    goals = room.goals()
    hidden = goals.repeat(len(moves), 1)
    state, total = room.reset(hidden, generator(0)), torch.zeros(len(hidden))
    found = torch.zeros(len(hidden), dtype=torch.bool)
    for move in moves.T:
        gap = hidden - state[:, :2]
        there = torch.where(
            gap[:, 0] > 0, 2, torch.where(gap[:, 1] > 0, 1, 4)
        )  # one starts in the corner (0, 0)
        action = torch.where(found, there, move.repeat_interleave(len(goals)))
        state, reward, _ = room.step(hidden, state, action, generator(0))
        total, found = total + reward, found | (reward == 1)
    return total.view(len(moves), -1).mean(1)


def own(room: GoalRooms) -> float:
    """What the walk earns that is said to be the best."""
    return float(walked(room, torch.as_tensor(best_seeking(room).moves)[None]))


@pytest.mark.parametrize("room", [GoalRooms(2, 6, 2, -0.1), GoalRooms(3, 6, 2, -0.3, 1), GoalRooms(3, 6)])
def test_no_walk_is_better(room: GoalRooms) -> None:
    every = walked(room, torch.tensor(list(itertools.product(range(5), repeat=room.horizon))))
    assert best_seeking(room).value == pytest.approx(float(every.max()), abs=1e-5)
    assert own(room) == pytest.approx(float(every.max()), abs=1e-5)


def test_the_rooms_of_the_literature() -> None:
    """In the dark room each step can show one cell more, and a round trip does: (100 + 99 + ... + 1) / 100."""
    assert best_seeking(dark_room()).value == pytest.approx(50.5)
    assert own(dark_room()) == pytest.approx(50.5)
    found = best_seeking(small_grid())
    assert own(small_grid()) == pytest.approx(found.value, abs=1e-4)
    assert found.value < float(small_grid().optimum(small_grid().goals()).mean())


def test_who_is_told_goes_straight_there() -> None:
    room = small_grid()
    hidden = torch.tensor([[0, 2], [4, 4]])
    assert room.optimum(hidden).tolist() == pytest.approx([4 * (14 - 0.1), 4 * (8 - 0.7)])


def test_rooms_too_large_are_told() -> None:
    with pytest.raises(UnsupportedError, match="goals"):
        best_seeking(GoalRooms(9, 40))
