"""FewShotClassifier and FewShotRegressor: scikit-learn's own checks, its tools, and inputs that break rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import kshot
from kshot import FewShotClassifier, FewShotRegressor
from kshot.demo.handwriting import digits
from kshot.errors import DataError, SettingError
from kshot.learners import ProtoNet


@parametrize_with_checks(
    [FewShotClassifier(), FewShotRegressor(), FewShotClassifier(scaling="each", head="ridge")]
)
def test_scikit_learns_contract(estimator: Any, check: Any) -> None:
    check(estimator)


def few(shots: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Wine, whose columns differ in scale a thousandfold: `shots` a class, and all others to be asked."""
    x, y = load_wine(return_X_y=True)
    rng = np.random.default_rng(seed)
    places = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:shots] for c in range(3)])
    rest = np.setdiff1d(np.arange(len(y)), places)
    return x[places], y[places], x[rest], y[rest]


@pytest.mark.parametrize(("shots", "least"), [(1, 0.6), (5, 0.88), (10, 0.92)])
def test_it_learns_wine_from_a_few_bottles(shots: int, least: float) -> None:
    scores = []
    for seed in range(10):
        x, y, asked, expected = few(shots, seed)
        scores.append(FewShotClassifier().fit(x, y).score(asked, expected))
    assert np.mean(scores) >= least


def test_probabilities_are_calibrated_enough_to_be_used() -> None:
    x, y, asked, expected = few(10)
    model = FewShotClassifier().fit(x, y)
    probabilities = model.predict_proba(asked)
    assert probabilities.shape == (len(asked), 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)
    gap = abs(probabilities.max(1).mean() - model.score(asked, expected))
    assert gap < 0.1


def test_grid_search_pipeline_and_cross_validation() -> None:
    x, y = load_iris(return_X_y=True)
    rows = np.arange(0, 150, 5)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), FewShotClassifier()),
        {"fewshotclassifier__scaling": ["shared", "each"], "fewshotclassifier__head": ["prototype", "lda"]},
        cv=2,
    ).fit(x[rows], y[rows])
    assert search.best_score_ > 0.85
    assert cross_val_score(FewShotClassifier(), x[rows], y[rows], cv=3).mean() > 0.85


def test_clone_keeps_settings_and_nothing_that_was_learned() -> None:
    model = FewShotClassifier(scaling="half", head="ridge").fit(*few(2)[:2])
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(few(2)[2])


def test_labels_are_the_users_own() -> None:
    x, y, asked, expected = few(5)
    names = np.array(["red", "rosé", "white"])
    model = FewShotClassifier().fit(x, names[y])
    assert model.classes_.tolist() == ["red", "rosé", "white"]
    assert (model.predict(asked) == names[expected]).mean() > 0.8
    same = FewShotClassifier().fit(x, y)
    np.testing.assert_array_equal(names[same.predict(asked)], model.predict(asked))


def test_partial_fit_equals_fit_on_all() -> None:
    x, y, asked, _ = few(6)
    order = np.argsort(np.arange(len(y)) % 6, kind="stable")
    first, second = order[:9], order[9:]
    grown = FewShotClassifier().partial_fit(x[first], y[first]).partial_fit(x[second], y[second])
    np.testing.assert_allclose(
        grown.predict_proba(asked),
        FewShotClassifier().fit(x[order], y[order]).predict_proba(asked),
        atol=1e-12,
    )


def test_the_task_explains_forgets_and_is_saved(tmp_path: Path) -> None:
    x, y, asked, _ = few(4)
    model = FewShotClassifier().fit(x, y)
    told = model.explain(asked[0])
    assert told.label == model.predict(asked[:1])[0]
    assert len(told.evidence) == len(x)
    kept = model.task_.save(tmp_path / "wine.kshot", include_base=True)
    again = kshot.load(kept)
    assert isinstance(again, kshot.Adapted)
    np.testing.assert_allclose(again.predict(asked).probabilities, model.predict_proba(asked), atol=1e-12)
    assert len(again.remove(again.ids[0])) == len(x) - 1


def test_a_learner_of_ones_own_sees_pictures_and_stays_as_it_is() -> None:
    pool = digits()
    support = torch.cat([members[:3] for members in pool.members[:4]])
    asked = torch.cat([members[3:13] for members in pool.members[:4]])
    base = ProtoNet(kshot.encoders.pixels(8))
    before = {name: value.clone() for name, value in base.state_dict().items()}
    model = FewShotClassifier(base).fit(pool.inputs[support], pool.targets[support].numpy())
    assert model.score(pool.inputs[asked], pool.targets[asked].numpy()) > 0.85
    assert all(torch.equal(before[name], value) for name, value in base.state_dict().items())


