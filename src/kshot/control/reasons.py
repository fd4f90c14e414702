"""Why does a controller believe what it believes: which transitions moved its model, and predicted against seen."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch

from kshot.control.dynamics import Dynamics
from kshot.errors import UnsupportedError, need
from kshot.learners import Adapted

_OURS, _THEIRS, _ORACLE = "#d1495b", "#00798c", "#777777"


@dataclass(frozen=True)
class Reasons:
    """What each of n transitions did to a model of dynamics.

    Attributes:
        ids: of the transitions.
        moved: how far the coefficients would be without it, in standard deviations of the posterior, [n]; exact.
        seen: how the observation changed, in standard deviations of the training data, [n, outputs].
        before: what the model predicted knowing nothing of this robot, [n, outputs].
        without: what it predicts having learned from all the other transitions, [n, outputs]; exact.
    """

    ids: tuple[str, ...]
    moved: np.ndarray
    seen: np.ndarray
    before: np.ndarray
    without: np.ndarray

    @property
    def errors(self) -> tuple[float, float]:
        """Mean squared error before adapting, and of each transition by the others."""
        return tuple(float(((p - self.seen) ** 2).mean()) for p in (self.before, self.without))  # type: ignore[return-value]

    def strongest(self, count: int = 5) -> list[tuple[str, float]]:
        """The transitions that moved the model most, with how far."""
        order = np.argsort(-self.moved)[:count]
        return [(self.ids[place], float(self.moved[place])) for place in order]


@torch.no_grad()
def why(task: Adapted) -> Reasons:
    """Reasons of what a task of a `Dynamics` believes; `controller.task()` is such a task.

    Raises:
        UnsupportedError: a task of another learner, or of a model that does not adapt.

    >>> import kshot
    >>> learner = Dynamics(kshot.encoders.mlp(3, (8,)), outputs=2, directions=4)
    >>> task = learner.adapt(torch.eye(3), torch.ones(3, 2))
    >>> len(why(task).strongest(2))
    2
    """
    learner = task.learner
    if not isinstance(learner, Dynamics) or not learner.directions:
        raise UnsupportedError(
            f"{type(learner).__name__} has no coefficients that transitions move; reasons are given for "
            "kshot.control.Dynamics with directions above 0"
        )
    features = task.embedded
    changes = task.space.encode(task.targets).to(features)
    evidence, pull = learner.evidence(features, changes)
    state = learner.posterior(evidence.sum(0), pull.sum(0))
    # all but one, for each of them: downdates of the sums
    others = learner.posterior(evidence.sum(0) - evidence, pull.sum(0) - pull)
    gone = others["coefficients"] - state["coefficients"]
    moved = torch.einsum("nk,kl,nl->n", gone, state["precision"], gone).clamp(min=0).sqrt()
    without = learner.predicted(others["coefficients"], features)
    scaled = changes / changes.new_tensor(learner.scale)
    parts = (moved, scaled, learner.expected(features), without)
    return Reasons(task.ids, *(part.numpy(force=True) for part in parts))


def reasons_picture(reasons: Reasons, names: dict[int, str] | None = None) -> bytes:
    """A PNG: how far each transition moved the model, and predicted against seen for some numbers of the observation.

    Args:
        names: the numbers of the observation to show, and what they are called; None: the three worst predicted.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = need("matplotlib.figure", "plots").Figure(figsize=(12, 3.6), layout="constrained")
    if names is None:
        worst = np.argsort(-((reasons.before - reasons.seen) ** 2).mean(0))[:3]
        names = {int(place): f"number {place}" for place in worst}
    left, *rest = figure.subplots(1, 1 + len(names))
    steps = np.arange(len(reasons.moved))
    left.bar(steps, reasons.moved, color=_OURS)
    left.set_title("how far each transition moved it", fontsize=9)
    left.set_xlabel("transition, the latest at the right")
    left.set_ylabel("standard deviations")
    for axes, (place, name) in zip(rest, names.items(), strict=True):
        low, high = reasons.seen[:, place].min(), reasons.seen[:, place].max()
        axes.plot([low, high], [low, high], color="#cccccc", linewidth=1)
        axes.scatter(
            reasons.seen[:, place], reasons.before[:, place], s=14, color=_ORACLE, label="not adapted"
        )
        axes.scatter(
            reasons.seen[:, place], reasons.without[:, place], s=14, color=_OURS, label="by the others"
        )
        axes.set_title(f"change of {name}", fontsize=9)
        axes.set_xlabel("seen")
    rest[0].set_ylabel("predicted")
    rest[0].legend()
    return png(figure)


def recovery_picture(
    errors: dict[str, np.ndarray], rewards: dict[str, np.ndarray], broken: int, told: str, smooth: int = 20
) -> bytes:
    """A PNG of what models predict, and of the reward, before and after a change.

    Args:
        errors: of predictions, [robots, steps], of each model. rewards: [robots, steps] of each controller.
        broken: the step of the change, and what it was: `told`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = need("matplotlib.figure", "plots").Figure(figsize=(12, 4), layout="constrained")
    panels = zip(
        figure.subplots(1, 2),
        (errors, rewards),
        ("squared error of the prediction", "reward a step"),
        strict=True,
    )
    for axes, rows, label in panels:
        for name, found in rows.items():
            _course(axes, name, found, smooth)
        axes.axvline(broken, color="black", linestyle="--", linewidth=1)
        axes.set_xlabel("step")
        axes.set_ylabel(f"{label}, mean of {smooth}")
        axes.legend(loc="best")
    figure.suptitle(f"from the dashed line on: {told}", fontsize=10)
    return png(figure)


def _course(axes: Any, name: str, found: np.ndarray, smooth: int) -> None:
    """A running mean over robots with its standard error."""
    colour = {"adaptive": _OURS, "plain": _THEIRS, "oracle": _ORACLE}.get(name)
    kernel = np.ones(smooth) / smooth
    each = np.stack([np.convolve(row, kernel, mode="valid") for row in found])
    mean, steps = each.mean(0), np.arange(each.shape[1]) + smooth
    axes.plot(steps, mean, color=colour, linewidth=2, label=name)
    if len(found) > 1:
        error = each.std(0, ddof=1) / len(found) ** 0.5
        axes.fill_between(steps, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)


def png(figure: Any) -> bytes:
    """A figure of matplotlib as a PNG."""
    out = BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
