"""Against shots and steps, cross-domain tables, confusion, and the baselines, on scikit-learn's real digits."""

from __future__ import annotations

import pytest
import torch

import kshot
from kshot.data import Episodes, Pool
from kshot.demo.handwriting import digits
from kshot.errors import SettingError, TaskError, UnsupportedError
from kshot.evaluation import against_shots, against_steps, confusion, cross_domain, evaluate
from kshot.evaluation.baselines import (
    LogisticRegression,
    from_scratch,
    logistic_regression,
    nearest_mean,
)
from kshot.learners import ClosedForm, ProtoNet, fine_tuning
from kshot.tasks import NWayKShot


@pytest.fixture(scope="module")
def source() -> Episodes:
    """Digits, 5-way 1-shot."""
    return Episodes(digits(), NWayKShot(5, 1, 5))


@pytest.fixture
def pixels() -> ProtoNet:
    """Nearest mean of raw pixels at the scans' own size."""
    return nearest_mean(8)


def test_digits_are_the_scans_as_bytes() -> None:
    pool = digits()
    assert pool.inputs.dtype == torch.uint8
    assert tuple(pool.inputs.shape) == (1797, 8, 8)
    assert int(pool.inputs.max()) == 255
    assert sum(pool.sizes) == 1797


def test_more_shots_help_nearest_mean_on_real_digits(source: Episodes, pixels: ProtoNet) -> None:
    sweep = against_shots(pixels, source, shots=(1, 5), tasks=60)
    one, five = sweep.reports
    assert five.interval.low > one.interval.high
    assert "5-shot" in five.protocol
    assert [r.report for r in sweep.rows("digits")] == [one, five]


def test_no_shots_and_too_many_shots_are_errors(source: Episodes, pixels: ProtoNet) -> None:
    with pytest.raises(SettingError, match="empty"):
        against_shots(pixels, source, shots=())
    with pytest.raises(TaskError, match="too small"):
        against_shots(pixels, source, shots=(500,), tasks=1)


def test_steps_change_a_gradient_learner_and_leave_it_as_it_was(source: Episodes) -> None:
    learner = fine_tuning(kshot.encoders.conv4(8, size=8, blocks=2), outputs=5, steps=7, rate=0.05)
    before = {k: v.clone() for k, v in learner.state_dict().items()}
    sweep = against_steps(learner, source.using(shots=3), steps=(0, 20), tasks=8)
    assert sweep.xs == (0.0, 20.0)
    assert sweep.reports[1].mean > sweep.reports[0].mean + 0.1
    assert learner.steps == 7
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())
    with pytest.raises(SettingError, match="-1"):
        against_steps(learner, source, steps=(-1,), tasks=1)


def test_steps_of_a_closed_form_learner_are_an_error(source: Episodes, pixels: ProtoNet) -> None:
    with pytest.raises(UnsupportedError, match="ProtoNet adapts by a formula"):
        against_steps(pixels, source)


def test_cross_domain_gives_each_learner_the_same_tasks(source: Episodes, pixels: ProtoNet) -> None:
    other = source.using(ways=2)
    table = cross_domain(
        {"a": pixels, "b": nearest_mean(8)}, {"five": source, "two": other}, tasks=10, seed=3
    )
    found = {(r.learner, r.data): r.report.values for r in table.rows}
    assert found["a", "five"] == found["b", "five"]
    assert found["a", "two"] == evaluate(pixels, other, tasks=10, seed=3).values
    assert table.head == ["learner", "regime", "five", "two"]
    assert [len(line) for line in table.cells] == [4, 4]
    assert "| a | inductive |" in table.to_markdown()
    assert "<td>inductive</td>" in table.to_html()


def test_cross_domain_keeps_regimes_apart(source: Episodes) -> None:
    encoder = kshot.encoders.conv4(4, size=8, blocks=2)
    learners = {"x": fine_tuning(encoder, steps=1), "y": fine_tuning(encoder, steps=1, regime="transductive")}
    table = cross_domain(learners, {"digits": source}, tasks=2)
    assert [line[1] for line in table.cells] == ["inductive", "transductive"]


def test_cross_domain_of_nothing_is_an_error(source: Episodes) -> None:
    with pytest.raises(SettingError, match="0 learners and 1 sources"):
        cross_domain({}, {"a": source})


def test_confusion_agrees_with_the_accuracy(source: Episodes, pixels: ProtoNet) -> None:
    matrix = confusion(pixels, source, tasks=40, seed=2)
    right = sum(matrix.counts[k][k] for k in range(len(matrix.labels)))
    total = sum(map(sum, matrix.counts))
    assert total == 40 * 5 * 5
    assert right / total == pytest.approx(evaluate(pixels, source, tasks=40, seed=2).mean)
    assert matrix.labels == tuple("0123456789")


def test_confusion_needs_classes() -> None:
    from kshot.data import Sinusoids

    learner = ClosedForm(kshot.encoders.identity(1), "ridge")
    with pytest.raises(kshot.errors.DataError, match="needs classes"):
        confusion(learner, Sinusoids(shots=5, queries=3), tasks=1)


def test_logistic_regression_is_scikit_learns(source: Episodes) -> None:
    from sklearn.linear_model import LogisticRegression as Theirs

    task = source.using(shots=4).sample(kshot.seeds.generator(0))
    assert task.support is not None
    assert task.query is not None
    ours = logistic_regression(8).adapt(task.support).predict(task.query.inputs)
    features = task.support.inputs.flatten(1).numpy() / 255
    theirs = Theirs(C=1.0, max_iter=500).fit(features, task.support.targets)
    wanted = theirs.predict_proba(task.query.inputs.flatten(1).numpy() / 255)
    assert ours.probabilities == pytest.approx(wanted, abs=1e-5)


def test_logistic_regression_of_two_classes_and_of_what_one_would_leave() -> None:
    """Explaining a 1-shot task leaves out the only example of a class: one class remains."""
    inputs = torch.eye(2)
    task = LogisticRegression(kshot.encoders.identity(2)).adapt(inputs, ["a", "b"])
    assert task.predict(inputs).labels == ["a", "b"]
    found = {e.id: e.label_without for e in task.explain(inputs[:1]).evidence}
    assert found == {"e0": "b", "e1": "a"}


def test_a_penalty_of_zero_is_an_error() -> None:
    with pytest.raises(SettingError, match="c is 0"):
        LogisticRegression(kshot.encoders.identity(2), c=0)


def test_baselines_see_the_same_tasks_as_any_learner(source: Episodes) -> None:
    """Twice the work must not change which tasks are drawn: the scores of equal learners are equal."""
    slow = ProtoNet(kshot.encoders.pixels(8))
    lazy = Pool([*source.pool.inputs], [source.pool.classes[int(t)] for t in source.pool.targets])
    fast = evaluate(slow, source, tasks=12).values
    assert evaluate(slow, Episodes(lazy, source.sampler), tasks=12).values == pytest.approx(fast)


def test_from_scratch_is_the_same_for_a_seed_and_beats_chance(source: Episodes) -> None:
    before = torch.get_rng_state()
    one, two, other = (
        from_scratch(16, width=8, seed=1),
        from_scratch(16, width=8, seed=1),
        from_scratch(16, width=8, seed=2),
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert one.encoder.fingerprint() == two.encoder.fingerprint() != other.encoder.fingerprint()
    assert evaluate(one, source.using(shots=5), tasks=6).interval.low > 0.3