def test_a_base_by_name() -> None:
    pool = digits()
    places = torch.cat([members[:2] for members in pool.members[:3]])
    model = FewShotClassifier("glyphs").fit(pool.inputs[places], pool.targets[places].numpy())
    assert model.task_.learner.encoder.kind == "conv4"


def test_regression_beats_the_mean_and_keeps_up_with_ridge() -> None:
    x, y = load_diabetes(return_X_y=True, scaled=False)
    ours, theirs = [], []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(y))
        train, test = order[:40], order[40:]
        ours.append(FewShotRegressor().fit(x[train], y[train]).score(x[test], y[test]))
        ridge = make_pipeline(StandardScaler(), Ridge(1.0))
        theirs.append(ridge.fit(x[train], y[train]).score(x[test], y[test]))
    assert np.mean(ours) > 0.25
    assert np.mean(ours) > np.mean(theirs) - 0.05


def test_several_outputs_come_back_as_they_went_in() -> None:
    x = np.linspace(-1, 1, 20)[:, None]
    y = np.c_[3 * x[:, 0] + 100, np.sin(2 * x[:, 0])]
    model = FewShotRegressor().fit(x, y)
    assert model.predict(x).shape == (20, 2)
    np.testing.assert_allclose(model.predict(x), y, atol=0.1)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.eye(2), ["a", "a"], "class"),
        (np.ones((1, 2)), ["a"], "minimum of 2"),
        ([[0.0, np.nan], [1.0, 1.0]], ["a", "b"], "NaN"),
        ([[0.0, np.inf], [1.0, 1.0]], ["a", "b"], "infinity"),
        (np.eye(2), [0.5, 1.25], "continuous"),
        (np.eye(3), ["a", "b"], "inconsistent"),
    ],
)
def test_bad_input_is_refused_with_a_reason(x: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FewShotClassifier().fit(x, y)


@pytest.mark.parametrize("shots", [1, 4])
def test_columns_without_variance_and_more_columns_than_examples(shots: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], shots)
    x = np.zeros((2 * shots, 300))
    x[:, :200] = 7.0
    x[:, 200] = 4 * labels
    x[:, 201:210] = rng.normal(size=(2 * shots, 9))
    model = FewShotClassifier().fit(x, labels)
    asked = x.copy()
    asked[:, 250] = 0.01  # a column that never moved before
    assert np.isfinite(model.predict_proba(asked)).all()
    assert (model.predict(asked) == labels).all()


def test_no_column_says_anything() -> None:
    model = FewShotClassifier().fit(np.ones((6, 3)), [0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(model.predict_proba(np.ones((1, 3))), 0.5)


def test_two_thousand_classes_with_one_example() -> None:
    x = np.random.default_rng(0).normal(size=(2000, 8))
    model = FewShotClassifier().fit(x, np.arange(2000))
    assert (model.predict(x[:50]) == np.arange(50)).all()


def test_a_class_with_one_example_among_larger_ones() -> None:
    x, y, asked, expected = few(5)
    keep = np.concatenate([np.flatnonzero(y != 2), np.flatnonzero(y == 2)[:1]])
    model = FewShotClassifier().fit(x[keep], y[keep])
    assert np.isfinite(model.choice_.estimate)
    assert model.score(asked, expected) > 0.6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scaling": "robust"}, "scaling is 'robust'"),
        ({"head": "forest"}, "head is 'forest'"),
        ({"learner": 3}, "learner is a int"),
        ({"learner": ProtoNet(kshot.encoders.identity(2)), "head": "ridge"}, "learner=None only"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        FewShotClassifier(**settings).fit(np.eye(2), [0, 1])


def test_words_are_no_numbers() -> None:
    with pytest.raises(ValueError, match=r"number|convert"):
        FewShotRegressor().fit(np.eye(2), ["a", "b"])


def test_unequal_lengths_of_pictures() -> None:
    with pytest.raises(DataError, match="2 inputs came with 3"):
        FewShotClassifier(ProtoNet(kshot.encoders.pixels(8))).fit(np.zeros((2, 8, 8), np.uint8), [0, 1, 1])


def test_importing_kshot_leaves_scikit_learn_alone() -> None:
    code = "import kshot, sys; assert 'sklearn' not in sys.modules; kshot.FewShotClassifier; assert 'sklearn' in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not hasattr(kshot, "FewShotCleric")


def test_texts_by_the_name_of_an_encoder() -> None:
    texts, labels = ["my card", "lost card", "a rate", "which rate"] * 2, ["card", "card", "rate", "rate"] * 2
    assert cross_val_score(FewShotClassifier("hash:ngram"), texts, labels, cv=2).tolist() == [1.0, 1.0]
    with pytest.raises(
        DataError, match=r"X holds texts, for example 'my card'.*FewShotClassifier\('hash:ngram'\)"
    ):
        FewShotClassifier().fit(texts, labels)
