"""What `fit` promises: schedules, early stop, averaging, clipping, precision, and a start left alone."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

import kshot
from kshot.data import Episodes, Mixed, Pool
from kshot.errors import SettingError
from kshot.evaluation import evaluate
from kshot.learners import Learner
from kshot.learners.records import fingerprint
from kshot.tasks import NWayKShot, Task, VariableWayShot
from kshot.training import Settings, TrainingDivergedError
from kshot.training.loop import Training


def pool(classes: range, shape: tuple[int, ...] = (6,), each: int = 8) -> Pool:
    rng = torch.Generator().manual_seed(5)
    centres = torch.rand(30, *shape, generator=rng)
    rows = [(centres[c] + 0.25 * torch.randn(each, *shape, generator=rng)).clamp(0, 1) for c in classes]
    return Pool(torch.cat(rows), [c for c in classes for _ in range(each)])


def source(classes: range = range(20), shape: tuple[int, ...] = (6,), shots: int = 1) -> Episodes:
    return Episodes(pool(classes, shape), NWayKShot(3, shots, 3))


def unseen(shape: tuple[int, ...] = (6,)) -> Episodes:
    return source(range(20, 30), shape)


def protonet() -> Learner:
    torch.manual_seed(0)
    return kshot.learners.ProtoNet(kshot.encoders.mlp(6, (16,)))


def fit(start: Learner | None = None, train: Any = None, **changes: Any) -> kshot.Run:
    settings = {"steps": 20, "validate_every": 5, "validation_tasks": 10, "rate": 0.01, "progress": False}
    return kshot.fit(start or protonet(), train or source(), **{**settings, **changes})


# ---- what it leaves alone


def test_the_given_learner_and_the_global_generator_stay_as_they_were() -> None:
    start = protonet().eval()
    before, drawn = copy.deepcopy(start.state_dict()), torch.get_rng_state()
    run = fit(start, validate=unseen())
    assert all(torch.equal(before[name], value) for name, value in start.state_dict().items())
    assert not start.training
    assert all(p.grad is None for p in start.parameters())
    assert torch.equal(drawn, torch.get_rng_state())
    assert fingerprint(run.learner) != fingerprint(start)


def test_the_result_is_another_base_than_the_start() -> None:
    start = protonet()
    start.name, start.card = "glyphs", {"classes": ["a"]}
    run = fit(start, validate=unseen())
    assert run.learner.name == ""
    assert run.learner.card["how"]["settings"]["steps"] == 20
    assert run.learner.card["validation"]["n_tasks"] == 10
    assert (start.name, start.card) == ("glyphs", {"classes": ["a"]})


@dataclass
class Recording:
    """A source that remembers what it gave out."""

    inside: Episodes
    given: list[torch.Tensor] = field(default_factory=list)

    def sample(self, generator: torch.Generator) -> Task:
        task = self.inside.sample(generator)
        assert task.support is not None
        self.given.append(task.support.inputs)
        return task


def test_every_validation_sees_the_tasks_of_its_seed_and_no_others() -> None:
    seen = Recording(unseen())
    run = fit(validate=seen, seed=7, validation_tasks=4)
    rng = kshot.seeds.generator(7, "evaluate")
    expected = [unseen().sample(rng).support.inputs for _ in range(4)]
    windows = [seen.given[k : k + 4] for k in range(len(seen.given) - 3)]
    assert sum(all(map(torch.equal, window, expected)) for window in windows) == 4  # one per validation
    assert len(seen.given) == 4 * 4 + 1 + 4  # and one to see which metric is better, and four to calibrate
    report = evaluate(run.learner, unseen(), tasks=4, seed=7)
    assert run.best is not None
    assert run.best.values == report.values


def test_a_run_depends_on_its_seed_alone() -> None:
    torch.manual_seed(1)
    first = fit(seed=1)
    torch.manual_seed(2)
    assert fingerprint(fit(seed=1).learner) == fingerprint(first.learner)
    assert fingerprint(fit(seed=2).learner) != fingerprint(first.learner)


# ---- settings


def test_schedules() -> None:
    def rates(schedule: str) -> list[float]:
        return [e["rate"] for e in fit(schedule=schedule, rate=0.1, validate_every=5).history]

    assert rates("constant") == [0.1] * 4
    cosine = [0.05 * (1 + math.cos(math.pi * k / 4)) for k in (1, 2, 3, 4)]
    assert rates("cosine") == pytest.approx(cosine)
    assert rates("step") == pytest.approx([0.1 / 2**2, 0.1 / 2**5, 0.1 / 2**7, 0.1 / 2**10])


def test_the_schedule_reaches_the_weights() -> None:
    """One step at rate 0 of the cosine's end moves nothing: the last of two steps has half the rate."""
    training = Training(protonet(), source(), None, None, Settings(steps=2, rate=0.5))
    training.run()
    assert training.optimizer.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize("patience", [1, 2])
