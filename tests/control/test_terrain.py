"""Costs of unknown ground: found from walks, the more walks the better, and what is no walk is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kshot
from kshot.control import (
    Grid,
    TerrainCosts,
    TerrainEncoder,
    TerrainPlanner,
    Terrains,
    Walks,
    search,
    terrain_planner,
    walk,
)
from kshot.control.pictures import terrain_picture
from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.seeds import generator

FAMILY = Terrains(kinds=3, size=14)
TRUTH = np.array([1.0, 6.0, 2.5])


def shown(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = generator(seed, "shown")
    maps, walks = zip(*(FAMILY.shown(TRUTH, rng) for _ in range(count)), strict=True)
    return torch.stack(maps), torch.stack(walks)


@pytest.fixture(scope="module")
def planner() -> TerrainPlanner:
    return terrain_planner(TerrainCosts(TerrainEncoder(3)).adapt(*shown(8)))


def paid(planner_costs: np.ndarray, count: int = 12) -> float:
    """Extra true cost of the paths that are cheapest by these costs, on new maps."""
    rng, over = generator(5, "new maps"), []
    for _ in range(count):
        terrain, start, goal = FAMILY.problem(TRUTH, rng)
        true = FAMILY.grid(terrain, TRUTH)
        path = search(FAMILY.grid(terrain, planner_costs), start, goal).path
        assert path is not None
        over.append(sum(true.cost[cell] for cell in path[1:]) / true.cost_to_go(goal)[start] - 1)
    return float(np.mean(over))


def test_costs_are_found_and_pay_on_new_maps(planner: TerrainPlanner) -> None:
    assert planner.costs.argsort().tolist() == TRUTH.argsort().tolist()
    assert np.abs(np.log(planner.costs) - np.log(TRUTH)).max() < 0.6
    assert paid(planner.costs) < 0.25 * paid(np.ones(3))


def test_more_walks_make_it_surer(planner: TerrainPlanner) -> None:
    fewer = terrain_planner(TerrainCosts(TerrainEncoder(3)).adapt(*shown(2)))
    assert (planner.deviations < fewer.deviations).all()


def test_a_kind_that_nobody_met_costs_what_the_prior_says() -> None:
    """A map of kinds 1 and 2 says nothing about 3."""
    ground = np.array([[1, 2, 1], [1, 2, 1], [1, 1, 1]])
    around = walk([(0, 0), (1, 0), (2, 1), (1, 2), (0, 2)], (3, 3))
    base = TerrainCosts(TerrainEncoder(3))
    task = base.adapt([(ground, (0, 2))], [around])
    assert float(task.state["log_costs"][2]) == pytest.approx(0, abs=1e-6)
    assert terrain_planner(task).deviations[2] == pytest.approx(1, abs=1e-6)


def test_the_slope_of_adapting_is_the_one_of_finite_differences() -> None:
    """Through ten rounds of Newton's method; where cheapest ways stay the same, the loss is smooth."""
    task = FAMILY.sample(generator(3))
    learner = TerrainCosts(TerrainEncoder(3)).double()
    with torch.no_grad():
        learner.prior.copy_(torch.tensor([0.1, 0.3, -0.2]))
    ready = learner.prepare(task)
    loss = learner.loss(ready)
    loss.backward()
    for parameter, place in ((learner.log_sharpness, ()), (learner.log_deviation, ()), (learner.prior, (1,))):
        found, step = [], 1e-5
        for side in (step, -step):
            with torch.no_grad():
                parameter[place] += side
                found.append(float(learner.loss(ready)))
                parameter[place] -= side
        assert parameter.grad is not None
        assert float(parameter.grad[place]) == pytest.approx(
            (found[0] - found[1]) / (2 * step), rel=1e-4, abs=1e-6
        )


def test_training_makes_walks_likelier() -> None:
    base = TerrainCosts(TerrainEncoder(3))
    source = Terrains(kinds=3, size=10, shots=2, queries=2)
    run = kshot.fit(base, source, steps=6, meta_batch=2, rate=0.1, executor="loop", progress=False)
    losses = [np.mean([float(learner.loss(learner.prepare(source.sample(generator(n, "test")))).detach()) for n in range(6)])
              for learner in (base, run.learner)]  # fmt: skip
    assert losses[1] < losses[0]


