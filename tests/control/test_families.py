"""Families: our own are solved right, the planning datasets are read by their cost convention."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kshot.control import KINDS, Family, PlanningTasks, draw_family, planning_dataset
from kshot.errors import DataError, SettingError, TaskError
from kshot.seeds import generator

NAMES = ("forest_32", "gaps_and_forest_32", "mazes_32", "shifting_gaps_32", "single_bugtrap_32")


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_maps_are_solved_and_worth_solving(kind: str) -> None:
    family = draw_family(kind, 12, generator(0), 32)
    walls, detours = [], []
    for place in range(len(family)):
        grid, goal = family.problem(place)
        field = family.fields[place].numpy()
        exact = grid.cost_to_go(goal)
        assert np.array_equal(np.where(np.isfinite(exact), exact, -1), field)
        walls.append(1 - grid.free.mean())
        detours.append((field - grid.straight(goal))[field > 0].mean())
    assert 0.01 < np.mean(walls) < 0.75
    assert np.mean(detours) > 0.1, "a map whose straight cost is right teaches nothing"
    again = draw_family(kind, 12, generator(0), 32)
    assert torch.equal(again.maps, family.maps)


@pytest.mark.parametrize("name", NAMES)
def test_dataset_fields_are_our_cost_to_go(name: str, real_data: Callable[[str], Path]) -> None:
    """8 neighbours, every move costs 1, past corners: exactly the stored distances."""
    for split in ("train", "valid", "test"):
        family = planning_dataset(real_data("grid_planning") / f"{name}.npz", split)
        assert len(family) == (800 if split == "train" else 100)
        for place in range(0, len(family), 40):
            grid, goal = family.problem(place)
            exact = grid.cost_to_go(goal)
            assert np.array_equal(np.where(np.isfinite(exact), exact, -1), family.fields[place].numpy())


def test_more_goals_are_solved_anew() -> None:
    family = draw_family("rooms", 3, generator(0), 16)
    more = family.with_goals(2, generator(1))
    assert len(more) == 9
    grid, goal = more.problem(5)
    exact = grid.cost_to_go(goal)
    assert np.array_equal(np.where(np.isfinite(exact), exact, -1), more.fields[5].numpy())
    assert torch.equal(more.maps[3, 0], family.maps[0, 0])


def test_turned_maps_keep_their_fields() -> None:
    family = draw_family("maze", 6, generator(0), 16)
    task = PlanningTasks((family,), shots=2, queries=4).sample(generator(3))
    turned = Family("turned", task.query.inputs, task.query.targets)
    assert not any(torch.equal(turned.maps[0], raw) for raw in family.maps)
    for place in range(4):
        grid, goal = turned.problem(place)
        exact = grid.cost_to_go(goal)
        assert np.array_equal(np.where(np.isfinite(exact), exact, -1), turned.fields[place].numpy())


def test_bad_files_and_settings_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        planning_dataset(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match="no planning dataset"):
        planning_dataset(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", other=np.ones(3))
    with pytest.raises(DataError, match="train_map"):
        planning_dataset(tmp_path / "other.npz")
    with pytest.raises(DataError, match="split is 'all'"):
        planning_dataset(tmp_path / "other.npz", "all")
    with pytest.raises(SettingError, match="kind is 'swamp'"):
        draw_family("swamp", 2, generator(0))
    with pytest.raises(SettingError, match="size is 4"):
        draw_family("maze", 2, generator(0), 4)
    family = draw_family("forest", 3, generator(0), 16)
    with pytest.raises(TaskError, match=r"too few are in .'forest .3.'"):
        PlanningTasks((family,), shots=2, queries=2)
    with pytest.raises(TaskError, match="at least one family"):
        PlanningTasks(())
    with pytest.raises(DataError, match="fields of shape"):
        Family("odd", family.maps, family.fields[:2])
