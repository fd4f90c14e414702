"""What is refused, settled anew for a network that knows its task's pictures."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.learners.learner import State
from kshot.tasks.spaces import OutputSpace
from kshot.vision.detection import Detector
from kshot.vision.marked_crops import UNMARKED, MarkedCrops, names_of

_FOLDS, _ASKED, _TURNS, _PACE = 5, 5, 30, 0.1
"""Parts of the pictures, crops of each, steps and their size."""
CROPS = _FOLDS * _ASKED
"""Crops that are embedded for it."""

Looks = tuple[list[Tensor], list[Tensor]]
"""What marked boxes look like, and likely places that are not marked, of each picture or crop."""


def settle_refusals(learner: Detector, space: OutputSpace, crops: MarkedCrops, items: list[Tensor]) -> None:
    """Fit the scalars that decide what is refused, in place: each picture's crops are named by the other fifths of the
    pictures. Without it everything new would look unlike what was taught.

    Args:
        items: what the learner embeds the pictures of `crops` to.
    """
    folds = [place % _FOLDS for place in range(len(items))]
    looks = _looks(learner, items, crops.rows)
    asked = [_asked(learner, crops, fold, folds) for fold in sorted(set(folds))]
    scalars = [*learner.head.parameters(), learner.level, learner.log_weight]
    scalars += [learner.outside, learner.log_scale]
    start = [scalar.detach().clone() for scalar in scalars]
    steepest = torch.optim.Adam(scalars, _PACE)
    for _ in range(_TURNS):
        steepest.zero_grad()
        with torch.enable_grad():
            away = torch.stack([(p - q).square().sum() for p, q in zip(scalars, start, strict=True)]).sum()
            losses, count = away / 2, 1
            for fold, (vectors, goal) in enumerate(asked):
                rest = [place for place in range(len(items)) if folds[place] != fold]
                state = _taught(learner, space, crops.rows, looks, rest)
                if state is None:
                    continue
                keep = torch.isin(goal, torch.cat([state["present"] + 1, goal.new_zeros(1)]))
                names = learner.names(state, vectors[keep], space)
                losses = losses + F.nll_loss(names, goal[keep], reduction="sum")
                count = count + int(keep.sum())
            (losses / count).backward()  # type: ignore[no-untyped-call]
        steepest.step()


def _looks(learner: Detector, items: list[Tensor], rows: list[Tensor]) -> Looks:
    with torch.no_grad():
        return learner.localiser.vectors_of(items, rows), learner.localiser.aside(items, rows, {}, UNMARKED)


def _asked(learner: Detector, crops: MarkedCrops, fold: int, folds: list[int]) -> tuple[Tensor, Tensor]:
    """Vectors of crops of a fold's pictures, marked and not, and their columns among the names."""
    groups = crops.groups([place for place, own in enumerate(folds) if own == fold])
    pictures, boxes = crops.many(groups, _ASKED)
    with torch.no_grad():
        items = list(learner.embed(pictures))
    marked, aside = _looks(learner, items, [crops.shaken(own) for own in boxes])
    others = torch.cat(aside)
    return torch.cat([*marked, others]), names_of(boxes, others)


def _taught(
    learner: Detector, space: OutputSpace, rows: list[Tensor], looks: Looks, places: list[int]
) -> State | None:
    """What names boxes by these pictures alone; None where they show no label."""
    marked, aside = looks
    labels = torch.cat([rows[place][:, 4].long() for place in places]) if places else torch.zeros(0)
    if not bool((labels >= 0).any()):
        return None
    own = torch.cat([marked[place] for place in places])
    state = learner.named(own[labels >= 0], labels[labels >= 0], space.size - 1)
    state["aside"] = torch.cat([own[labels < 0], *(aside[place] for place in places)])
    return state
