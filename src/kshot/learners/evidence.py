"""What a task would answer without each of its examples in turn: evidence and leave-one-out.

Always exact. Closed-form heads have a formula, worked out in float64; for any other learner the task
really is adapted without each example.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kshot.errors import TaskError, UnsupportedError
from kshot.learners.eval_mode import evaluating
from kshot.learners.given import like, plain
from kshot.learners.results import Explanation, Ranked
from kshot.learners.self_knowledge import known
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes, ClassPrediction, Gaussian, NumberPrediction, Numbers, Pieces

if TYPE_CHECKING:
    from kshot.heads import WithoutEach
    from kshot.learners.adapted import Adapted

FORMULA = "exact: by the closed form of the head solved without each example in turn"
AT_ONE_TEMPERATURE = "; probabilities at the temperature of the whole task"
READAPTED = "exact: adapted without each example in turn"
_SCORES = 2**19
"""Scores held at a time: queries are answered in parts, which nearly fit in a processor's cache."""
_MOST = 2**31
"""Scores worked out at most for the temperatures of the tasks without each example."""


def without_each(task: Adapted) -> WithoutEach | None:
    """The closed form for this task, in float64; None where its learner has none."""
    learner = task.solver
    encoded = task.space.encode(task.targets)
    if not isinstance(encoded, Tensor) or not isinstance(task.embedded, Tensor):
        return None
    exact = precise(task.embedded)
    like = exact.dtype if encoded.is_floating_point() else encoded.dtype
    with torch.no_grad(), evaluating(learner):
        return learner.without_each(Examples(exact, encoded.to(exact.device, like)), task.space)


def precise(embedded: Any) -> Any:
    """Embeddings in float64, where the device has it: differences of nearly equal answers need the digits."""
    if isinstance(embedded, list):
        return [precise(item) for item in embedded]
    return (
        embedded if embedded.device.type == "mps" or not embedded.is_floating_point() else embedded.double()
    )


def precise_state(task: Adapted) -> Any:
    """The task's state solved in float64; `task.precise_state` keeps it."""
    exact = precise(task.embedded)
    examples = Examples(exact, like(exact, task.space.encode(task.targets)))
    with torch.no_grad(), evaluating(task.learner):
        return task.solver.solve(examples, task.space)


class Warmth(NamedTuple):
    """What turns scores without each example into answers, all [n]; a task without it has a gauge of its own.

    Attributes:
        temperature: what scores are divided by.
        threshold: the familiarity under which an input is unknown.
        others, span: of the gauge, which scores are measured in (see `self_knowledge.Gauge`).
    """

    temperature: Tensor
    threshold: Tensor
    others: Tensor
    span: Tensor


def warmth(task: Adapted) -> Warmth | None:
    """As each task without one example would have it; None where the base was never calibrated.

    That temperature depends on how all examples are answered, so each is asked without each: n queries, once per
    task. Beyond 2^31 scores the whole task's own serves, and `explain` says so.
    """
    fast, gauge, space = task.left_out, task.gauge, task.space
    if fast is None or gauge is None or not isinstance(space, Classes):
        return None
    places = like(task.embedded, space.encode(task.targets))
    alone = torch.bincount(places, minlength=space.size)[places] == 1
    if _too_many(task):
        others, span = (torch.full((len(task),), value).double() for value in (gauge.others, gauge.span))
    else:
        others, span = _gauges(task, fast, places, alone)
    ways = space.size - alone.long()
    cells = {w: known(task.learner, w, (len(task) - 1) / max(w, 1)) for w in set(ways.tolist())}
    found = [cells[w] for w in ways.tolist()]
    heat = others.new_tensor([cell.temperature if cell else 1.0 for cell in found])
    least = others.new_tensor(
        [gauge.sureness(cell.sureness).threshold() if cell else -math.inf for cell in found]
    )
    if not math.isnan(gauge.level):  # how examples stand to each other is measured once, on the whole task
        least = (gauge.others + gauge.span * least - others) / span
    return Warmth(heat * span, least, others, span)


