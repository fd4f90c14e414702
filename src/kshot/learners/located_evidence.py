"""Why pieces were found and named: what a located task answers at the same places without each of its examples.

Exact: the support is solved again without each example in turn. Features are kept, so that costs no encoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kshot.errors import TaskError
from kshot.learners.eval_mode import evaluating
from kshot.learners.evidence import READAPTED, declared
from kshot.learners.given import like
from kshot.learners.learner import State
from kshot.learners.localiser import Candidates
from kshot.learners.located import Located, where_of
from kshot.learners.results import Explanation, Ranked
from kshot.tasks.spaces import Picked, Pieces

if TYPE_CHECKING:
    from kshot.learners.adapted import Adapted


class Without(NamedTuple):
    """The task without one example: its state; None where no labelled piece is left, so that nothing is found."""

    state: State | None


def solved_without_each(task: Adapted) -> list[Without]:
    """The states of the task without each example in turn; `task.left_out_states` keeps them."""
    learner, space = task.solver, task.space
    assert isinstance(learner, Located)
    items = list(task.embedded)
    rows = like(items, space.encode(task.targets))
    with torch.no_grad(), evaluating(learner):
        return [Without(state) for state in learner.solve_without_each(items, rows, space)]


def explain_located(task: Adapted, queries: Any) -> list[Explanation]:
    """An explanation per embedded query; `task.explain` is the public door."""
    declared(task)
    learner, space = task.solver, task.space
    assert isinstance(learner, Located)
    assert isinstance(space, Pieces)
    told = []
    with torch.no_grad(), evaluating(learner):
        for item in queries:
            found = learner.candidates(task.state, [item])[0]
            outputs = learner.scored(task.state, [found], space)
            told.append(_told(task, outputs, _scores(task, item, found)))
    return told


def _scores(task: Adapted, item: Tensor, found: Candidates) -> Tensor:
    """Probabilities [m, examples, 1 + labels] of the same candidates without each example."""
    learner, space = task.solver, task.space
    assert isinstance(learner, Located)
    scores = found.objectness.new_zeros(len(found.objectness), len(task), space.size)
    scores[:, :, 0] = 1.0
    states = [one.state for one in task.left_out_states]
    left = [n for n, state in enumerate(states) if state is not None]
    ready = learner.ready([state for state in states if state is not None], found.vectors)
    for place, state in zip(left, ready, strict=True):
        seen = learner.localiser.again(item, found, where_of(state))
        scores[:, place] = torch.softmax(learner.scored(state, [seen], space).scores, 1)
    return scores


def _told(task: Adapted, outputs: Any, without: Tensor) -> Explanation:
    space = task.space
    assert isinstance(space, Pieces)
    whole = torch.softmax(outputs.scores, 1)
    picked = space.pick(outputs, temperature=1.0)[0]
    named = [one for one in picked if one.column]
    pieces = tuple(_piece(task, space.piece(outputs, one), one, whole, without) for one in named)
    unknown = tuple(space.piece(outputs, one) for one in picked if not one.column)
    if pieces:
        best = max(pieces, key=lambda piece: piece.probability)
        return Explanation(
            best.label, best.probability, best.evidence, READAPTED, best.place, pieces, unknown
        )
    if not len(whole):
        return Explanation(None, 0.0, _ranked(task, np.zeros(len(task)), [None] * len(task)), READAPTED)
    row, column = divmod(int(whole[:, 1:].argmax()), space.size - 1)
    nearest = Picked(row, column + 1, float(whole[row, column + 1]))
    refused = _piece(task, space.piece(outputs, nearest), nearest, whole, without)
    return Explanation(None, refused.probability, refused.evidence, READAPTED, refused.place, (), unknown)


def _piece(task: Adapted, place: Any, one: Picked, whole: Tensor, without: Tensor) -> Explanation:
    labels = task.space.labels  # type: ignore[attr-defined]
    change = (whole[one.row, one.column] - without[one.row, :, one.column]).numpy(force=True)
    verdicts = task.space.verdict(without[one.row]).tolist()  # type: ignore[attr-defined]
    answers = [labels[best - 1] if best else None for best in verdicts]
    probability = float(whole[one.row, one.column])
    return Explanation(place.label, probability, _ranked(task, change, answers), READAPTED, place)


def _ranked(task: Adapted, contributions: np.ndarray, answers: list[Any]) -> Ranked:
    order = np.argsort(-np.abs(contributions), kind="stable")
    columns = []
    for values in (list(task.ids), [_labels_of(target) for target in task.targets], answers):
        column = np.empty(len(values), dtype=object)
        column[:] = values
        columns.append(column[order])
    return Ranked(columns[0], columns[1], contributions[order], columns[2])


def _labels_of(target: Any) -> str:
    """The labels of an example's pieces, each once."""
    return ", ".join(dict.fromkeys("(none)" if piece[-1] is None else str(piece[-1]) for piece in target))


def leave_one_out_located(task: Adapted) -> Any:
    """The prediction for each example by the task without it."""
    if len(task) < 2:
        raise TaskError(
            "the task has 1 example; leaving it out leaves nothing to answer with: add an example"
        )
    learner, space = task.solver, task.space
    assert isinstance(learner, Located)
    found: list[list[Any]] = []
    unknown: list[list[Any]] = []
    kind: Any = None
    with torch.no_grad(), evaluating(learner):
        for rest, item in zip(task.left_out_states, task.embedded, strict=True):
            if rest.state is None:
                found.append([])
                unknown.append([])
                continue
            answer = space.decode(learner.respond(rest.state, [item], space))
            kind = type(answer)
            found += answer.pieces
            unknown += answer.unknown
    return kind(found, unknown)  # with two examples one is left that has a labelled piece
