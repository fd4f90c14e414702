"""Robots that break: the families, the environments that outside checkers accept, and what they refuse."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from kshot.control import Fault, Life, Robots, robot_env
from kshot.control.bodies import ROBOTS
from kshot.errors import DataError, MissingExtraError, SettingError
from kshot.seeds import generator
from kshot.testing import check_task_source

FAMILY = Robots(steps=30, change=(5, 20))


@pytest.mark.parametrize("robot", ["half_cheetah", "ant"])
def test_outside_checkers_accept_them(robot: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stable_baselines3.common.env_checker import check_env as check_for_baselines

    monkeypatch.chdir(tmp_path)
    env = robot_env(Robots(robot=robot, steps=12, change=(2, 8)))
    with warnings.catch_warnings():
        # observations have no limits, as those of gymnasium's own robots
        warnings.filterwarnings("ignore", message=".*A Box observation space")
        check_env(env, skip_render_check=True)
    check_for_baselines(env)
    assert not list(tmp_path.iterdir()), "MuJoCo writes its warnings into a file beside you"


def test_it_is_a_task_source() -> None:
    check_task_source(Robots(steps=5))


def test_a_whole_robot_is_gymnasiums_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where MuJoCo writes its warnings about theirs
    env, theirs = robot_env(FAMILY, Life(3, at=99)), gymnasium.make("HalfCheetah-v5").unwrapped
    ours, rng = env.reset()[0], np.random.default_rng(0)
    assert np.array_equal(ours, theirs.reset(seed=3)[0])
    for _ in range(20):
        action = rng.uniform(-1, 1, 6)
        one, other = env.step(action), theirs.step(action)
        assert np.array_equal(one[0], other[0])
        assert one[1] == pytest.approx(other[1])


@pytest.mark.parametrize(
    "fault", [Fault(strength=(1, 1, 0, 1, 1, 1)), Fault(payload=3.0), Fault(friction=0.2)], ids=str
)
def test_a_fault_comes_at_its_step_and_is_repaired_at_reset(fault: Fault) -> None:
    broken, whole = robot_env(FAMILY, Life(0, fault, at=10)), robot_env(FAMILY, Life(0, at=99))
    rng = np.random.default_rng(1)
    for _ in range(2):  # the second life begins whole again
        assert np.array_equal(broken.reset()[0], whole.reset()[0])
        actions = rng.uniform(-1, 1, (30, 6))
        seen = [np.array([env.step(action)[0] for action in actions]) for env in (broken, whole)]
        assert np.array_equal(seen[0][:10], seen[1][:10])
        assert not np.allclose(seen[0][-1], seen[1][-1])
        assert broken.fault == fault


def test_a_dead_joint_does_not_hear_its_motor() -> None:
    env = robot_env(FAMILY, Life(0, Fault(strength=(1, 1, 0, 1, 1, 1))))
    ends = []
    for push in (-1.0, 1.0):
        env.reset()
        ends.append([env.step(np.array([0, 0, push, 0, 0, 0.0]))[0] for _ in range(5)][-1])
    assert np.array_equal(*ends)


def test_a_state_is_put_back_exactly() -> None:
    env, rng = robot_env(FAMILY, Life(0, Fault(payload=2.0))), np.random.default_rng(0)
    env.reset()
    for _ in range(7):
        env.step(rng.uniform(-1, 1, 6))
    state, actions = env.snapshot(), rng.uniform(-1, 1, (8, 6))
    first = [env.step(action)[0] for action in actions]
    env.restore(state)
    assert np.array_equal(first, [env.step(action)[0] for action in actions])


def test_seeds_decide_everything() -> None:
    env = robot_env(FAMILY)
    lives = []
    for seed in (4, 4, 5):
        env.reset(seed=seed)
        lives.append(env.life)
    assert lives[0] == lives[1] != lives[2]


def test_faults_lie_in_their_ranges() -> None:
    family = Robots(whole=0.2, joints=(1, 4), strength=(0.3, 0.6), payload=(2, 3), friction=(0.5, 0.7))
    drawn = [family.draw(generator(seed)) for seed in range(200)]
    weak = {(j, s) for fault in drawn for j, s in enumerate(fault.strength) if s < 1}
    assert {j for j, _ in weak} == {1, 4}
    assert all(0.3 <= s <= 0.6 for _, s in weak)
    assert all(2 <= fault.payload <= 3 for fault in drawn if fault.payload != 1)
    assert all(0.5 <= fault.friction <= 0.7 for fault in drawn if fault.friction != 1)
    assert 15 < sum(fault == Fault() for fault in drawn) < 70


def test_a_wanted_velocity_is_what_is_rewarded() -> None:
    env = robot_env(Robots(steps=5, target=(1.0, 1.0)))
    env.reset(seed=0)
    after, reward, *_ = env.step(np.zeros(6))
    assert reward == pytest.approx(-abs(after[8] - 1.0))


def test_leaning_costs_plans_and_no_rewards() -> None:
    for robot in ROBOTS.values():
        after = torch.zeros(2, robot.observations)
        after[1, robot.lean[0]] = 0.5
        action = torch.zeros(2, len(robot.joints))
        assert float(robot.reward(action, after).diff()) == 0
        assert float(robot.objective(action, after).diff()) == pytest.approx(-0.25 * robot.lean_cost)


@pytest.mark.parametrize(
    "action", [np.full(6, 1.5), np.full(6, np.nan), np.zeros(5), ["x"] * 6, None], ids=repr
)
def test_an_action_that_is_none_is_refused(action: object) -> None:
    env = robot_env(FAMILY)
    with pytest.raises(DataError, match="before reset"):
        env.step(np.zeros(6))
    env.reset(seed=0)
    with pytest.raises(DataError, match="the action is"):
        env.step(action)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"robot": "mouse"}, "robot is 'mouse'; choose one of half_cheetah, ant"),
        ({"kinds": ("rust",)}, "kinds is"),
        ({"joints": (6,)}, "joints 0..5"),
        ({"payload": (0, 2)}, "payload is"),
        ({"strength": (0.9, 0.1)}, "strength is"),
        ({"steps": 10, "change": (3, 10)}, "a change lies within the episode"),
    ],
)
def test_impossible_families_are_told(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Robots(**settings)  # type: ignore[arg-type]


def test_impossible_faults_are_told() -> None:
    with pytest.raises(SettingError, match=r"each joint has one in 0\.\.1"):
        Fault(strength=(1.5,))
    with pytest.raises(SettingError, match="factors above 0"):
        Fault(friction=0)
    with pytest.raises(SettingError, match="has 2 numbers; this robot has 6 joints"):
        robot_env(FAMILY, Life(0, Fault(strength=(1.0, 0.5)))).reset()


def test_a_broken_mujoco_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after metaworld has put another version over it: importing it fails with an OSError."""

    (tmp_path / "mujoco").mkdir()
    (tmp_path / "mujoco" / "__init__.py").write_text("raise OSError('libmujoco.so.4.0.0: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mujoco"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"libmujoco.so.4.0.0.*metaworld.*kshot\[mujoco\]"):
        robot_env(FAMILY)


def test_without_mujoco_the_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(MissingExtraError, match=r"kshot\[mujoco\]"):
        robot_env(FAMILY)


def test_a_policy_in_a_task_is_scored() -> None:
    task = FAMILY.sample(generator(0))
    assert task.score(lambda seen: torch.zeros(6), generator(0)) == pytest.approx(
        task.score(lambda seen: torch.zeros(6), generator(1))
    )
    lived = task.collect(None, generator(0))
    assert lived.inputs.shape == (30, 23)
    assert lived.targets.shape == (30, 17)
    with pytest.raises(DataError, match="lies in"):
        task.score(lambda seen: torch.full((6,), 2.0), generator(0))
