"""The dynamics model: its algebra against textbook formulas, and a belief that is the batch answer at every step."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pushed import hidden_gain
from torch import Tensor

import kshot
from kshot.control import MPC, Belief, Controller, Dynamics, Fault, Life, Lived, Robots, Transitions
from kshot.control.bodies import ROBOTS
from kshot.errors import DataError, SettingError, TaskError
from kshot.seeds import drawing, generator
from kshot.tasks.spaces import Numbers


def model(directions: int = 3, inputs: int = 4, outputs: int = 2) -> Dynamics:
    with drawing(torch.device("cpu"), 0, "weights"):
        made = Dynamics(
            kshot.encoders.mlp(inputs, (8,), activation="tanh"), outputs, directions, scale=[0.5] * outputs
        )
        for number in (made.log_noise, made.log_trust, made.mean):
            number.data += 0.3 * torch.randn(number.shape)
    return made.eval()


def test_the_posterior_is_that_of_weighted_ridge_regression() -> None:
    """All outputs of all transitions stacked are one linear regression with known noise; solved with numpy."""
    learner = model().double()
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    task = learner.adapt(x, y)
    with torch.no_grad():
        h = torch.cat([learner.encoder(x), torch.ones(6, 1, dtype=torch.float64)], 1)
    mean, basis = learner.mean.detach(), learner.basis.detach()
    design = torch.einsum("nf,fkd->ndk", h, basis).reshape(12, 3).numpy()
    rest = (y / 0.5 - h @ mean).reshape(12).numpy()
    weight = (learner.log_trust - 2 * learner.log_noise).exp().detach().repeat(6).numpy()
    precision = np.eye(3) + design.T @ (weight[:, None] * design)
    expected = np.linalg.solve(precision, design.T @ (weight * rest))
    assert np.allclose(task.state["coefficients"].numpy(), expected)
    answer = task.predict(x[:1])
    noise = (2 * learner.log_noise).exp().detach().numpy()
    spread = np.einsum("dk,kl,dl->d", design[:2], np.linalg.inv(precision), design[:2])
    assert np.allclose(answer.deviations[0], 0.5 * np.sqrt(noise + spread))
    assert np.allclose(answer.values[0], 0.5 * (h[0] @ mean).numpy() + 0.5 * design[:2] @ expected)


def test_more_transitions_make_it_surer() -> None:
    learner = model()
    x, y = torch.randn(40, 4), torch.randn(40, 2)
    few, many = (learner.adapt(x[:n], y[:n]).predict(x[:5]).deviations for n in (2, 40))
    assert (many < few).all()


def test_a_belief_is_what_adapting_to_the_window_gives() -> None:
    learner = model()
    belief = Belief(learner, robots=2, window=5)
    x, y = torch.randn(23, 2, 4), torch.randn(23, 2, 2)
    for step in range(23):
        belief.add(x[step], y[step])
        rows = slice(max(0, step - 4), step + 1)
        for robot in range(2):
            task = learner.adapt(x[rows, robot], y[rows, robot])
            assert torch.allclose(belief.state["coefficients"][robot], task.state["coefficients"], atol=1e-4)
    advance = belief.advance()
    seen, action = torch.randn(2, 7, 2), torch.randn(2, 7, 2)
    for robot in range(2):
        task = learner.adapt(x[-5:, robot], y[-5:, robot])
        expected = task.predict(torch.cat([seen[robot], action[robot]], 1)).values
        assert np.allclose((advance(seen, action) - seen)[robot].numpy(), expected, atol=1e-4)


def test_without_directions_nothing_is_learned() -> None:
    learner = model(directions=0)
    belief = Belief(learner)
    before = belief.advance()(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))
    belief.add(torch.randn(1, 4), torch.randn(1, 2))
    assert torch.equal(before, belief.advance()(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2)))
    x, y = torch.randn(3, 4), torch.randn(3, 2)
    assert np.array_equal(learner.adapt(x, y).predict(x).values, learner.adapt(x, -y).predict(x).values)


def test_what_cannot_be_is_told() -> None:
    encoder = kshot.encoders.mlp(4, (8,))
    with pytest.raises(SettingError, match="directions is -1"):
        Dynamics(encoder, 2, -1)
    with pytest.raises(SettingError, match="give 2 numbers above 0"):
        Dynamics(encoder, 2, scale=[1.0])
    with pytest.raises(SettingError, match="predicts 2 numbers, the targets have 3"):
        model().adapt(torch.zeros(2, 4), torch.zeros(2, 3))
    with pytest.raises(DataError, match="NaN"):
        model().adapt(torch.full((2, 4), torch.nan), torch.zeros(2, 2))
    with pytest.raises(SettingError, match="window is 0"):
        Belief(model(), window=0)


def test_training_teaches_to_adapt() -> None:
    """On new points it predicts far better than a model free of context, and a few transitions are enough."""
    train, test = hidden_gain(60, 0), hidden_gain(20, 1)
    errors = {}
    for directions in (4, 0):
        with drawing(torch.device("cpu"), 0, "weights"):
            start = Dynamics(kshot.encoders.mlp(4, (48,)), 2, directions, train.scales()["scale"])
        run = kshot.fit(start, train, steps=110, meta_batch=16, rate=0.01, clip=1.0, executor="vmap",
                        progress=False)  # fmt: skip
        errors[directions] = kshot.evaluate(run.learner, test, tasks=20).mean
    assert errors[4] < 0.75 * errors[0]


def test_planning_finds_the_way() -> None:
    """A point with inertia that is to stop at 1: both ways of planning do far better than doing nothing."""

    def advance(seen: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        place, speed = seen[..., :1], seen[..., 1:]
        speed = 0.9 * speed + 0.3 * action
        return torch.cat([place + speed, speed], -1)

    def reward(action: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        return -(after[..., 0] - 1).abs()

    for way in ("mppi", "cem"):
        mpc, rng = MPC(way=way, plans=64, horizon=8), generator(0)
        seen, plan = torch.zeros(3, 2), mpc.start(3, 1)
        for _ in range(15):
            plan = mpc.plan(advance, reward, seen, plan, rng)
            assert bool((plan.abs() <= 1).all())
            seen = advance(seen[:, None], plan[:, :1])[:, 0]
            plan = mpc.shifted(plan)
        assert bool((seen[:, 0] - 1).abs().max() < 0.4), way


def test_plans_stay_within_the_motors() -> None:
    """A mean of plans that are all at the limit must not round to beyond it."""
    mpc, at_limit = MPC(plans=33, horizon=40, temperature=5.0, spread=0.01), torch.full((1, 40, 6), 10.0)
    plan = mpc.improved(lambda tried: torch.arange(33.0)[None].sin(), at_limit, generator(0))
    assert float(plan.abs().max()) <= 1


@pytest.mark.parametrize(
    "settings", [{"way": "grid"}, {"plans": 1}, {"spread": 0}, {"smooth": 1}, {"elites": 0}]
)
def test_impossible_plans_are_told(settings: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=next(iter(settings))):
        MPC(**settings)  # type: ignore[arg-type]


def test_stretches_never_cross_a_change() -> None:
    """The observation counts steps, so a stretch shows where it was cut from."""
    steps = torch.arange(31.0).expand(1, 31)
    lived = Lived(steps[..., None].expand(-1, -1, 17), torch.zeros(1, 30, 6), torch.zeros(1, 30))
    fault = Fault(payload=2.0)
    found = Transitions.of(lived, [Life(0, fault, at=12)], 6, shots=(2,), queries=4)
    assert found.inputs[:, 0, 0].tolist() == [0, 6, 12, 18, 24]
    assert torch.equal(found.parameters[1], Fault().numbers(6))
    assert torch.equal(found.parameters[2], fault.numbers(6))
    assert bool((found.changes == 1).all())
    with pytest.raises(TaskError, match="length is 40"):
        Transitions.of(lived, [Life(0)], 40)
    with pytest.raises(TaskError, match="longer stretches"):
        Transitions.of(lived, [Life(0)], 6, shots=(4,), queries=4)


def test_stretches_are_cut() -> None:
    source = hidden_gain(3, 0)
    cut, length = source.cut(8), source.inputs.shape[1]
    assert len(cut) == 3 * (length // 8)
    assert torch.equal(cut.inputs[1], source.inputs[0, 8:16])
    assert torch.equal(cut.parameters[-1], source.parameters[-1])
    with pytest.raises(TaskError, match="length is 1000"):
        source.cut(1000)


def test_a_controller_shows_its_task() -> None:
    family = Robots(steps=4)
    learner = model(inputs=23, outputs=17)
    controller = Controller(
        learner, ROBOTS["half_cheetah"], MPC(plans=8, horizon=2), generator=generator(0), window=3
    )
    with pytest.raises(DataError, match="0 transitions"):
        controller.task()
    seen = torch.randn(5, 1, 17)
    for before, after in itertools.pairwise(seen):
        controller.observe(before, controller.act(before), after)
    task = controller.task()
    assert len(task) == 3
    assert isinstance(task.space, Numbers)
    assert torch.allclose(task.state["coefficients"], controller.belief.state["coefficients"][0], atol=1e-3)
    assert family.body.observations == 17


@pytest.mark.parametrize("name", ["context encoder", "gradient"])
def test_other_learners_predict_transitions_too(name: str) -> None:
    """A context encoder, and the gradient step of GrBAL, by the same source and the same `fit`."""
    makers: dict[str, Callable[[], kshot.Learner]] = {
        "context encoder": lambda: kshot.learners.NeuralProcess(
            kshot.encoders.mlp(4, (16,)), dims=2, width=16
        ),
        "gradient": lambda: kshot.learners.maml(kshot.encoders.mlp(4, (16,)), outputs=2, rate=0.01),
    }
    source = hidden_gain(10, 0)
    with drawing(torch.device("cpu"), 0, "weights"):
        start = makers[name]()
    run = kshot.fit(start, source, steps=3, meta_batch=2, progress=False)
    task = run.learner.adapt(source.inputs[0, :8], source.changes[0, :8], space=Numbers(2))
    assert task.predict(source.inputs[0, 8:10]).values.shape == (2, 2)


def test_plans_followed_are_worth_what_each_step_earns() -> None:
    mpc, rng = MPC(plans=400, horizon=5, smooth=0.6), generator(0)
    plan = mpc.start(2, 3)
    tried = mpc.around(plan, rng)

    def advance(seen: Tensor, action: Tensor) -> Tensor:
        return 0.9 * seen + action

    def reward(action: Tensor, after: Tensor) -> Tensor:
        return after[..., 0] - action.square().sum(-1)

    seen = torch.randn(2, 3, generator=rng)
    followed = mpc.followed(advance, seen, tried)
    assert followed.shape == tried.shape
    found = reward(tried, followed).sum(-1)
    assert torch.allclose(found, mpc.worth(advance, reward, seen, tried), atol=1e-5)


def test_noise_keeps_its_deviation_and_its_correlation() -> None:
    """Where nothing is cut off: from step to step `smooth` of it is kept."""
    mpc = MPC(plans=20_000, horizon=6, spread=0.1, smooth=0.6)
    noise = mpc.around(mpc.start(1, 2), generator(0))[0]
    assert torch.equal(noise[0], torch.zeros(6, 2))
    assert torch.allclose(noise.std(0), torch.tensor(0.1), atol=2e-3)
    for step in range(5):
        kept = torch.corrcoef(torch.stack([noise[:, step, 0], noise[:, step + 1, 0]]))[0, 1]
        assert abs(float(kept) - 0.6) < 0.02
