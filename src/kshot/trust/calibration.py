"""What a base learns about its own answers, over its training tasks.

Temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks") and the score under which
an input is unknown are estimated over many tasks and stored in the base, so that they work at one
shot, where a task can estimate nothing about itself.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import SettingError
from kshot.learners.learner import Learner, evaluating
from kshot.seeds import generator
from kshot.tasks import TaskSource
from kshot.tasks.spaces import Classes


def calibrate(
    learner: Learner, source: TaskSource, *, tasks: int = 100, refused: float = 0.05, seed: int = 0
) -> None:
    """Set `learner.temperature`, `.threshold` and `.seen` from tasks of `source`.

    Args:
        refused: share of known inputs that may be wrongly called unknown.

    Only classes have a temperature and a threshold; for other spaces just `.seen` is set.
    """
    if not 0 < refused < 1:
        raise SettingError(f"refused is {refused}; it is a share between 0 and 1, for example 0.05")
    rng = generator(seed, "calibrate")
    outputs, targets, profiles = [], [], []
    with torch.no_grad(), evaluating(learner):
        for _ in range(tasks):
            task = learner.prepare(source.sample(rng))
            shown = task.support if task.support is not None and len(task.support) else task.query
            if shown is not None:
                profiles.append(learner.encoder.profile(shown.inputs))
            if isinstance(task.space, Classes):
                out, goal = learner.answer(task)
                outputs.append(out.double())
                targets.append(goal)
    seen = torch.cat(profiles)
    learner.seen = torch.stack([seen.amin(0), seen.amax(0)])
    if outputs:
        learner.temperature.fill_(best_temperature(outputs, targets))
        scores = torch.cat([out.max(1).values for out in outputs])
        learner.threshold.fill_(float(torch.quantile(scores[:1_000_000], refused)))


def best_temperature(outputs: list[Tensor], targets: list[Tensor]) -> float:
    """The temperature of least mean log-loss, by golden-section search over its logarithm.

    Args:
        outputs: logits [n, classes] of each task. targets: class indices [n] of each task.
    """

    def cost(log_t: float) -> float:
        scale = torch.tensor(log_t, dtype=torch.float64).exp()
        losses = [F.cross_entropy(out / scale, goal) for out, goal in zip(outputs, targets, strict=True)]
        return float(torch.stack(losses).mean())

    low, high, golden = -4.0, 4.0, 0.6180339887498949
    for _ in range(30):
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if cost(a) < cost(b) else (a, high)
    return float(torch.tensor((low + high) / 2, dtype=torch.float64).exp())
