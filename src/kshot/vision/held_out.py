"""How well boxes held out are found and named, and whether one way to name is better than another by more than chance."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from kshot.learners import Adapted
from kshot.learners.eval_mode import evaluating
from kshot.vision.average_precision import average_precision
from kshot.vision.detection import Detector


def finding(task: Adapted, items: list[Tensor], rows: list[Tensor]) -> float:
    """AP50 of boxes whatever their label. Of the few boxes held out every one counts, where the usual mean of AP50 over
    labels is mostly noise."""
    found = task.space.decode(task.outputs(items), least=0.01).boxes
    gold = [[(*row[:4], "any") for row in own[own[:, 4] >= 0].tolist()] for own in rows]
    return average_precision([[(*box[:4], "any", *box[5:]) for box in own] for own in found], gold).ap


def naming(task: Adapted, items: list[Tensor], rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Of each marked box: the probability of its right name among the names, and whether that is the likeliest."""
    learner = cast(Detector, task.solver)
    marked = [own[own[:, 4] >= 0] for own in rows]
    right = torch.cat(marked)[:, 4].long()
    with torch.no_grad(), evaluating(learner):
        looks = torch.cat(learner.localiser.vectors_of(items, marked))
        names = learner.names(task.state, looks, task.space)[:, 1:].softmax(1)
    return names.gather(1, right[:, None])[:, 0], names.argmax(1) == right


def surely_more(one: Tensor, other: Tensor) -> bool:
    """Whether one way names more of the same boxes right than another, by more than chance makes it (the statistic of
    McNemar 1947 above 1)."""
    if len(one) != len(other):
        return False
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    return gained - lost > math.sqrt(gained + lost)
