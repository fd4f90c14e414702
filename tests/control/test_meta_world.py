"""Meta-World's scenes as tasks. They need an environment of their own, see `kshot.control.meta_world`; bad input is told in any."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from kshot.control.meta_world import ACTIONS, GOAL, Scenes, Shown
from kshot.errors import DataError, MissingExtraError, SettingError, TaskError
from kshot.seeds import generator
from kshot.tasks import Examples

HERE = importlib.util.find_spec("metaworld") is not None
only_there = pytest.mark.skipif(
    not HERE, reason="metaworld is not installed: it breaks kshot[mujoco] beside it"
)


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    import metaworld

    return Scenes(metaworld.ML1("reach-v3", seed=0))


@only_there
@pytest.mark.filterwarnings("ignore:Constant")
def test_the_expert_reaches_a_goal_that_is_not_seen(scenes: Scenes) -> None:
    assert len(scenes) == 50
    found = [scenes.shown(place, generator(0)) for place in (0, 1)]
    assert all(1 < len(one) < scenes.steps for one in found), "episodes end where the expert has reached it"
    assert float(torch.cat([one.inputs[:, GOAL] for one in found]).abs().max()) == 0
    assert found[0].targets.shape[1] == ACTIONS
    assert not torch.equal(found[0].targets[:5], found[1].targets[:5]), (
        "goals differ, and so do the ways to them"
    )
    again = scenes.shown(0, generator(1))
    assert torch.equal(again.inputs, found[0].inputs), "a scene is the same each time"


@only_there
@pytest.mark.filterwarnings("ignore:Constant")
def test_what_was_shown_can_be_played_again_and_doing_nothing_fails(scenes: Scenes) -> None:
    left = iter(scenes.shown(3, generator(0)).targets)
    assert scenes.succeeds(3, lambda seen: next(left, torch.zeros(ACTIONS)))
    assert not scenes.succeeds(3, lambda seen: torch.zeros(ACTIONS))
    with pytest.raises(DataError, match="step 0: the action is"):
        scenes.succeeds(3, lambda seen: torch.full((ACTIONS,), torch.nan))


@only_there
def test_what_is_no_scene_is_told(scenes: Scenes) -> None:
    with pytest.raises(TaskError, match="scene 50 was asked for"):
        scenes.scene(50)


@pytest.mark.skipif(HERE, reason="metaworld is installed")
def test_without_it_the_extra_is_told() -> None:
    with pytest.raises(MissingExtraError, match=r"kshot\[metaworld\]"):
        Scenes(SimpleNamespace(train_classes={}, train_tasks=()))


def test_no_benchmark_and_no_split_are_told() -> None:
    with pytest.raises(DataError, match=r"benchmark is int; give one of Meta-World"):
        Scenes(3)
    with pytest.raises(SettingError, match="split is 'validation'"):
        Scenes(3, "validation")
    with pytest.raises(TaskError, match="1 straight and 0 led astray"):
        Shown([Examples(torch.zeros(2, 39), torch.zeros(2, ACTIONS))], [])


def test_recorded_episodes_are_tasks_of_one_scene_each() -> None:
    """Support of a straight episode, query of the one that was led astray in the same scene; numbers tell which is which."""
    straight, astray = (
        [Examples(torch.full((9, 39), shift + n), torch.full((9, ACTIONS), shift + n)) for n in range(6)]
        for shift in (0.0, 100.0)
    )
    both = Shown(straight[:3], astray[:3], shots=4, queries=5) + Shown(straight[3:], astray[3:])
    rng, met = generator(0), set()
    for _ in range(30):
        task = both.sample(rng)
        assert task.support is not None
        assert task.query is not None
        assert (task.support.inputs.shape, task.query.targets.shape) == ((4, 39), (5, ACTIONS))
        scene = {float(x) for x in task.support.inputs.unique()} | {
            float(x) - 100 for x in task.query.targets.unique()
        }
        assert len(scene) == 1
        met |= scene
    assert len(met) == 6, "scenes that were added are drawn, too"
