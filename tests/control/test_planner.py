"""The planner: what was learned shortens the search, and bad maps are clear errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import kshot
from kshot.control import (
    Family,
    Guidance,
    MapEncoder,
    PathPlanner,
    PlanningTasks,
    Solved,
    choose_weight,
    draw_family,
    path_planner,
    search,
)
from kshot.control.planner import far_starts
from kshot.errors import DataError, SettingError, TaskError, UnsupportedError
from kshot.seeds import generator

SIZE = 16


@pytest.fixture(scope="module")
def base() -> kshot.Learner:
    """Trained for some seconds on three families; mazes and rooms are none of them."""
    rng = generator(0, "maps")
    families = tuple(draw_family(kind, 30, rng, SIZE) for kind in ("forest", "gaps", "traps"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = Guidance(MapEncoder(width=8, features=6))
    return kshot.fit(start, PlanningTasks(families), steps=60, rate=5e-3, average=0.9, progress=False).learner


@pytest.fixture(scope="module")
def rooms() -> Family:
    return draw_family("rooms", 40, generator(1, "maps"), SIZE)


@pytest.fixture(scope="module")
def planner(base: kshot.Learner, rooms: Family) -> PathPlanner:
    return path_planner(base.adapt(rooms.take(range(16)).maps, rooms.take(range(16)).fields))


def test_it_looks_at_fewer_cells_than_tuned_weighted_a_star(planner: PathPlanner, rooms: Family) -> None:
    known, rng = [], generator(0, "starts")
    for place in range(16):
        grid, goal = rooms.problem(place)
        field = rooms.fields[place].numpy()
        known += [Solved(grid, s, goal, float(field[s])) for s in far_starts(field, 4, rng)]
    weighted, counts, over = choose_weight(known), [], []
    for place in range(16, 40):
        grid, goal = rooms.problem(place)
        field = rooms.fields[place].numpy()
        for start in far_starts(field, 3, rng):
            ours = planner.plan(grid, start, goal)
            theirs = search(grid, start, goal, weight=weighted.weight)
            counts.append((ours.expansions, theirs.expansions))
            over.append(ours.cost / field[start] - 1)
    ours_mean, theirs_mean = np.mean(counts, 0)
    assert ours_mean < theirs_mean
    assert np.mean(over) < 0.06


def test_adapting_learns_what_moves_cost_there(base: kshot.Learner, rooms: Family) -> None:
    """Rooms where every move costs half as much again, which no training map had: against the mean it starts from."""
    task = base.adapt(rooms.take(range(16)).maps, 1.5 * rooms.take(range(16)).fields)
    rest = rooms.take(range(16, 40))
    known = rest.fields >= 0
    learned = torch.as_tensor(task.predict(rest.maps).fields)
    start = task.learner.respond({"weights": task.learner.prior.detach()}, task.embed(rest.maps), task.space)
    errors = [float((f - 1.5 * rest.fields)[known].abs().mean()) for f in (learned, start.detach())]
    assert errors[0] < 0.7 * errors[1]


def test_a_path_is_enough_as_a_solution(base: kshot.Learner, rooms: Family) -> None:
    """Only the cost along one path is known; the rest is NaN."""
    grid, goal = rooms.problem(0)
    start = far_starts(rooms.fields[0].numpy(), 1, generator(0))[0]
    path = search(grid, start, goal).path
    assert path is not None
    field = np.full(grid.shape, np.nan)
    for cell in path:
        field[cell] = rooms.fields[0].numpy()[cell]
    task = base.adapt([(grid, goal)], [field])
    assert np.isfinite(task.predict([(grid, goal)]).fields).all()


def test_saved_and_loaded_it_guides_by_the_same_bits(
    planner: PathPlanner, rooms: Family, tmp_path: Path
) -> None:
    again = kshot.load(planner.task.save(tmp_path / "rooms.kshot", include_base=True))
    assert np.array_equal(again.predict(rooms.maps).fields, planner.task.predict(rooms.maps).fields)
    assert path_planner(again).trial == planner.trial


def test_no_way_is_told_and_walls_are_refused(planner: PathPlanner) -> None:
    free = np.ones((SIZE, SIZE))
    free[:, 7] = 0
    assert planner.plan(free, (0, 0), (0, 15)).path is None
    for start, goal, says in (((0, 7), (0, 0), "start"), ((0, 0), (0, 7), "goal")):
        with pytest.raises(DataError, match=f"{says} .0, 7. lies inside a wall"):
            planner.plan(free, start, goal)
    with pytest.raises(DataError, match="two axes"):
        planner.plan(np.ones(5), (0, 0), (0, 0))
    with pytest.raises(DataError, match="NaN"):
        planner.plan(np.full((4, 4), np.nan), (0, 0), (0, 0))
    larger = planner.plan(np.ones((40, 25)), (0, 0), (39, 24))
    assert larger.cost == 39, "maps of other sizes than those it learned from are planned on too"


def test_what_cannot_be_adapted_to_is_a_clear_error(base: kshot.Learner, rooms: Family) -> None:
    with pytest.raises(DataError, match="maps have sizes"):
        base.adapt([(np.ones((4, 4)), (0, 0)), (np.ones((5, 4)), (0, 0))], np.zeros((2, 4, 4)))
    with pytest.raises(DataError, match="give a list of pairs"):
        base.adapt([3, 4], np.zeros((2, 4, 4)))
    with pytest.raises(DataError, match=r"fields have shape .16, 16."):
        base.adapt(rooms.maps[:SIZE], rooms.fields[0])
    with pytest.raises(DataError, match="no known cost"):
        base.adapt(rooms.maps[:1], np.full((1, SIZE, SIZE), np.inf))
    with pytest.raises(DataError, match="maps have 16 x 16 cells, fields 8 x 8"):
        base.adapt(rooms.maps[:2], rooms.fields[:2, :8, :8])
    with pytest.raises(DataError, match="no single goal"):
        base.adapt(torch.ones(1, 2, 4, 4), np.zeros((1, 4, 4)))
    with pytest.raises(TaskError, match="1 solved map"):
        path_planner(base.adapt(rooms.maps[:1], rooms.fields[:1]))
    with pytest.raises(SettingError, match="extra is -1"):
        path_planner(base.adapt(rooms.maps[:2], rooms.fields[:2]), extra=-1)
    with pytest.raises(UnsupportedError, match="answers with classes"):
        path_planner(kshot.learners.ProtoNet(kshot.encoders.identity(2)).adapt(torch.eye(2), ["a", "b"]))
