"""What a task of spans or boxes says of itself: each example asked of the task without it, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kshot.learners.eval_mode import evaluating
from kshot.learners.given import like
from kshot.learners.located import Located
from kshot.learners.self_estimate import SelfEstimate, SuspectLabel, suspicion, wilson
from kshot.seeds import generator
from kshot.tasks.spaces import Pieces

if TYPE_CHECKING:
    from kshot.learners.adapted import Adapted

_DRAWS = 1000


@dataclass(frozen=True)
class PiecesEstimate(SelfEstimate):
    """What a task of spans or boxes says of its own answers.

    Each example is asked of the task without it. `accuracy` is the share of examples answered as golden checks want it:
    every piece found, none too many. Pieces of a label that only this example shows are not asked for.

    Attributes:
        wanted, found, met: pieces asked for, pieces answered, and how many of these are right.
        f1, f1_low, f1_high: 2 met / (wanted + found), and its 95 % interval (bootstrap over examples); None where judged
            is 0, the interval also where it is 1.
    """

    wanted: int
    found: int
    met: int
    f1: float | None
    f1_low: float | None
    f1_high: float | None

    def __str__(self) -> str:
        if self.f1 is None:
            return "No self-estimate: no label is shown by two examples, so none can be left out and asked."
        between = (
            f" (95 %: {100 * self.f1_low:.0f} to {100 * self.f1_high:.0f} %)"
            if self.f1_low is not None and self.f1_high is not None
            else ""
        )
        return (
            f"F1 {100 * self.f1:.0f} %{between}: of {self.wanted} marked pieces {self.met} were found, and "
            f"{self.found - self.met} others, when each of {self.judged} examples was asked of the task without it."
        )


def estimate_located(task: Adapted) -> PiecesEstimate:
    """How well pieces of examples held out are found and named; `task.self_estimate` is the public door."""
    space = task.space
    assert isinstance(space, Pieces)
    known = [_known_without(task, place) for place in range(len(task))]
    asked = [place for place in range(len(task)) if known[place]]
    if not asked:
        return PiecesEstimate(0, None, None, None, None, None, None, None, None, 0, 0, 0, None, None, None)
    answers = task.leave_one_out().pieces
    counts, whole = [], 0
    for place in asked:
        wanted = [piece for piece in space.named(task.targets[place]) if piece[-1] in known[place]]
        met = space.met(wanted, answers[place])
        whole += met == len(wanted) == len(answers[place])
        counts.append((len(wanted), len(answers[place]), met))
    each = np.array(counts)
    low, high = wilson(whole, len(asked))
    wanted, found, met = each.sum(0).tolist()
    share = whole / len(asked)
    return PiecesEstimate(
        len(asked), share, low, high, None, None, None, share, None,
        wanted, found, met, float(_f1(each.sum(0))), *_interval(each),
    )  # fmt: skip


def _known_without(task: Adapted, place: int) -> set[Any]:
    """The labels that the other examples show."""
    return {
        piece[-1]
        for n, pieces in enumerate(task.targets)
        for piece in pieces
        if n != place and piece[-1] is not None
    }


def _f1(counts: np.ndarray) -> Any:
    """Of counts [..., 3]: wanted, found, met. Where nothing is wanted and nothing found it is 1."""
    total = counts[..., 0] + counts[..., 1]
    return np.where(total > 0, 2 * counts[..., 2] / np.maximum(total, 1), 1.0)


def _interval(each: np.ndarray) -> tuple[float | None, float | None]:
    if len(each) < 2:
        return None, None
    draws = torch.randint(len(each), (_DRAWS, len(each)), generator=generator(0, "self_estimate")).numpy()
    low, high = np.quantile(_f1(each[draws].sum(1)), (0.025, 0.975))
    return float(low), float(high)


def suspects_located(task: Adapted, share: float, least: float) -> list[SuspectLabel]:
    """Marked pieces whose label is probably wrong, by what the task without their example calls what is there."""
    learner, space = task.solver, task.space
    assert isinstance(learner, Located)
    assert isinstance(space, Pieces)
    rows = like(list(task.embedded), space.encode(task.targets))
    found = []
    with torch.no_grad(), evaluating(learner):
        for place, rest in enumerate(task.left_out_states):
            own = rows[place][rows[place][:, -1] >= 0]
            if rest.state is None or len(rest.state["present"]) < 2 or not len(own):
                continue
            chances = learner.names(rest.state, learner.localiser.vectors(task.embedded[place], own), space)
            named = space.named(task.targets[place])
            found += _suspects(task.ids[place], named, own, chances[:, 1:].softmax(1), space, share, least)
    return sorted(found, key=lambda suspect: -suspect.chance)


def _suspects(
    name: str, pieces: Sequence[Any], own: Tensor, chances: Tensor, space: Pieces, share: float, least: float
) -> list[SuspectLabel]:
    """Pieces of one example that look mislabelled, given the chances [pieces, labels] of each label."""
    found = []
    labels = len(space.labels)
    for piece, label, row in zip(pieces, own[:, -1].long().tolist(), chances, strict=True):
        best, p = int(row.argmax()), float(row[label])
        if p == 0.0:  # no other example shows this label
            continue
        chance = suspicion(p, share, labels)
        if chance >= least and best != label:
            found.append(SuspectLabel(name, space.labels[label], space.labels[best], chance, piece))
    return found