def _too_many(task: Adapted) -> bool:
    return len(task) ** 2 * task.space.size > _MOST


def _gauges(task: Adapted, fast: WithoutEach, places: Tensor, alone: Tensor) -> tuple[Tensor, Tensor]:
    """`others` and `span` of `Gauge.of` for each task without one example."""
    count, size = len(task), task.space.size
    exact = precise(task.embedded)
    total, mine, largest = (exact.new_zeros(count) for _ in range(3))
    for rows in torch.split(torch.arange(count, device=exact.device), max(1, _SCORES // (count * size))):
        scores = fast.answers(exact[rows])
        scores = scores.masked_fill(scores == -math.inf, 0.0)
        scores[torch.arange(len(rows)), rows] = 0.0  # an example is no part of the task without it
        total += scores.sum((0, 2))
        mine += scores.gather(2, places[rows].view(-1, 1, 1).expand(-1, count, 1)).sum((0, 2))
        largest = torch.maximum(largest, scores.abs().amax((0, 2)))
    entries = (count - 1) * (size - alone.long())
    others = (total - mine) / (entries - (count - 1)).clamp(min=1)
    return others, torch.maximum(mine / (count - 1) - others, 1e-3 * largest + 1e-12)


def leave_one_out(task: Adapted) -> Any:
    """The prediction for each support example by the task without it; `task.leave_one_out` is the public door."""
    _separable(task)
    if isinstance(task.space, Pieces):
        from kshot.learners.located_evidence import leave_one_out_located

        return leave_one_out_located(task)
    if len(task) < 2:
        raise TaskError(
            "the task has 1 example; leaving it out leaves nothing to answer with: add an example"
        )
    if task.left_out is None:
        return _readapted_own(task)
    with torch.no_grad():
        outputs = task.left_out.own()
    if task.warmth is not None and isinstance(task.space, Classes):
        return _warm(task.space, outputs, task.warmth)
    return task.decode(Gaussian(*outputs) if isinstance(outputs, tuple) else outputs)


def _warm(space: Classes, outputs: Tensor, warm: Warmth) -> ClassPrediction:
    """Decode row i at the temperature and threshold of the task without example i."""
    found = space.decode(outputs / warm.temperature.unsqueeze(1))
    scores = (outputs.amax(1) - warm.others) / warm.span
    return replace(
        found, scores=scores.numpy(force=True), unknown=(scores < warm.threshold).numpy(force=True)
    )


def _readapted_own(task: Adapted) -> Any:
    """Leave-one-out by really adapting n times."""
    each = [_one(task, task.without({place}), task.embedded[place : place + 1]) for place in range(len(task))]
    if not isinstance(task.space, Classes):
        deviations = [found.deviations for found in each]
        return NumberPrediction(
            np.concatenate([found.values for found in each]),
            None if deviations[0] is None else np.concatenate(deviations),
        )
    return ClassPrediction(
        [found.labels[0] for found in each],
        np.concatenate([found.probabilities for found in each]),
        np.concatenate([found.unknown for found in each]),
        np.concatenate([found.scores for found in each]),
        task.space.labels,
    )


def _one(task: Adapted, rest: Adapted, queries: Tensor) -> Any:
    """The answers of a smaller task; those of classes in the columns of the whole one."""
    found = rest.answer_embedded(queries)
    if not isinstance(task.space, Classes):
        return found
    wide = np.zeros((len(found), task.space.size))
    wide[:, [task.space.labels.index(label) for label in found.classes]] = found.probabilities
    return replace(found, probabilities=wide, classes=task.space.labels)


def _separable(task: Adapted) -> None:
    if not isinstance(task.space, Classes | Numbers | Pieces):
        raise UnsupportedError(
            f"leave-one-out is for classes, numbers, spans and boxes; this task answers with {type(task.space).__name__}: "
            "check it on examples that you hold back, with task.check(inputs, targets)"
        )
    declared(task)


def declared(task: Adapted) -> None:
    """Raise UnsupportedError unless the learner says that it can do without an example it has seen."""
    if not task.learner.removes:
        raise UnsupportedError(
            f"{type(task.learner).__name__} cannot take an example back (its class says removes = False); adapt it "
            "afresh on the examples to keep, or use a learner that removes, for example kshot.learners.ProtoNet"
        )


def explain(task: Adapted, queries: Any) -> list[Explanation]:
    """An explanation per embedded query [m, ...]; `task.explain` is the public door."""
    space = task.space
    if isinstance(space, Pieces):
        from kshot.learners.located_evidence import explain_located

        return explain_located(task, queries)
    if not isinstance(space, Classes):
        raise UnsupportedError(
            f"explain() answers for classes, spans and boxes; this task answers with {type(space).__name__}"
        )
    declared(task)
    part = max(1, _SCORES // (len(task) * space.size))
    names = _objects(task.ids), _objects(map(plain, task.targets)), _objects(space.labels)
    return [
        Explanation(space.labels[k], probability, Ranked(ids, own, contributions, without), method)
        for rows in torch.split(queries, part)
        for k, probability, ids, own, contributions, without, method in _explain_part(task, rows, names)
    ]


def _explain_part(task: Adapted, queries: Tensor, names: Names) -> Iterator[tuple[Any, ...]]:
    """With and without come from the same arithmetic, or rounding would pass for evidence."""
    if task.left_out is None:
        whole = task.answer_embedded(queries).probabilities
        rests = [_one(task, task.without({place}), queries) for place in range(len(task))]
        without = np.stack([rest.probabilities for rest in rests], 1)
        left = np.take_along_axis(without, whole.argmax(1)[:, None, None], 2)[:, :, 0]
        return _told(names, whole, left, without.argmax(2), READAPTED)
    with torch.no_grad(), evaluating(task.learner):
        queries = precise(queries)
        outputs = task.solver.respond(task.precise_state, queries, task.space)
        whole = torch.softmax(outputs / task.temperature, 1).numpy(force=True)
        heat = outputs.new_tensor(task.temperature) if task.warmth is None else task.warmth.temperature
        left, answers = _chosen(task.left_out.answers(queries), outputs.argmax(1), heat.reshape(-1, 1))
    kept = task.warmth is not None and _too_many(task)
    return _told(names, whole, left, answers, FORMULA + (AT_ONE_TEMPERATURE if kept else ""))


Names = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Ids and labels of the examples, [n], and the classes."""


def _told(
    names: Names, whole: np.ndarray, left: np.ndarray, answers: np.ndarray, method: str
) -> Iterator[tuple[Any, ...]]:
    """What explanations are made of, from probabilities [m, classes] with all examples; and without each, [m, n],
    the probability of the answer, and the answer there."""
    ids, own, labels = names
    best = whole.argmax(1)
    chosen = np.take_along_axis(whole, best[:, None], 1)
    contributions = chosen - left
    orders = np.argsort(-np.abs(contributions), 1, "stable")
    rows = zip(best.tolist(), chosen[:, 0].tolist(), orders, contributions, answers, strict=True)
    for k, probability, order, c, a in rows:
        yield k, probability, ids[order], own[order], c[order], labels[a[order]], method


def _objects(values: Iterable[Any]) -> np.ndarray:
    """An array of Python values as they are."""
    listed = list(values)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array


def _chosen(without: Tensor, best: Tensor, temperature: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Probability of class `best` [m] under scores [m, n, classes] at temperatures [n, 1] (or [1, 1]), and the
    best class there, both [m, n]. Overwrites the scores."""
    top, answers = without.max(2)
    column = best.view(-1, 1, 1).expand(-1, without.shape[1], 1)
    if temperature.numel() > 1 or float(temperature) != 1:  # saves a pass over all scores
        without, top = without.div_(temperature), top / temperature.T
    own = (without.gather(2, column).squeeze(2) - top).exp_()
    total = without.sub_(top.unsqueeze(2)).exp_().sum(2)
    return (own / total).numpy(force=True), answers.numpy(force=True)
