"""What a base learns about its own answers, over many tasks whose answers are known.

Temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks"), how familiar known inputs
are, how ill true labels fit (Fisch et al. 2021, "Few-shot Conformal Prediction with Auxiliary Tasks"),
and the accuracy: one row for each size of task, stored in the base, so that they work at one shot,
where a task can estimate nothing about itself.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import SettingError
from kshot.learners.learner import Learner
from kshot.learners.self_knowledge import Cell, table_of
from kshot.seeds import generator
from kshot.tasks import TaskSource
from kshot.tasks.spaces.sureness import LEVELS, Sureness, checked_share, nonconformity
from kshot.trust.answered import SHOTS, WAYS, Answered, answer_many


def calibrate(
    learner: Learner,
    source: TaskSource,
    *,
    tasks: int = 100,
    refused: float = 0.05,
    ways: Sequence[int] | None = None,
    shots: Sequence[int] | None = None,
    seed: int = 0,
) -> None:
    """Set `learner.self_knowledge`, `.temperature` and `.seen` from tasks of `source`.

    The tasks should be of the kind that the base will meet and of classes that it was not trained on.
    What is promised afterwards (shares refused, coverage of sets) holds over tasks like these.

    Args:
        tasks: how many of each size.
        refused: share of known inputs that may wrongly be called unknown, where none is asked for.
        ways, shots: sizes of tasks. By default, where an example's features are the same in every task so
            that they are computed once, all of `WAYS` and `SHOTS` that the data can make; else the
            source's own.

    Only classes have more than `.seen`.

    Raises:
        SettingError: refused is no share; sizes are given and the source cannot be asked for them.

    >>> import torch, kshot
    >>> noise = torch.rand(48, 6, generator=torch.Generator().manual_seed(0))
    >>> rows = torch.eye(6).repeat(8, 1) + noise / 9
    >>> source = kshot.data.Episodes(kshot.data.Pool(rows, [n % 6 for n in range(48)]), kshot.tasks.NWayKShot(2, 1, 5))
    >>> base = kshot.learners.ProtoNet(kshot.encoders.identity(6))
    >>> calibrate(base, source, tasks=20)
    >>> answers = base.adapt(rows[:2], ["a", "b"]).predict(rows[6:9])
    >>> answers.sets(coverage=0.9)[:2], answers.unknown.tolist()
    ([('a',), ('b',)], [False, False, True])
    """
    checked_share("refused", refused)
    if tasks < 1:
        raise SettingError(f"tasks is {tasks}; give at least 1")
    found, seen = answer_many(learner, source, tasks, generator(seed, "calibrate"), ways=ways, shots=shots)
    if len(seen):
        learner.seen = torch.stack([seen.amin(0), seen.amax(0)])
    if found:
        learner.temperature.fill_(best_temperature([a.outputs for a in found], [a.targets for a in found]))
        learner.self_knowledge = measured(found, refused).to(learner.seen.device)


def measured(found: Sequence[Answered], refused: float) -> Tensor:
    """The table of these tasks, a row for each size (see `learners.self_knowledge`)."""
    return table_of([_cell(own, refused) for own in _by_size(found)])


def _by_size(found: Sequence[Answered]) -> list[list[Answered]]:
    """Tasks of like size together: of the same ways and shots, or where these vary of the nearest listed ones."""
    exact = {(a.ways, a.shots) for a in found}
    groups: dict[tuple[float, float], list[Answered]] = defaultdict(list)
    for a in found:
        if a.gauge is not None:
            size = (float(a.ways), a.shots)
            groups[size if len(exact) <= len(WAYS) * len(SHOTS) else _nearest(size)].append(a)
    return list(groups.values())


def _nearest(size: tuple[float, float]) -> tuple[float, float]:
    ways, shots = (
        min(listed, key=lambda node: abs(math.log(node / value)))
        for listed, value in zip((WAYS, SHOTS), size, strict=True)
    )
    return float(ways), float(shots)


def _cell(found: Sequence[Answered], refused: float) -> Cell:
    """What these tasks of like size say."""
    targets, measured = [a.targets for a in found], [a.measured for a in found]
    temperature = best_temperature(measured, targets)
    hits = np.array([float((a.outputs.argmax(1) == a.targets).double().mean()) for a in found])
    low, high = np.quantile(hits, [0.05, 0.95])
    fits = [_of_true(out / temperature, goal) for out, goal in zip(measured, targets, strict=True)]
    familiar = [a.gauge.familiarity(a.outputs).numpy(force=True) for a in found if a.gauge is not None]
    sureness = Sureness(_quantiles(familiar), _quantiles(fits), float(len(found)), refused, _standing(found))
    ways, shots = float(np.mean([a.ways for a in found])), float(np.mean([a.shots for a in found]))
    return Cell(ways, shots, float(hits.mean()), float(low), float(high), temperature, sureness)


def _standing(found: Sequence[Answered]) -> np.ndarray | None:
    """Quantiles of how inputs stand to their task's examples; None unless every task could leave out its own."""
    gauges = [a.gauge for a in found if a.gauge is not None and not math.isnan(a.gauge.level)]
    if len(gauges) < len(found):
        return None
    pairs = zip(gauges, found, strict=True)
    return _quantiles([((g.familiarity(a.outputs) - g.level) / g.spread).numpy(force=True) for g, a in pairs])


def _of_true(scores: Tensor, targets: Tensor) -> np.ndarray:
    """Nonconformity of the true labels, [queries]."""
    fits = nonconformity(torch.softmax(scores, 1).numpy(force=True))
    own: np.ndarray = np.take_along_axis(fits, targets.numpy(force=True)[:, None], 1)[:, 0]
    return own


def _quantiles(tasks: Sequence[np.ndarray]) -> np.ndarray:
    """Quantiles at `LEVELS`; every task weighs the same, however many queries it has."""
    values = np.concatenate(tasks)
    weights = np.concatenate([np.full(len(task), 1 / len(task)) for task in tasks])
    order = np.argsort(values)
    heights = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    quantiles: np.ndarray = np.interp(LEVELS, heights, values[order])
    return quantiles


def best_temperature(outputs: list[Tensor], targets: list[Tensor]) -> float:
    """The temperature of least mean log-loss, by golden-section search over its logarithm.

    Args:
        outputs: logits [n, classes] of each task. targets: class indices [n] of each task.
    """

    alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for pair in zip(outputs, targets, strict=True):
        alike[pair[0].shape].append(pair)
    stacks = [(torch.stack([o for o, _ in own]), torch.stack([t for _, t in own])) for own in alike.values()]

    def cost(log_t: float) -> float:
        """Mean over tasks; those of one shape at once, because there are thousands of small ones."""
        scale = math.exp(log_t)
        each = [len(o) * F.cross_entropy((o / scale).flatten(0, 1), t.flatten()) for o, t in stacks]
        return float(torch.stack(each).sum()) / len(outputs)

    low, high, golden = -12.0, 12.0, 0.6180339887498949
    for _ in range(32):
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if cost(a) < cost(b) else (a, high)
    return float(torch.tensor((low + high) / 2, dtype=torch.float64).exp())