def test_paths_are_exact_by_the_learned_costs(planner: TerrainPlanner, tmp_path: Path) -> None:
    terrain, start, goal = FAMILY.problem(TRUTH, generator(1))
    route = planner.plan(terrain, start, goal)
    assert route.cost == pytest.approx(planner.grid(terrain).cost_to_go(goal)[start])
    again = terrain_planner(kshot.load(planner.task.save(tmp_path / "ground.kshot", include_base=True)))
    assert np.array_equal(again.costs, planner.costs)
    assert again.plan(terrain, start, goal).path == route.path
    answer = planner.task.predict([(terrain, goal)])
    free = terrain > 0
    scale = answer.costs[0][free].min() / planner.grid(terrain).cost[free].min()
    assert answer.fields[0][start] == pytest.approx(scale * route.cost, rel=1e-4)


def test_it_is_drawn_with_and_without_a_way(planner: TerrainPlanner) -> None:
    terrain, start, goal = FAMILY.problem(TRUTH, generator(1))
    assert terrain_picture(planner, terrain, start, goal).startswith(b"\x89PNG")
    shut = np.ones((5, 5), dtype=int)
    shut[:, 2] = 0
    assert terrain_picture(planner, shut, (0, 0), (0, 4)).startswith(b"\x89PNG")


def test_no_way_and_walls_are_told(planner: TerrainPlanner) -> None:
    terrain = np.ones((5, 5), dtype=int)
    terrain[:, 2] = 0
    assert planner.plan(terrain, (0, 0), (0, 4)).path is None
    with pytest.raises(DataError, match=r"start .0, 2. lies inside a wall"):
        planner.plan(terrain, (0, 2), (0, 0))
    with pytest.raises(DataError, match=r"holds \[7\]"):
        planner.plan(np.full((3, 3), 7), (0, 0), (0, 1))


def test_the_next_cell_leads_along_a_cheapest_way() -> None:
    grid = Grid(np.random.default_rng(0).uniform(1, 5, (6, 7)))
    far, after = grid.toward((5, 6))
    for cell in range(41):
        assert far[cell] == pytest.approx(grid.cost.ravel()[after[cell]] + far[after[cell]])


MAPS, WALKS = shown(2)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda b: b.adapt(MAPS, WALKS[:, :5]), "walks .* are none|a walk has the cells of its map"),
        (lambda b: b.adapt(MAPS, torch.zeros_like(WALKS)), "a walk has at least one move"),
        (lambda b: b.adapt(MAPS, WALKS[0, :2]), "walks have shape"),
        (lambda b: b.adapt(MAPS[:, :2], WALKS), "maps have shape"),
        (lambda b: b.adapt(MAPS.flip(0), WALKS), "do not end at the goal|lead through a wall"),
        (lambda b: b.adapt([(np.full((3, 3), 9), (0, 0))], WALKS[:1]), "0 for walls"),
        (lambda b: b.adapt([(np.zeros((3, 3), int), (0, 0))], WALKS[:1]), "goal .0, 0. lies in a wall"),
        (lambda b: b.adapt(torch.full_like(MAPS, torch.nan), WALKS), "hold NaN"),
        (lambda b: b.adapt(3, WALKS), "terrain came as int"),
        (lambda b: walk([(0, 0), (0, 2)], (3, 3)), "jumps"),
        (lambda b: walk([(0, 0), (0, 1), (0, 0)], (3, 3)), "enters one twice|enter one twice"),
        (lambda b: walk([(0, 0), (0, 1)], (1, 1)), "leaves the map"),
        (lambda b: walk([(0, 0)], (1, 1)), "at least two cells"),
    ],
)  # fmt: skip
def test_what_is_no_walk_is_told(call: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        call(TerrainCosts(TerrainEncoder(3)))


def test_impossible_terrain_is_told() -> None:
    with pytest.raises(SettingError, match="costs is"):
        Terrains(costs=(0, 1))
    with pytest.raises(SettingError, match="kinds"):
        Terrains(kinds=1)
    with pytest.raises(UnsupportedError, match=r"adapt a kshot\.control\.TerrainCosts"):
        terrain_planner(kshot.learners.ProtoNet(kshot.encoders.identity(2)).adapt(torch.eye(2), ["a", "b"]))
    assert Walks().to_json() == {"kind": "walks"}