def test_training_stops_early_when_validation_does_not_improve(patience: int) -> None:
    run = fit(validate=unseen(), steps=100, rate=1e-12, patience=patience, schedule="constant")
    assert [e["step"] for e in run.history] == [5.0 * k for k in range(1, 2 + patience)]
    assert run.learner.card["steps"] == 5


def test_the_best_validation_is_kept_and_not_the_last() -> None:
    scores: list[float] = []
    run = fit(
        validate=unseen(), steps=60, rate=0.3, schedule="constant",
        on_validation=lambda entry: scores.append(entry["validation_accuracy"]),
    )  # fmt: skip
    assert run.best is not None
    assert run.best.mean == max(scores)
    assert run.best.mean > scores[-1]
    assert evaluate(run.learner, unseen(), tasks=10, seed=0).mean == max(scores)


def test_errors_are_minimised() -> None:
    """For numbers lower is better: the kept learner is the one of the least error."""
    waves = kshot.data.Sinusoids()
    learner = kshot.learners.maml(kshot.encoders.mlp(1, (16,)), outputs=1, rate=0.01)
    run = fit(learner, waves, validate=waves, steps=40, rate=0.05, schedule="constant")
    errors = [e["validation_mse"] for e in run.history]
    assert run.best is not None
    assert run.best.mean == min(errors)
    assert min(errors) < max(errors)


def test_the_running_mean_of_weights_is_what_is_validated_and_kept() -> None:
    training = Training(protonet(), source(), None, None, Settings(steps=6, validate_every=1, average=0.5))
    mean = {n: p.detach().clone() for n, p in training.learner.named_parameters()}
    step = 0

    def follow(_: dict[str, float]) -> None:
        nonlocal step
        decay = min(0.5, (1 + step) / (10 + step))
        for name, p in training.learner.named_parameters():
            mean[name] = decay * mean[name] + (1 - decay) * p.detach()
        step += 1

    training.on_validation = follow
    run = training.run()
    for name, p in run.learner.named_parameters():
        assert torch.allclose(p, mean[name], atol=1e-6)
    assert any(not torch.equal(p, mean[n]) for n, p in training.learner.named_parameters() if p.dim())


def test_clipping_bounds_the_meta_gradient() -> None:
    def norm(clip: float | None) -> float:
        training = Training(protonet(), source(), None, None, Settings(steps=1, clip=clip))
        training.run()
        return float(torch.stack([p.grad.norm() for p in training.learner.parameters()]).norm())

    assert norm(None) > 0.01
    assert norm(0.01) == pytest.approx(0.01, rel=1e-3)


def test_numbers_of_another_type_stay_so() -> None:
    run = fit(protonet().double(), validate=unseen())
    assert {p.dtype for p in run.learner.parameters()} == {torch.float64}


BFLOAT16 = {
    "protonet conv4": lambda: kshot.learners.ProtoNet(kshot.encoders.conv4(8, size=16)),
    "ridge": lambda: kshot.learners.ClosedForm(kshot.encoders.mlp(6, (16,)), "ridge"),
    "kernel ridge": lambda: kshot.learners.ClosedForm(kshot.encoders.mlp(6, (16,)), "kernel_ridge"),
    "lda": lambda: kshot.learners.ClosedForm(kshot.encoders.mlp(6, (16,)), "lda"),
    "maml, vmap": lambda: kshot.learners.maml(kshot.encoders.mlp(6, (16,)), outputs=3, rate=0.5),
    "maml conv4": lambda: kshot.learners.maml(kshot.encoders.conv4(8, size=16), outputs=3, rate=0.1),
}


@pytest.mark.parametrize("name", BFLOAT16)
def test_mixed_precision_learns(name: str) -> None:
    torch.manual_seed(0)
    shape = (1, 16, 16) if "conv4" in name else (6,)
    run = fit(
        BFLOAT16[name](), source(shape=shape), precision="bfloat16", steps=40, meta_batch=4, validate_every=10
    )
    assert run.history[-1]["loss"] < 0.99 * run.history[0]["loss"]
    assert {p.dtype for p in run.learner.parameters()} == {torch.float32}


