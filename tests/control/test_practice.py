"""Practice, tiny: it lives, learns, resumes in the same bits; agents and reasons on what it trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kshot
from kshot.control import (
    MPC,
    Anchored,
    Bandits,
    Controller,
    Dynamics,
    Fault,
    Handover,
    Life,
    Practice,
    Practised,
    RobotAgent,
    Robots,
    Shaking,
    Transitions,
    controlled,
    live,
    robot_env,
    steer,
    why,
)
from kshot.control.reasons import reasons_picture, recovery_picture
from kshot.control.simulated import Rehearsal, SimulatorControl
from kshot.errors import BundleError, DataError, SettingError, UnsupportedError
from kshot.seeds import generator

PNG = b"\x89PNG\r\n\x1a\n"
FAMILY = Robots(steps=24)
SMALL = MPC(plans=8, horizon=3)
TINY = Practice(
    simulated=1, shaken=3, rounds=2, lives=2, length=12, first=2, steps=2, last=3, hidden=(8,),
    rows=24, mpc=SMALL, simulator=SMALL, recalled=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("practice")


@pytest.fixture(scope="module")
def models(folder: Path) -> dict[str, Dynamics]:
    return Practised(FAMILY, TINY, folder=folder).run()


def test_it_goes_on_in_the_same_bits(models: dict[str, Dynamics], folder: Path) -> None:
    """Lives and trainings that are there are not done again, those that are gone are, to the same bits."""
    for gone in ("lives-1-plain.safetensors", "fit-last-0-more-told/learner.kshot"):
        (folder / gone).unlink()
    said: list[str] = []
    again = Practised(FAMILY, TINY, folder=folder, told=said.append).run()
    assert sum("found in" in text for text in said) == 7
    for name, model in models.items():
        for key, tensor in model.state_dict().items():
            assert torch.equal(tensor, again[name].state_dict()[key]), (name, key)
    assert models["adaptive"].directions == 8
    assert models["plain"].directions == 0
    assert models["told"].encoder.config()["inputs"] == 23


def test_other_seeds_share_the_lives(models: dict[str, Dynamics], folder: Path) -> None:
    said: list[str] = []
    practised = Practised(FAMILY, TINY, folder=folder, told=said.append)
    lived = practised.gather()
    assert len(lived) == 2 * (1 + 3 + 2 * 3 * 2)
    assert not any("loss" in text for text in said), (
        "models of the rounds only gather lives, and these are there"
    )
    other = practised.anew(1)["plain"]
    assert not torch.equal(other.mean, models["plain"].mean)


def test_practice_goes_on_from_trained_models(models: dict[str, Dynamics]) -> None:
    """With rates of nothing they come back as they were, to rounding; and those that cannot go on are told."""
    adaptive = models["adaptive"]
    back = Anchored.of(adaptive).adaptive()
    for name, tensor in back.state_dict().items():
        if name != "log_trust":
            assert torch.equal(tensor, adaptive.state_dict()[name]), name
    still = replace(TINY, simulated=0, rounds=1, settings={**TINY.settings, "rate": 1e-12})
    found = Practised(FAMILY, still, start=models).run()
    x, y = torch.rand(6, 23), torch.rand(6, 17)
    for name in ("adaptive", "plain"):
        both = [m.adapt(x, y).predict(x).values for m in (found[name], models[name])]
        assert np.allclose(*both, atol=1e-4), name
    with pytest.raises(SettingError, match="give the models adaptive and plain"):
        Practised(FAMILY, start={"plain": models["plain"]})
    with pytest.raises(SettingError, match="no parameters with a name"):
        Anchored.of(models["plain"])


def test_a_trained_model_is_evaluated_by_controlling(models: dict[str, Dynamics]) -> None:
    report = kshot.evaluate(models["adaptive"], Robots(steps=3), tasks=2)
    assert np.isfinite(report.mean)
    with pytest.raises(UnsupportedError, match="is no robot"):
        kshot.evaluate(models["adaptive"], Bandits(3, 5), tasks=2)
    with pytest.raises(UnsupportedError, match="ant has 27"):
        kshot.evaluate(models["adaptive"], Robots(robot="ant", steps=3), tasks=2)


def test_an_oracle_is_told_when_the_fault_comes(models: dict[str, Dynamics]) -> None:
    lives = [Life(0, Fault(friction=0.5), at=2), Life(1, Fault(payload=2.0))]
    acting: Any
    acting, tell = controlled(models["told"], "told", FAMILY, lives, SMALL, generator(0))
    known = []

    def watch(step: int, envs: list[Any]) -> None:
        tell(step, envs)
        known.append(acting.known[:, 6:].exp().tolist())

    live(FAMILY, lives, acting, steps=4, at_step=watch)
    assert np.allclose(known, [[[1, 1], [2, 1]]] * 2 + [[[1, 0.5], [2, 1]]] * 2)


def test_who_takes_over_starts_from_the_same_state(models: dict[str, Dynamics]) -> None:
    lives, lived = [Life(0, Fault(payload=2.0), at=4)], []
    for name in ("plain", "adaptive"):
        first, _ = controlled(models["plain"], "plain", FAMILY, lives, SMALL, generator(0))
        then, _ = controlled(models[name], name, FAMILY, lives, SMALL, generator(1))
        lived.append(live(FAMILY, lives, Handover(first, then, 4), steps=8).seen[0])
    assert isinstance(then, Controller)
    assert then.belief.seen == 8  # it has watched from the start
    assert torch.equal(lived[0][:5], lived[1][:5])
    assert not torch.equal(lived[0][-1], lived[1][-1])


def test_what_is_rehearsed_is_what_would_have_come() -> None:
    fault = Fault(strength=(1, 0.2, 1, 1, 1, 1))
    env = robot_env(FAMILY, Life(0, fault))
    env.reset()
    env.step(np.full(6, 0.3))
    state = env.snapshot()
    rehearsal = Rehearsal(SMALL, 5, 1.0, generator(0))
    rehearsal.watch([env], SMALL.start(1, 6))
    found = rehearsal.transitions(shots=(1,), queries=1)
    assert found.inputs.shape == (5, 3, 23)
    assert torch.equal(found.parameters, fault.numbers(6).expand(5, -1))
    for inputs, changes in zip(found.inputs, found.changes, strict=True):
        env.restore(state)
        after = [env.step(row[17:].double().numpy())[0] for row in inputs]
        assert np.allclose(inputs[:, :17] + changes, np.array(after), atol=1e-4)


def test_other_faults_are_rehearsed_too() -> None:
    env = robot_env(FAMILY, Life(0, Fault(payload=2.0)))
    env.reset()
    rehearsal = Rehearsal(SMALL, 2, 1.0, generator(0), replace(FAMILY, kinds=("friction",)), others=0.5)
    for _ in range(12):
        rehearsal.watch([env], SMALL.start(1, 6))
    found = rehearsal.transitions(shots=(1,), queries=1)
    own = (found.parameters == env.fault.numbers(6)).all(1)
    assert 0 < own.sum() < len(own)
    assert (found.parameters[~own, 7] < 0).all()
    assert (found.parameters[~own, 6] == 0).all()
    assert env.fault == Fault(payload=2.0)


@pytest.mark.parametrize("robot", ["half_cheetah", "ant"])
def test_what_is_recalled_is_what_would_have_come(robot: str) -> None:
    """From observations alone: a robot put there goes on as the one that lived, and under other faults otherwise."""
    family = Robots(robot=robot, steps=10, kinds=("payload",), payload=(3.0, 4.0))
    joints, size = len(family.body.joints), family.body.observations
    lives = [Life(0, Fault(friction=2.0))]
    lived = Transitions.of(
        live(family, lives, Shaking(1, joints, generator(0))), lives, 5, shots=(1,), queries=1
    )
    rehearsal = Rehearsal(SMALL, 2, 1.0, generator(0), family, others=0.5)
    rehearsal.recall(lived)
    found = rehearsal.transitions(shots=(1,), queries=1)
    assert found.inputs.shape == (20, 3, size + joints)
    first = found.inputs[::2]  # of each two plans, what was done itself
    steps = torch.cat([lived.inputs[0], lived.inputs[1]])
    assert torch.allclose(first[:, 0, size:], steps[:, size:])
    own = torch.isclose(found.parameters[::2], lived.parameters[0]).all(1)
    assert 0 < own.sum() < len(own)
    assert (found.parameters[::2][~own, joints].exp() > 2.9).all()
    changes = torch.cat([lived.changes[0], lived.changes[1]])
    off = (found.changes[::2, 0] - changes).abs().amax(1)
    assert off[own].max() < 1e-3 * changes.abs().max()
    assert off[~own].min() > 1e-2


def test_being_wrong_about_the_fault_is_another_plan() -> None:
    lives, found = [Life(0, Fault(payload=3.0))], []
    for believed in (None, Fault(payload=3.0), Fault()):
        planner = SimulatorControl(FAMILY.body, SMALL, generator(0), believed)
        found.append(live(FAMILY, lives, planner, steps=4, at_step=planner.meet).actions)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_reasons_are_those_of_adapting_without_each(models: dict[str, Dynamics], folder: Path) -> None:
    learner = models["adaptive"]
    lived = Practised(FAMILY, TINY, folder=folder).gather()
    x, y = lived.inputs[0, :6], lived.changes[0, :6]
    task = learner.adapt(x, y)
    told = why(task)
    without = task.without({2})
    gone = without.state["coefficients"] - task.state["coefficients"]
    expected = float((gone @ task.state["precision"] @ gone).sqrt())
    assert told.moved[2] == pytest.approx(expected, rel=1e-3)
    assert np.allclose(told.without[2] * learner.scale, without.predict(x[2:3]).values[0], atol=1e-3)
    assert np.allclose(told.seen * learner.scale, y, atol=1e-3)
    assert told.strongest(1)[0][1] == pytest.approx(told.moved.max())
    assert reasons_picture(told).startswith(PNG)
    with pytest.raises(UnsupportedError, match="no coefficients"):
        why(models["plain"].adapt(x, y))


def test_the_recovery_is_drawn() -> None:
    rewards = {
        name: np.random.default_rng(0).normal(size=(3, 60)) for name in ("adaptive", "plain", "oracle")
    }
    assert recovery_picture(rewards, rewards, 30, "a joint breaks").startswith(PNG)


def test_an_agent_adapts_while_it_acts(models: dict[str, Dynamics], tmp_path: Path) -> None:
    agent = RobotAgent(FAMILY, models["adaptive"], SMALL, window=5)
    rewards = steer(robot_env(FAMILY, Life(0)), agent, 8, seed=0)
    assert len(rewards) == 8
    assert len(agent.task()) == 5
    learned = agent.task()
    agent.save(tmp_path / "agent.kshot")
    other = RobotAgent.load(tmp_path / "agent.kshot", FAMILY, SMALL)
    lived = torch.cat([torch.as_tensor(learned.inputs), torch.as_tensor(learned.targets)], 1).numpy()
    other.adapt(lived[:, :17], lived[:, 17:23], lived[:, :17] + lived[:, 23:])
    assert np.allclose(other.task().state["coefficients"], learned.state["coefficients"], atol=1e-2)
    agent.reset_task()
    with pytest.raises(DataError, match="0 transitions"):
        agent.task()


def test_an_agent_learns(tmp_path: Path) -> None:
    agent = RobotAgent(FAMILY, mpc=SMALL)
    with pytest.raises(UnsupportedError, match="call learn"):
        agent.predict(np.zeros(17))
    with pytest.raises(SettingError, match="at least 144"):
        agent.learn(100, practice=TINY)
    assert agent.learn(150, practice=TINY).predict(np.zeros(17))[0].shape == (6,)


class Malformed:
    """An environment that breaks one rule."""

    def __init__(self, **broken: Any) -> None:
        self.env, self.broken = robot_env(FAMILY, Life(0)), broken
        self.action_space = broken.get("space", self.env.action_space)

    def reset(self, **_: Any) -> Any:
        return self.broken.get("reset", self.env.reset())

    def step(self, action: Any) -> Any:
        given = self.env.step(action)
        return self.broken["step"](given) if "step" in self.broken else given


@pytest.mark.parametrize(
    ("broken", "kind", "message"),
    [
        ({"reset": np.zeros(17)}, DataError, r"reset\(\) gave ndarray; gymnasium's gives a pair"),
        ({"reset": (np.zeros(16), {})}, DataError, "shape .16,.; this model takes .17."),
        ({"reset": ("nothing", {})}, DataError, "gave str; an observation is an array"),
        ({"step": lambda given: given[:4]}, DataError, "step 0 gave 4 values"),
        (
            {"step": lambda given: (given[0] * np.nan, *given[1:])},
            DataError,
            "NaN or infinite numbers at .0, 1",
        ),
        ({"step": lambda given: (given[0], None, *given[2:])}, DataError, "the reward None"),
        ({"space": Bandits(6, 5).actions}, UnsupportedError, "6 continuous numbers"),
    ],
)
def test_malformed_environments_are_told(
    models: dict[str, Dynamics], broken: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        steer(Malformed(**broken), RobotAgent(FAMILY, models["adaptive"], SMALL), 3)


def test_discrete_and_scaled_actions_are_told(models: dict[str, Dynamics]) -> None:
    import gymnasium

    agent = RobotAgent(FAMILY, models["adaptive"], SMALL)
    for space, message in (
        (gymnasium.spaces.Discrete(6), "6 continuous numbers"),
        (gymnasium.spaces.Box(-0.4, 0.4, (6,)), "rescale"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            steer(Malformed(space=space), agent, 3)


def test_what_an_agent_cannot_take_is_told(models: dict[str, Dynamics], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="ant has 27 in an observation"):
        RobotAgent(Robots(robot="ant"), models["adaptive"])
    agent = RobotAgent(FAMILY, models["adaptive"], SMALL)
    with pytest.raises(DataError, match="actions has shape"):
        agent.adapt(np.zeros((3, 17)), np.zeros((3, 5)), np.zeros((3, 17)))
    with pytest.raises(DataError, match="give as many"):
        agent.adapt(np.zeros((3, 17)), np.zeros((2, 6)), np.zeros((3, 17)))
    proto = kshot.learners.ProtoNet(kshot.encoders.mlp(2, (4,)))
    kshot.learners.save_learner(proto, tmp_path / "other.kshot")
    with pytest.raises(BundleError, match="holds a ProtoNet"):
        RobotAgent.load(tmp_path / "other.kshot", FAMILY)
    with pytest.raises(SettingError, match="some life to begin with"):
        Practice(simulated=0, shaken=0)
    with pytest.raises(SettingError, match="at least one plan"):
        Practice(rehearsed=(0, 0.5), recalled=1)
    with pytest.raises(SettingError, match="choose some of adaptive"):
        Practised(FAMILY, models=("best",))
