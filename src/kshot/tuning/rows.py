"""What suits a table of rows: how its columns are scaled, and the scalars of a head, by exact leave-one-out.

Which scale suits matters more than which head, and the nearest class mean shows it at less cost than any
other head. So the scale is chosen by that, and the scalars of the kernel ridge at that scale; what it is
worth is in results/estimators.jsonl.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import torch
from torch import Tensor

from kshot.encoders import ScaledRows
from kshot.errors import DataError, SettingError
from kshot.heads import HEADS, Head
from kshot.learners import ClosedForm

SCALINGS: Mapping[str, tuple[float, bool]] = MappingProxyType(
    {
        "shared": (0.0, False),
        "half": (0.5, False),
        "each": (1.0, False),
        "unit": (0.0, True),
        "half_unit": (0.5, True),
    }
)
"""Power and unit of `ScaledRows`, by name."""

_TRIED = ("shared", "half", "each", "unit")
_CURVED = {"scale": 1.0, "width": 1.0, "ridge": 0.1, "gain": 10.0}
_SMOOTH = {"scale": 3.0, "width": 0.3, "ridge": 1.0, "gain": 10.0}
_WIDTHS, _RIDGES = (0.001, 0.01, 0.1, 0.5, 2.0), (1e-4, 1e-2, 0.1, 1.0)
_FOR_NUMBERS = tuple({"width": w, "ridge": r} for w in _WIDTHS for r in _RIDGES)
_TEMPERATURES = torch.linspace(-4.0, 1.5, 14, dtype=torch.float64).exp()
"""In units of how far the scores of an input differ."""
_MOST = 600
"""Examples that a choice looks at; more would cost time and hardly change it."""
_FEW_COLUMNS = 5.0


@dataclass(frozen=True)
class RowsChoice:
    """A learner for rows, and why this one.

    Attributes:
        learner: the scaling and the head, to be adapted.
        scaling: a name of SCALINGS. head: the kind of head. scalars: of the head.
        estimate: mean leave-one-out log-loss of classes, or squared error of numbers; None: not estimated.
        tried: that figure for everything tried, by name.
    """

    learner: ClosedForm
    scaling: str
    head: str
    scalars: Mapping[str, float]
    estimate: float | None
    tried: Mapping[str, float]


def choose_for_rows(
    rows: Tensor, targets: Tensor, size: int, *, scaling: str = "auto", head: str = "auto"
) -> RowsChoice:
    """A closed-form learner for rows [n, d] in float64, and targets: classes [n] or numbers [n, size].

    Args:
        scaling: "auto", or a name of SCALINGS.
        head: "auto" (kernel ridge; the nearest mean where no class has two examples), or a kind of head.

    Raises:
        SettingError: no such scaling or head.
        DataError: no rows, or numbers whose mean or spread is no finite number.
    """
    if not len(rows):
        raise DataError(f"{len(rows)} examples were given; adapting needs at least one example per class")
    if scaling not in ("auto", *SCALINGS):
        raise SettingError(f"scaling is {scaling!r}; choose auto or one of {', '.join(SCALINGS)}")
    if head not in ("auto", *HEADS):
        raise SettingError(f"head is {head!r}; choose auto or one of {', '.join(HEADS)}")
    if targets.is_floating_point():
        return _for_numbers(rows, targets, size, scaling, head)
    seen = _some(targets)
    if int(torch.bincount(targets[seen], minlength=size).amax()) < 2:
        return _unseen(rows, scaling, head)
    return _for_classes(rows, seen, targets, size, scaling, head)


def _unseen(rows: Tensor, scaling: str, head: str) -> RowsChoice:
    """One example a class: nothing can be estimated, so what suits on average is taken."""
    chosen = one_shot_scaling(rows) if scaling == "auto" else scaling
    kind = "prototype" if head == "auto" else head
    learner = _learner(_scaled(rows, chosen), kind, {})
    return RowsChoice(learner, chosen, kind, {}, None, {})


def one_shot_scaling(rows: Tensor) -> str:
    """Rows by direction; where a few columns hold nearly all the variance, with those toned down first.

    Told by (sum v)^2 / sum v^2 of the columns' variances v, which counts the columns that vary. A direction
    needs some columns to be told by.
    """
    variances = rows.var(0, correction=0)
    total = variances.square().sum()
    effective = float(variances.sum().square() / total) if float(total) > 0 else float(rows.shape[1])
    if rows.shape[1] < 4:
        return "half"
    return "half_unit" if effective < _FEW_COLUMNS else "unit"


def _for_classes(
    rows: Tensor, seen: Tensor, labels: Tensor, size: int, scaling: str, head: str
) -> RowsChoice:
    judge = _Judge(seen, labels, size)
    names = [n for n in _TRIED if rows.shape[1] > 1 or n != "unit"] if scaling == "auto" else [scaling]
    encoders = {name: _scaled(rows, name) for name in names}
    features = {name: encoder(rows[seen]).float() for name, encoder in encoders.items()}
    if len(names) > 1:
        for name in names:
            judge(name, "prototype", {}, features[name])
        chosen = min(names, key=lambda name: judge.losses[_named(name, "prototype", {})])
    else:
        chosen = names[0]
    best = min((judge(chosen, *one, features[chosen]) for one in _heads(head)), key=lambda found: found[0])
    loss, temperature, kind, scalars = best
    learner = _learner(encoders[chosen], kind, scalars)
    learner.temperature.fill_(temperature)
    return RowsChoice(learner, chosen, kind, scalars, loss, judge.losses)


class _Judge:
    """Leave-one-out log-loss of heads on one set of examples.

    Only examples whose class has another one are asked: the others' class goes when they are left out. In
    float32, since a choice needs no more digits.
    """

    def __init__(self, seen: Tensor, labels: Tensor, size: int) -> None:
        self.labels, self.size = labels[seen], size
        counts = torch.bincount(self.labels, minlength=size)
        self.shared = counts[self.labels] > 1
        self.losses: dict[str, float] = {}

    def __call__(
        self, scaling: str, kind: str, scalars: Mapping[str, float], features: Tensor
    ) -> tuple[float, float, str, Mapping[str, float]]:
        """Loss, temperature and head; notes the loss."""
        with torch.no_grad():
            head = _light_head(kind, tuple(scalars.items()), features.shape[1])
            scores = head.leave_one_out(features, self.labels, self.size)
        loss, temperature = smoothed_loss(scores[self.shared], self.labels[self.shared])
        self.losses[_named(scaling, kind, scalars)] = loss
        return loss, temperature, kind, scalars


def _heads(head: str) -> Iterator[tuple[str, Mapping[str, float]]]:
    if head in ("auto", "kernel_ridge"):
        yield "kernel_ridge", _CURVED
        yield "kernel_ridge", _SMOOTH
    elif head == "ridge":
        yield from (("ridge", {"ridge": value}) for value in (0.03, 0.3, 3.0))
    elif head == "lda":
        yield from (("lda", {"floor": 1 / 3, "share": value}) for value in (1 / 3, 10 / 3))
    else:
        yield head, {}


def smoothed_loss(scores: Tensor, targets: Tensor) -> tuple[float, float]:
    """Least mean log-loss of scores [n, size] over temperatures, whatever the scores' unit, and the temperature.

    Smoothed as if one further example had been answered at random: a few examples that are all answered right
    do not make a task infinitely sure of itself.
    """
    share = 1 / (len(scores) + 1)
    spread = float((scores - scores.mean(1, keepdim=True)).square().mean().sqrt())
    tried = _TEMPERATURES * (spread if spread > 0 else 1.0)
    log_odds = torch.log_softmax(scores / tried.view(-1, 1, 1).to(scores), -1)
    right = log_odds.gather(2, targets.view(1, -1, 1).expand(len(_TEMPERATURES), -1, 1)).squeeze(2)
    losses = -((1 - share) * right + share * log_odds.mean(2)).mean(1)
    best = int(losses.argmin())
    return float(losses[best]), float(tried[best])


def _for_numbers(rows: Tensor, targets: Tensor, size: int, scaling: str, head: str) -> RowsChoice:
    if not bool(torch.isfinite(targets.var(0, correction=0)).all()):
        raise DataError(
            f"targets run up to {float(targets.abs().max()):.3g}, too far for their variance to be a number; rescale them"
        )
    kind = "kernel_ridge" if head == "auto" else head
    names = ["each", "shared"] if scaling == "auto" else [scaling]
    if len(rows) < 3:
        return RowsChoice(_learner(_scaled(rows, names[0]), kind, {}), names[0], kind, {}, None, {})
    settings = _FOR_NUMBERS if kind == "kernel_ridge" else ({"ridge": r} for r in _RIDGES)
    found = _tried_numbers(rows, targets, size, names, kind, list(settings) if kind != "bayesian" else [{}])
    (error, name, scalars), tried = found
    return RowsChoice(_learner(_scaled(rows, name), kind, scalars), name, kind, scalars, error, tried)


def _tried_numbers(
    rows: Tensor, targets: Tensor, size: int, names: list[str], kind: str, settings: list[Mapping[str, float]]
) -> tuple[tuple[float, str, Mapping[str, float]], dict[str, float]]:
    step = math.ceil(len(rows) / _MOST)
    tried, results = {}, []
    for name in names:
        features = _scaled(rows, name)(rows)[::step]
        for scalars in settings:
            with torch.no_grad():
                answers = _head(kind, scalars, rows.shape[1]).leave_one_out(features, targets[::step], size)
            means = answers[0] if isinstance(answers, tuple) else answers
            error = float((means - targets[::step]).square().mean())
            tried[_named(name, kind, scalars)] = error
            results.append((error, name, scalars))
    return min(results, key=lambda found: found[0]), tried


def _some(labels: Tensor) -> Tensor:
    """Places of at most _MOST examples, or two a class where there are many classes, in turn from each class."""
    if len(labels) <= _MOST:
        return torch.arange(len(labels))
    order = torch.argsort(labels, stable=True)
    counts = torch.bincount(labels)
    within = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[order]]
    turn = torch.argsort(within, stable=True)
    most = max(_MOST, min(int((within < 2).sum()), 2 * _MOST))
    return order[turn[:most]].sort().values


def _scaled(rows: Tensor, name: str) -> ScaledRows:
    power, unit = SCALINGS[name]
    return ScaledRows.fitted(rows, power=power, unit=unit)


def _head(
    kind: str, scalars: Mapping[str, float], features: int, number: torch.dtype = torch.float64
) -> Head:
    """A head with these scalars; a ridge is meant for features whose squares sum to 1, so it grows with their number."""
    head = HEADS[kind]().to(number).requires_grad_(False)
    for name, value in scalars.items():
        factor = features if (kind, name) == ("ridge", "ridge") else 1
        getattr(head, f"log_{name}").fill_(math.log(value * factor))
    return head


@lru_cache(maxsize=64)
def _light_head(kind: str, scalars: tuple[tuple[str, float], ...], features: int) -> Head:
    """A head in float32 that is only asked, never kept: making one costs as much as asking it."""
    return _head(kind, dict(scalars), features, torch.float32)


def _learner(encoder: ScaledRows, kind: str, scalars: Mapping[str, float]) -> ClosedForm:
    learner = ClosedForm(encoder, _head(kind, scalars, encoder.inputs))
    return learner.eval()


def _named(scaling: str, kind: str, scalars: Mapping[str, float]) -> str:
    return " ".join([scaling, kind, *(f"{name}={value:.3g}" for name, value in scalars.items())])