def test_mixed_precision_differs_from_full_precision_and_is_close() -> None:
    full, mixed = (fit(precision=p, steps=5).history[0]["loss"] for p in ("float32", "bfloat16"))
    assert full != mixed
    assert full == pytest.approx(mixed, rel=0.2)


def test_second_order_gradients_in_mixed_precision_are_close_to_exact_ones() -> None:
    torch.manual_seed(0)
    start = kshot.learners.maml(kshot.encoders.mlp(6, (16,)), outputs=3, steps=2, rate=0.3)
    found = []
    for precision in ("float32", "bfloat16"):
        training = Training(start, source(), None, None, Settings(steps=1, meta_batch=8, precision=precision))
        training.run()
        found.append(
            torch.cat([p.grad.flatten() for p in training.learner.parameters() if p.grad is not None])
        )
    assert torch.nn.functional.cosine_similarity(*found, dim=0) > 0.98


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0}, {"steps": 2.5}, {"steps": True}, {"meta_batch": "4"}, {"rate": 0}, {"rate": math.inf},
        {"rate": math.nan}, {"clip": 0}, {"clip": -1}, {"weight_decay": -0.1}, {"average": 1}, {"average": math.nan},
        {"patience": 0}, {"seed": -1}, {"seed": 1.0}, {"schedule": "linear"}, {"precision": "float16"},
        {"executor": "processes"}, {"validate_every": 0}, {"validation_tasks": 0},
    ],
    ids=str,
)  # fmt: skip
def test_bad_settings_name_the_value_and_the_rule(change: dict[str, Any]) -> None:
    name, value = next(iter(change.items()))
    with pytest.raises(SettingError, match=name) as raised:
        kshot.fit(protonet(), source(), **change)
    assert repr(value) in str(raised.value)


def test_unknown_and_double_settings_are_errors() -> None:
    with pytest.raises(
        SettingError, match="'learning_rate' is no setting of fit; choose from steps, meta_batch"
    ):
        kshot.fit(protonet(), source(), learning_rate=0.1)
    with pytest.raises(SettingError, match=r"settings came with \['steps'\] too"):
        kshot.fit(protonet(), source(), settings=Settings(), steps=3)


def test_a_learner_without_weights_cannot_be_trained() -> None:
    start = protonet()
    for p in start.parameters():
        p.requires_grad_(False)
    with pytest.raises(SettingError, match=r"has no parameter to train; choose an encoder with weights"):
        fit(start)


def test_frozen_parameters_stay() -> None:
    start = protonet()
    start.encoder.requires_grad_(False)
    run = fit(start)
    trained = {n for n, p in run.learner.named_parameters() if not torch.equal(p, start.get_parameter(n))}
    assert trained == {"head.log_scale"}


def test_a_diverging_run_says_so_and_keeps_the_last_good_checkpoint(tmp_path: Any) -> None:
    with pytest.raises(
        TrainingDivergedError, match=r"(loss is|holds) .* at step \d+; .*lower rate \(now 1e\+30\)"
    ):
        fit(rate=1e30, folder=tmp_path, validate_every=1, validate=unseen())
    checkpoint = tmp_path / "checkpoint.kshot"
    if checkpoint.exists():
        _, tensors = kshot.storage.read(checkpoint)
        assert all(
            bool(torch.isfinite(t).all()) for n, t in tensors.items() if n.startswith("learner/encoder")
        )


# ---- tasks of many shapes


@pytest.mark.parametrize("executor", ["auto", "loop", "vmap"])
def test_tasks_of_different_ways_and_shots_are_learned(executor: str) -> None:
    ragged = Episodes(pool(range(20)), VariableWayShot(2, 6, max_queries=3, max_support=30))
    mixed = Mixed([ragged, source(), source(shots=2)], [2, 1, 1])
    run = fit(train=mixed, validate=ragged, steps=60, meta_batch=3, executor=executor, validate_every=20)
    assert run.history[-1]["loss"] < run.history[0]["loss"]


def test_classes_with_names_of_their_own_still_run_under_vmap() -> None:
    """Tasks drawn one by one name their classes; equal ways are alike all the same."""
    one_by_one = Recording(source())
    learner = kshot.learners.maml(kshot.encoders.mlp(6, (8,)), outputs=3)
    by_vmap = fit(learner, one_by_one, executor="vmap", meta_batch=4, steps=3)
    by_loop = fit(learner, Recording(source()), executor="loop", meta_batch=4, steps=3)
    pairs = zip(by_vmap.learner.parameters(), by_loop.learner.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in pairs)
