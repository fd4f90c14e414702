"""Classes: one label out of a few."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import DataError
from kshot.tasks.spaces.space import OutputSpace, register_space

Label = str | int | float | bool


@dataclass(frozen=True)
class ClassPrediction:
    """Answers for n inputs.

    Attributes:
        labels: n best guesses, in the user's own labels, also where `unknown` is true.
        probabilities: [n, classes], rows sum to 1, columns in the order of `classes`.
        unknown: [n] booleans: the input is too far from every class to be answered.
        scores: [n] how well the best class fits; what `unknown` is decided on.
        classes: the labels of the columns.
    """

    labels: list[Label]
    probabilities: np.ndarray
    unknown: np.ndarray
    scores: np.ndarray
    classes: tuple[Label, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def to_json(self) -> list[dict[str, Any]]:
        """One JSON object per input."""
        return [
            {
                "label": label,
                "unknown": bool(self.unknown[i]),
                "probabilities": {
                    str(name): float(p) for name, p in zip(self.classes, self.probabilities[i], strict=True)
                },
            }
            for i, label in enumerate(self.labels)
        ]


@register_space
@dataclass(frozen=True)
class Classes(OutputSpace):
    """One label out of `labels`; outputs are scores (logits) [n, classes].

    >>> space = Classes.of(["cat", "dog", "cat"])
    >>> space.labels, space.encode(["dog"]).tolist()
    (('cat', 'dog'), [1])
    """

    labels: tuple[Label, ...]
    kind: ClassVar[str] = "classes"
    metric: ClassVar[str] = "accuracy"
    ranked: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(plain(label) for label in self.labels))
        if len(set(map(_key, self.labels))) != len(self.labels):
            raise DataError(f"labels {list(self.labels)} repeat one; each class is named once")

    @classmethod
    def of(cls, targets: Iterable[Any]) -> Classes:
        """The classes that occur in `targets`, sorted where they can be, else in order of appearance."""
        found = list(dict.fromkeys(_key(plain(t)) for t in targets))
        labels = [label for _, label in found]
        try:
            labels = sorted(labels)
        except TypeError as cause:
            raise DataError(
                f"labels mix kinds: {labels[:6]}; use one kind for all, for example only strings"
            ) from cause
        return cls(tuple(labels))

    @property
    def size(self) -> int:
        return len(self.labels)

    def encode(self, targets: Any) -> Tensor:
        """n labels to class indices [n]."""
        if isinstance(targets, Tensor) and self.labels == tuple(range(self.size)):
            return self._checked(targets.long())
        index = {_key(label): i for i, label in enumerate(self.labels)}
        try:
            return torch.tensor([index[_key(plain(t))] for t in targets], dtype=torch.long)
        except KeyError as cause:
            label = cause.args[0][1]
            raise DataError(
                f"label {label!r} is not one of the task's classes {list(self.labels)[:20]}; "
                "queries must use the labels of the support: correct the label or add an example of it first"
            ) from None

    def _checked(self, indices: Tensor) -> Tensor:
        inside = torch.is_floating_point(indices) or bool(((indices >= 0) & (indices < self.size)).all())
        if not inside:
            raise DataError(f"class index {int(indices.max())} with {self.size} classes; indices run from 0")
        return indices

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of logits [n, classes] and indices [n]."""
        return F.cross_entropy(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        hits = (outputs.argmax(-1) == targets).float()
        return {"accuracy": float(hits.mean()), "loss": float(F.cross_entropy(outputs, targets))}

    def decode(
        self, outputs: Tensor, *, temperature: float = 1.0, threshold: float = float("-inf"), **_: Any
    ) -> ClassPrediction:
        """Logits [n, classes] to labels; an input whose best score is under `threshold` is unknown."""
        scores, best = outputs.double().max(-1)
        return ClassPrediction(
            labels=[self.labels[i] for i in best.tolist()],
            probabilities=torch.softmax(outputs.double() / temperature, -1).numpy(force=True),
            unknown=(scores < threshold).numpy(force=True),
            scores=scores.numpy(force=True),
            classes=self.labels,
        )

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": list(self.labels)}


def plain(label: Any) -> Label:
    """A label as a plain Python value: numpy and torch scalars are unwrapped."""
    if isinstance(label, Tensor | np.generic):
        label = label.item()
    if isinstance(label, str | int | bool):
        return label
    if isinstance(label, float):
        if label != label:
            raise DataError("a label is NaN; give every example a label, or leave the example out")
        return label
    raise DataError(
        f"label {label!r} is a {type(label).__name__}; labels are strings, whole numbers or booleans"
    )


def _key(label: Label) -> tuple[str, Any]:
    """Tell 1, True and '1' apart."""
    return type(label).__name__, label


def as_list(targets: Any) -> Sequence[Hashable]:
    """Targets of any container as a list of plain labels."""
    return [plain(t) for t in targets]
