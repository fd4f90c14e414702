"""Classes: one label out of a few."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import DataError, SettingError
from kshot.tasks.spaces.space import OutputSpace, register_space
from kshot.tasks.spaces.sureness import UNCALIBRATED, Sureness, nonconformity

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Label = str | int | float | bool


@dataclass(frozen=True)
class ClassPrediction:
    """Answers for n inputs.

    Attributes:
        labels: n best guesses, in the user's own labels, also where `unknown` is true.
        probabilities: [n, classes], rows sum to 1, columns in the order of `classes`.
        unknown: [n] booleans: the input is too far from every class to be answered.
        scores: [n] how well the best class fits; what `unknown` is decided on. From a calibrated base: 1 as
            well as the examples fit their own class, 0 as ill as they fit the others.
        classes: the labels of the columns.
        sureness: what the base knows about tasks of this size; None where it was never calibrated.
    """

    labels: list[Label]
    probabilities: np.ndarray
    unknown: np.ndarray
    scores: np.ndarray
    classes: tuple[Label, ...]
    sureness: Sureness | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def sets(self, coverage: float = 0.9, *, raw: bool = False) -> list[tuple[Label, ...]]:
        """For each input the labels that hold the true one with this chance, the likeliest first.

        The chance is marginal over tasks like those that the base was calibrated on: some tasks get more,
        others less. Vovk, Gammerman, Shafer (2005), "Algorithmic Learning in a Random World"; over tasks,
        Fisch et al. (2021), "Few-shot Conformal Prediction with Auxiliary Tasks".

        Args:
            coverage: the chance, between 0 and 1.
            raw: sets as the theory has them; they may be empty where every label fits ill. By default an
                empty set is given its best guess, which only adds coverage.

        Raises:
            SettingError: the base was never calibrated, or coverage is no share.
        """
        inside = self.in_sets(coverage, raw=raw)
        ranks = np.argsort(-self.probabilities, axis=1, kind="stable")
        return [
            tuple(self.classes[c] for c in rank if row[c]) for rank, row in zip(ranks, inside, strict=True)
        ]

    def in_sets(self, coverage: float = 0.9, *, raw: bool = False) -> np.ndarray:
        """`sets` as booleans [n, classes]."""
        if self.sureness is None:
            raise SettingError(f"sets({coverage}): " + UNCALIBRATED.format(what="set"))
        inside = nonconformity(self.probabilities) <= self.sureness.quantile(coverage)
        if not raw:
            inside[np.arange(len(self)), self.probabilities.argmax(1)] = True
        return inside

    def to_json(self) -> list[dict[str, Any]]:
        """One JSON object per input; from a calibrated base with its set of labels at 90 % coverage."""
        sets = self.sets() if self.sureness is not None else None
        return [
            {
                "label": label,
                "unknown": bool(self.unknown[i]),
                **({"set": list(sets[i])} if sets is not None else {}),
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
        labels = tuple(self.labels)
        if {str}.issuperset(
            map(type, labels)
        ):  # as most are; a task out of a store has only to be put together
            different = len(set(labels))
        else:
            labels = tuple(map(plain, labels))
            different = len(set(map(_key, labels)))
        object.__setattr__(self, "labels", labels)
        if different != len(labels):
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

    def encode(self, targets: Any) -> Int[Tensor, " n"]:
        """n labels to class indices [n]."""
        if isinstance(targets, Tensor) and self.labels == tuple(range(self.size)):
            return self._checked(targets.long())
        names = {label: i for i, label in enumerate(self.labels) if type(label) is str}
        if len(names) == self.size and all(type(t) is str and t in names for t in targets):
            return torch.tensor([names[t] for t in targets], dtype=torch.long)
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

    def loss(self, outputs: Float[Tensor, "n {self.size}"], targets: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        """Cross entropy of logits [n, classes] and indices [n]."""
        return F.cross_entropy(outputs, targets)

    def metrics(
        self, outputs: Float[Tensor, "n {self.size}"], targets: Int[Tensor, " n"]
    ) -> dict[str, float]:
        hits = (outputs.argmax(-1) == targets).float()
        return {"accuracy": float(hits.mean()), "loss": float(F.cross_entropy(outputs, targets))}

    def decode(
        self,
        outputs: Tensor,
        *,
        temperature: float = 1.0,
        threshold: float = float("-inf"),
        familiar: Callable[[Tensor], Tensor] | None = None,
        sureness: Sureness | None = None,
        **_: Any,
    ) -> ClassPrediction:
        """Logits [n, classes] to labels; an input whose score is under `threshold` is unknown.

        The score is the best class's, or what `familiar` makes of the logits.
        """
        values = outputs.double().numpy(force=True)
        best = values.argmax(1)
        scores = values.max(1) if familiar is None else familiar(outputs).numpy(force=True)
        return ClassPrediction(
            labels=[self.labels[i] for i in best.tolist()],
            probabilities=_softmax(values / temperature),
            unknown=scores < threshold,
            scores=scores,
            classes=self.labels,
            sureness=sureness,
        )

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": list(self.labels)}


def _softmax(values: np.ndarray) -> np.ndarray:
    """Rows [n, classes] as shares that sum to 1."""
    with np.errstate(invalid="ignore"):  # where every score of a row is -inf
        shares: np.ndarray = np.exp(values - values.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return shares


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
