"""How unsure a task of spans or boxes is of an input: by the one piece of it that it is least sure of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kshot.learners import Adapted, Located
from kshot.learners.eval_mode import evaluating
from kshot.tasks.spaces import Pieces


@dataclass(frozen=True)
class Doubtful:
    """The least sure candidate of each of n inputs.

    Attributes:
        classes: the labels, and None behind them: no piece of any of them.
        probabilities: [n, labels + 1]. unknown: [n] whether it looks like a piece of no class.
        rows: [n, d] what it looks like. error: share of all found pieces that are wrong, by their own probabilities.
    """

    classes: tuple[Any, ...]
    probabilities: np.ndarray
    unknown: np.ndarray
    rows: np.ndarray
    error: float


def doubts(task: Adapted, embedded: Any) -> Doubtful:
    """What is least sure in embedded inputs; an input without any candidate is sure to hold nothing."""
    learner, space = task.solver, task.space
    assert isinstance(learner, Located)
    assert isinstance(space, Pieces)
    chances, unknown, rows, wrong = [], [], [], list[float]()
    with torch.no_grad(), evaluating(task.learner):
        for item in embedded:
            found = learner.candidates(task.state, [item])[0]
            outputs = learner.scored(task.state, [found], space)
            every = torch.softmax(outputs.scores.double(), 1)
            every = torch.cat([every[:, 1:], every[:, :1]], 1)
            refused = outputs.unknown.double().exp()
            if not len(every):
                every, refused = torch.eye(space.size).double()[-1:], torch.zeros(1)
            two = every.topk(2, 1).values
            place = int((two[:, 0] - two[:, 1]).argmin())
            chances.append(every[place])
            unknown.append(bool(refused[place] >= 0.5))
            rows.append(
                found.vectors[place]
                if len(found.vectors)
                else found.vectors.new_zeros(found.vectors.shape[1])
            )
            wrong += [1 - one.probability for one in space.pick(outputs)[0] if one.column]
    return Doubtful(
        (*space.labels, None), torch.stack(chances).numpy(force=True), np.array(unknown),
        torch.stack(rows).float().numpy(force=True), float(np.mean(wrong)) if wrong else 0.0,
    )  # fmt: skip
