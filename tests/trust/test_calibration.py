"""What a base learns about its own answers: refusals, sets, temperature, record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import kshot
from kshot.data import Episodes, Mixed, Pool
from kshot.errors import DataError, SettingError
from kshot.evaluation import expected_calibration_error
from kshot.learners import ClosedForm, Learner, ProtoNet, save_learner
from kshot.learners.records import fingerprint
from kshot.learners.self_knowledge import Gauge, cells, known
from kshot.tasks import NWayKShot
from kshot.tasks.spaces.sureness import LEVELS, Sureness
from kshot.testing import Lines
from kshot.trust import calibrate, separation
from kshot.trust.answered import answer_many, sizes

GLYPHS = Path(kshot.__file__).parent / "bases" / "glyphs.kshot"


def clouds(classes: int, seed: int, spread: float = 1.0, each: int = 25) -> Pool:
    """Gaussian classes around Gaussian means: tasks that are neither easy nor hopeless."""
    rng = torch.Generator().manual_seed(seed)
    means = torch.randn(classes, 6, generator=rng)
    rows = means.repeat_interleave(each, 0) + spread * torch.randn(classes * each, 6, generator=rng)
    return Pool(rows, [f"c{n // each}" for n in range(classes * each)], "clouds")


def source(classes: int = 120, seed: int = 0) -> Episodes:
    return Episodes(clouds(classes, seed), NWayKShot(5, 1, 10))


def base(head: str = "prototype") -> Learner:
    return ClosedForm(kshot.encoders.identity(6), head).eval()


@pytest.fixture(scope="module")
def calibrated() -> Learner:
    learner = base()
    calibrate(learner, source(), tasks=80, ways=(2, 5, 20, 50), shots=(1, 5))
    return learner


# sizes in between those measured, and other classes than those measured
@pytest.mark.parametrize(("ways", "shots"), [(2, 1), (5, 1), (7, 3), (20, 1), (20, 5), (35, 8)])
def test_promises_hold_on_unseen_classes(calibrated: Learner, ways: int, shots: int) -> None:
    tasks = 100 if ways > 2 else 400
    report = kshot.evaluate(calibrated, source(seed=9).using(ways=ways, shots=shots), tasks=tasks, timed=0)
    assert report.reliability["refused"] == pytest.approx(0.05, abs=0.025)
    assert report.reliability["coverage"] >= 0.87
    if report.mean < 0.88:
        assert report.reliability["raw_coverage"] == pytest.approx(0.9, abs=0.04)
    assert report.reliability["ece"] < 0.06


@pytest.mark.parametrize("head", ["ridge", "kernel_ridge", "lda", "bayesian"])
def test_promises_hold_for_every_head(head: str) -> None:
    learner = base(head)
    calibrate(learner, source(), tasks=100, ways=(5,), shots=(2,))
    report = kshot.evaluate(learner, source(seed=9).using(shots=2), tasks=150, timed=0)
    assert report.reliability["refused"] == pytest.approx(0.05, abs=0.03)
    assert report.reliability["raw_coverage"] == pytest.approx(0.9, abs=0.03)


def test_a_requested_share_is_kept(calibrated: Learner) -> None:
    rng, shares = torch.Generator().manual_seed(1), []
    for _ in range(150):
        task = source(seed=9).sample(rng)
        assert task.support is not None
        assert task.query is not None
        answers = calibrated.adapt(task.support).predict(task.query.inputs, refused=0.3)
        shares.append(float(answers.unknown.mean()))
    assert np.mean(shares) == pytest.approx(0.3, abs=0.04)


def test_strangers_are_refused_more_often_than_known_inputs(calibrated: Learner) -> None:
    pool = clouds(12, 3, spread=0.4)
    task = calibrated.adapt(pool.inputs[:100:5], [pool.classes[int(t)] for t in pool.targets[:100:5]])
    inside, outside = task.predict(pool.inputs[1:100:5]), task.predict(pool.inputs[100:])
    assert separation(inside.scores, outside.scores).auroc > 0.8
    assert outside.unknown.mean() > inside.unknown.mean() + 0.2


def test_calibration_lowers_the_error_of_probabilities() -> None:
    learner = base()
    learner.head.log_scale.data.fill_(3.0)  # type: ignore[union-attr, operator]
    calibrate(learner, source(), tasks=60, ways=(5,), shots=(1,))
    before, after = (_error(learner, plain) for plain in (True, False))
    assert after < 0.05 < 0.15 < before


def _error(learner: Learner, plain: bool) -> float:
    found, _ = answer_many(
        learner, source(seed=9), 100, torch.Generator().manual_seed(2), ways=(5,), shots=(1,)
    )
    cell = known(learner, 5, 1)
    assert cell is not None
    heat = 1.0 if plain else cell.temperature
    odds = [torch.softmax((a.outputs if plain else a.measured) / heat, 1) for a in found]
    hits = np.concatenate([(p.argmax(1) == a.targets).numpy() for p, a in zip(odds, found, strict=True)])
    return expected_calibration_error(np.concatenate([p.max(1).values.numpy() for p in odds]), hits)


def test_scores_do_not_depend_on_the_scale_of_the_head() -> None:
    own, outputs = torch.randn(6, 3), torch.randn(4, 3)
    targets = torch.tensor([0, 0, 1, 1, 2, 2])
    own[torch.arange(6), targets] += 3
    one = Gauge.of(own, targets).familiarity(outputs)
    other = Gauge.of(own * 7 - 2, targets).familiarity(outputs * 7 - 2)
    assert torch.allclose(one, other)


def test_examples_that_cannot_be_told_apart_give_even_odds(calibrated: Learner) -> None:
    task = calibrated.adapt(torch.ones(2, 6), ["a", "b"])
    answers = task.predict(torch.randn(3, 6, generator=torch.Generator().manual_seed(0)))
    assert np.allclose(answers.probabilities, 0.5, atol=0.02)
    assert np.isfinite(answers.scores).all()


def test_sets_grow_with_coverage_and_hold_the_best_guess(calibrated: Learner) -> None:
    rows = clouds(8, 4)
    task = calibrated.adapt(rows.inputs[::25], [rows.classes[c] for c in range(8)])
    answers = task.predict(rows.inputs[1::25])
    small, large = answers.sets(0.5), answers.sets(0.95)
    raw = answers.sets(0.05, raw=True)
    assert all(set(a) <= set(b) for a, b in zip(small, large, strict=True))
    assert [s[0] for s in small] == answers.labels
    assert min(map(len, raw)) == 0  # the theory's sets may be empty, shown ones never are
    assert answers.to_json()[0]["set"] == list(answers.sets()[0])


def test_the_quantile_counts_tasks_not_queries() -> None:
    sure = Sureness(LEVELS, LEVELS, tasks=9, refused=0.05)
    assert sure.quantile(0.81) == pytest.approx(0.9)
    assert sure.quantile(0.9) == float("inf")


def test_a_base_that_was_never_calibrated_says_what_to_do() -> None:
    task = base().adapt(torch.eye(6)[:2], ["a", "b"])
    answers = task.predict(torch.eye(6))
    assert not answers.unknown.any()
    assert "set" not in answers.to_json()[0]
    for ask in (answers.sets, lambda: task.predict(torch.eye(6), refused=0.1)):
        with pytest.raises(SettingError, match=r"never calibrated.*kshot calibrate"):
            ask()


@pytest.mark.parametrize("value", [0, 1, -0.1, 90, float("nan"), True])
def test_shares_outside_0_to_1_are_refused(calibrated: Learner, value: float) -> None:
    task = calibrated.adapt(torch.eye(6)[:2], ["a", "b"])
    answers = task.predict(torch.eye(6))
    asks: list[Callable[[], object]] = [
        lambda: answers.sets(value),
        lambda: task.predict(torch.eye(6), refused=value),
        lambda: calibrate(base(), source(), refused=value),
        lambda: task.suspect_labels(value),
    ]
    for ask in asks:
        with pytest.raises(SettingError, match=str(value)):
            ask()


def test_refusing_numbers_is_an_error() -> None:
    task = ClosedForm(kshot.encoders.identity(1), "ridge").adapt(torch.rand(3, 1), [0.0, 1.0, 2.0])
    with pytest.raises(SettingError, match="numbers"):
        task.predict(torch.rand(1, 1), refused=0.1)


def test_a_calibrated_base_is_saved_and_loaded_whole(calibrated: Learner, tmp_path: Path) -> None:
    save_learner(calibrated, tmp_path / "base.kshot")
    loaded = kshot.load(tmp_path / "base.kshot")
    assert isinstance(loaded, Learner)
    assert torch.equal(loaded.self_knowledge, calibrated.self_knowledge)
    assert fingerprint(loaded) == fingerprint(calibrated) != fingerprint(base())


def test_an_empty_table_leaves_the_fingerprint_as_it_was() -> None:
    """Bases saved before there was a table go on being recognised."""
    assert len(base().self_knowledge) == 0
    without = base()
    del without._buffers["self_knowledge"]
    assert fingerprint(without) == fingerprint(base())


def test_the_same_seed_gives_the_same_table() -> None:
    one, two = base(), base()
    for learner in (one, two):
        calibrate(learner, source(30), tasks=5, seed=3)
    assert torch.equal(one.self_knowledge, two.self_knowledge)


def test_tables_are_read_between_their_rows(calibrated: Learner) -> None:
    low, middle, high = (known(calibrated, ways, 1) for ways in (5, 10, 20))
    assert low is not None
    assert middle is not None
    assert high is not None
    assert low.accuracy > middle.accuracy > high.accuracy
    far = known(calibrated, 10_000, 1)
    assert far is not None
    assert far.ways == pytest.approx(50, rel=0.01)


def test_each_example_is_encoded_once() -> None:
    seen: list[int] = []

    class Counting(kshot.encoders.Identity):
        def forward(self, prepared: torch.Tensor) -> torch.Tensor:
            seen.append(len(prepared))
            return super().forward(prepared)

    rows = clouds(30, 0)
    lazy = Pool(list(rows.inputs), [rows.classes[int(t)] for t in rows.targets])
    calibrate(ProtoNet(Counting(6)), Episodes(lazy, NWayKShot(5, 1, 10)), tasks=20)
    assert sum(seen) == len(lazy)


def test_mixed_sources_and_their_sizes() -> None:
    parts = [Episodes(clouds(8, s, each=4), NWayKShot(2, 1, 1)) for s in (0, 1)]
    found = list(sizes(Mixed(parts)))
    assert len(found) == 4  # 2 and 5 ways, 1 and 2 shots: a class has 4 examples
    learner = base()
    calibrate(learner, Mixed(parts), tasks=5)
    assert [(c.ways, c.shots) for c in cells(learner)] == [(2, 1), (2, 2), (5, 1), (5, 2)]


def test_sources_of_their_own_sizes_cannot_be_asked_for_others() -> None:
    with pytest.raises(SettingError, match="Lines"):
        calibrate(ClosedForm(kshot.encoders.identity(1), "ridge"), Lines(), ways=(5,))


def test_numbers_have_no_table() -> None:
    learner = ClosedForm(kshot.encoders.identity(1), "ridge")
    calibrate(learner, Lines(), tasks=4)
    assert len(learner.self_knowledge) == 0
    assert learner.seen.shape[0] == 2


def test_separation_needs_both() -> None:
    with pytest.raises(DataError, match="0 unknown"):
        separation([1.0], [])
    assert separation([2.0, 3.0], [1.0, 0.0]).auroc == 1.0


def test_the_bundled_base_knows_itself() -> None:
    glyphs = kshot.load(GLYPHS)
    assert isinstance(glyphs, Learner)
    sizes_ = {(c.ways, c.shots) for c in cells(glyphs)}
    assert {(2, 1), (5, 1), (5, 5), (20, 1), (20, 5), (50, 10)} <= sizes_
    assert all(c.tasks == 200 for c in cells(glyphs))


@pytest.mark.slow
def test_sets_cover_kanji_that_no_training_saw(real_data: Callable[[str], Path]) -> None:
    """20-way 1-shot, where plain accuracy is far below 88 %."""
    with np.load(real_data("kuzushiji_kanji") / "kkanji_32x32.npz") as found:
        pool = Pool(torch.from_numpy(found["images"]), found["class_index"].tolist(), "kanji")
    calibration, test = pool.split(0.42, 0.58)
    glyphs = kshot.load("glyphs")
    assert isinstance(glyphs, Learner)
    calibrate(glyphs, Episodes(calibration, NWayKShot(2, 1, 1)), tasks=150, ways=(20,), shots=(1,))
    report = kshot.evaluate(glyphs, Episodes(test, NWayKShot(20, 1, 10)), tasks=300, timed=0)
    assert report.mean < 0.88
    assert report.reliability["raw_coverage"] == pytest.approx(0.9, abs=0.025)
