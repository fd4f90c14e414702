"""scikit-learn's contract over any learner: FewShotClassifier and FewShotRegressor.

They work wherever scikit-learn's own do: Pipeline, GridSearchCV, cross_val_score, clone.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from kshot import text
from kshot.bundles import load_learned
from kshot.encoders import VectorEncoder
from kshot.errors import DataError, SettingError
from kshot.learners import Adapted, Explanation, Learner
from kshot.tasks.spaces import Classes, Numbers, OutputSpace
from kshot.tuning import choose_for_rows

__all__ = ["FewShotClassifier", "FewShotRegressor"]

_LEAST = 2


class _FewShot(BaseEstimator):  # type: ignore[misc]
    """What both share: a learner, or a choice for rows, adapted by `fit`."""

    def __init__(self, learner: Learner | str | None = None, *, scaling: str = "auto", head: str = "auto"):
        self.learner = learner
        self.scaling = scaling
        self.head = head

    def _base(self) -> Learner | None:
        """The learner that was given, a name being loaded; None: choose one for rows."""
        if self.learner is None or isinstance(self.learner, Learner):
            return self.learner
        if not isinstance(self.learner, str):
            raise SettingError(
                f"learner is a {type(self.learner).__name__}; give a kshot learner, the name or path of a base, or None"
            )
        if not Path(self.learner).exists() and text.is_spec(self.learner):
            return text.classifier(self.learner)
        found = load_learned(self.learner)
        if not isinstance(found, Learner):
            raise SettingError(f"{self.learner} is an adapted task; give a base that learns tasks")
        return found

    def _adapted(self, base: Learner | None, X: Any, targets: Any, space: OutputSpace) -> Adapted:
        if base is not None:
            if (self.scaling, self.head) != ("auto", "auto"):
                raise SettingError(
                    f"scaling is {self.scaling!r} and head {self.head!r}, with a learner; they are for learner=None only"
                )
            return base.adapt(X, targets, space=space)
        rows, encoded = torch.from_numpy(X.copy()), space.encode(targets)
        if encoded.is_floating_point():
            encoded = encoded.double()
        self.choice_ = choose_for_rows(rows, encoded, _size(space), scaling=self.scaling, head=self.head)
        return self.choice_.learner.adapt(
            rows, encoded if encoded.is_floating_point() else targets, space=space
        )

    def _checked(self, X: Any, y: Any) -> tuple[Any, Any]:
        """Rows and targets by scikit-learn's rules; other inputs than rows go to the learner's encoder as they are."""
        if self.learner is None and _are_texts(X):
            raise DataError(
                f"X holds texts, for example {str(next(iter(X)))[:40]!r}, and learner is None, which is for rows of numbers: give "
                "an encoder of texts, FewShotClassifier('hash:ngram')"
            )
        if _takes_rows(self._base()):
            rules = {"dtype": np.float64, "ensure_min_samples": _LEAST, "order": "C"}
            checked: tuple[Any, Any] = validate_data(self, X, y, multi_output=self._several, **rules)
            return checked
        if len(X) != len(y):
            raise DataError(f"{len(X)} inputs came with {len(y)} targets; give one target per input")
        return X, np.asarray(y)

    _several = False

    def _asked(self, X: Any) -> Any:
        check_is_fitted(self, "task_")
        if not _takes_rows(self.task_.learner):
            return X
        return torch.from_numpy(validate_data(self, X, reset=False, dtype=np.float64, order="C").copy())

    def explain(self, x: Any) -> Explanation:
        """Which training examples decided the answer to one input, and by how much; see `Adapted.explain`.

        Args:
            x: one input, for rows [features].
        """
        one = np.asarray(x).reshape(1, -1) if _takes_rows(getattr(self, "task_", None)) else [x]
        found: Explanation = self.task_.explain(self._asked(one))
        return found


def _are_texts(X: Any) -> bool:
    """Is it a list of str, or a column of them?"""
    return getattr(X, "ndim", 1) == 1 and hasattr(X, "__iter__") and isinstance(next(iter(X), None), str)


class FewShotClassifier(ClassifierMixin, _FewShot):  # type: ignore[misc]
    """A classifier for few examples, by scikit-learn's rules.

    Args:
        learner: what learns; a kshot learner (never changed), or the name or path of a base, for example "glyphs" for
            pictures, or an encoder of texts, for example "hash:ngram". None: for rows, a kernel ridge around the class means, whose columns' scale and whose scalars
            are chosen by exact leave-one-out at `fit`; at one example a class by rules that need no estimate.
        scaling: for learner None: "auto", "shared", "half", "each", "unit" or "half_unit"; see
            `kshot.encoders.ScaledRows`.
        head: for learner None: "auto", "prototype", "ridge", "kernel_ridge", "lda" or "bayesian".

    Attributes:
        classes_: the labels, sorted. n_features_in_: columns of a row.
        task_: the adapted task; it explains, is saved, and takes and forgets examples.
        choice_: for learner None: what was tried and taken.

    >>> import numpy as np
    >>> from kshot import FewShotClassifier
    >>> x = np.array([[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.2]])
    >>> model = FewShotClassifier().fit(x, ["up", "up", "right", "right"])
    >>> model.predict([[0.2, 0.8]]).tolist()
    ['up']
    >>> desk = FewShotClassifier("hash:ngram").fit(["where is my card", "what is the rate"], ["card", "rate"])
    >>> desk.predict(["my card is late"]).tolist()
    ['card']
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from inputs [n, features] (or what the learner's encoder takes) and n labels.

        Raises:
            ValueError: by scikit-learn's rules; also with a single class.
        """
        X, y = self._checked(X, y)
        with warnings.catch_warnings():  # many classes with one example each are what this is for
            warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
            check_classification_targets(y)
        classes = np.unique(y)
        if len(classes) < _LEAST:
            raise DataError(
                f"y holds {len(classes)} class, {classes.tolist()}; telling apart needs two classes: give examples of another"
            )
        task = self._adapted(self._base(), X, y.tolist(), Classes(tuple(classes.tolist())))
        self.classes_, self.task_ = classes, task
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Learn further examples; equal to `fit` on all examples so far.

        Args:
            classes: what scikit-learn's callers pass; a class counts from its first example on.
        """
        known = getattr(self, "task_", None)
        if known is None:
            return self.fit(X, y)
        X, y = self._checked_more(X, y)
        before = np.asarray(list(known.targets), dtype=self.classes_.dtype)
        if not _takes_rows(known.learner):
            return self.fit([*known.inputs, *X], np.concatenate([before, y]))
        return self.fit(np.concatenate([known.inputs.numpy(), X]), np.concatenate([before, y]))

    def _checked_more(self, X: Any, y: Any) -> tuple[Any, Any]:
        if not _takes_rows(self.task_.learner):
            return X, np.asarray(y)
        checked: tuple[Any, Any] = validate_data(self, X, y, reset=False, dtype=np.float64)
        return checked

    def predict(self, X: Any) -> np.ndarray:
        """Labels [m] for inputs [m, features]."""
        best = self.predict_proba(X).argmax(1)
        labels: np.ndarray = self.classes_[best]
        return labels

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities [m, classes], columns in the order of `classes_`."""
        asked = self._asked(X)
        probabilities: np.ndarray = self.task_.predict(asked).probabilities
        return probabilities


class FewShotRegressor(RegressorMixin, _FewShot):  # type: ignore[misc]
    """A regressor for few examples, by scikit-learn's rules.

    Args:
        learner: what learns; None: for rows, a kernel ridge around the mean of the targets, whose columns' scale, kernel
            width and ridge are chosen by exact leave-one-out at `fit`.
        scaling, head: as for FewShotClassifier; heads for numbers are "ridge", "kernel_ridge" and "bayesian".

    Attributes:
        n_features_in_, task_, choice_: as for FewShotClassifier.

    >>> import numpy as np
    >>> from kshot import FewShotRegressor
    >>> x = np.linspace(0, 1, 8)[:, None]
    >>> model = FewShotRegressor().fit(x, 2 * x[:, 0] + 1)
    >>> bool(abs(model.predict([[0.5]])[0] - 2) < 0.05)
    True
    """

    _several = True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from inputs [n, features] and n numbers, or rows of numbers [n, outputs].

        Raises:
            ValueError: by scikit-learn's rules.
        """
        X, y = self._checked(X, y)
        try:
            y = np.asarray(y, dtype=np.float64)
        except (TypeError, ValueError) as cause:
            raise DataError(
                f"targets cannot be read as numbers ({cause}); give numbers, or use FewShotClassifier"
            ) from None
        self._flat = y.ndim == 1
        rows = torch.from_numpy(y.reshape(len(y), -1).copy())
        self.task_ = self._adapted(self._base(), X, rows, Numbers(rows.shape[1]))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Numbers [m] or [m, outputs], as `y` was at `fit`, for inputs [m, features]."""
        asked = self._asked(X)
        values: np.ndarray = self.task_.predict(asked).values
        return values[:, 0] if self._flat else values


def _takes_rows(learner: Learner | Adapted | None) -> bool:
    if isinstance(learner, Adapted):
        learner = learner.learner
    return learner is None or isinstance(learner.encoder, VectorEncoder)


def _size(space: OutputSpace) -> int:
    assert isinstance(space, Classes | Numbers)
    return space.size
