"""The base learns on from tasks gathered in use, and is adopted only where tasks kept aside do not suffer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kshot.bundles import SavedExamples
from kshot.data import Mixed
from kshot.errors import SettingError, UnsupportedError
from kshot.evaluation import Interval
from kshot.learners import Adapted, Learner
from kshot.tasks import TaskSource
from kshot.tasks.examples import take
from kshot.tasks.spaces import Classes
from kshot.training.fit import fit
from kshot.training.run import Run
from kshot.training.saved_tasks import SavedTasks
from kshot.training.settings import Settings
from kshot.trust import calibrate

SHARES = (0.6, 0.2, 0.2)
"""Of the gathered tasks: to train on, to choose the best weights by, and to decide by whether to adopt."""

SETTINGS = Settings(
    steps=300, rate=1e-3, warmup=20, meta_batch=2, average=0.98, validate_every=50, validation_tasks=200
)
"""A base that has learned already needs small steps."""

PARTS = ("train", "validation", "held back")


@dataclass(frozen=True)
class Move:
    """How well one gathered task is answered on the old and on the new base, by leaving one example out at a time.

    Attributes:
        file: of the task. part: what it served for, one of PARTS. examples: how many were asked; those that are
            the only one of their class cannot be.
        before, after: share answered right. loss_before, loss_after: mean negative log-probability of the right class.
    """

    file: Path
    part: str
    examples: int
    before: float
    after: float
    loss_before: float
    loss_after: float

    @property
    def gain(self) -> float:
        """Accuracy after minus before."""
        return self.after - self.before


@dataclass(frozen=True)
class LearnedOn:
    """What learning on came to.

    Attributes:
        base: the one to go on with: the new one where `adopted`, else the old one.
        candidate: the new one in any case. run: its training.
        adopted: not worse on the held-back tasks: accuracy not lower, and if it is equal, the loss not higher.
        moves: every gathered task on both. why: the decision in a sentence.
    """

    base: Learner
    candidate: Learner
    run: Run
    adopted: bool
    moves: tuple[Move, ...]
    why: str

    def gain(self, part: str = "held back") -> Interval:
        """Gain in accuracy over the tasks of a part, mean with 95 % interval."""
        return Interval.of([move.gain for move in self.moves if move.part == part])

    def better(self) -> tuple[Move, ...]:
        """Tasks that gained, most first."""
        return tuple(sorted((m for m in self.moves if m.gain > 0), key=lambda m: -m.gain))

    def worse(self) -> tuple[Move, ...]:
        """Tasks that lost, most first."""
        return tuple(sorted((m for m in self.moves if m.gain < 0), key=lambda m: m.gain))


def learn_on(
    base: Learner,
    tasks: SavedTasks,
    *,
    besides: TaskSource | None = None,
    mixed: float = 1.0,
    by_label: bool = True,
    folder: str | Path | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    **more: Any,
) -> LearnedOn:
    """Go on training a copy of `base` on gathered tasks, and compare both on gathered tasks kept aside.

    The tasks are split into three parts without a common class (see `SavedTasks.split`): to train on, to
    choose the best weights by, and to decide by.

    Args:
        besides: tasks to train on as well, half of the time, for example those that the base was trained on, so that
            it forgets less of them.
        mixed: share of training tasks made of classes of several gathered ones, which are harder and teach more.
        by_label: see `SavedTasks.split`.
        folder, settings, more: as for `fit`; by default `SETTINGS`.

    Raises:
        SettingError, TaskError: too few tasks, or too many that share classes.

    >>> import pathlib, tempfile, torch, kshot
    >>> base = kshot.learners.ProtoNet(kshot.encoders.mlp(2, (4,)))
    >>> gathered = pathlib.Path(tempfile.mkdtemp())
    >>> for n in range(5):
    ...     task = base.adapt(torch.rand(6, 2), [f"{n}{label}" for label in "aaabbb"])
    ...     path = task.save(gathered / f"{n}.kshot")
    >>> few = kshot.Settings(steps=2, validation_tasks=2)
    >>> found = learn_on(base, kshot.training.SavedTasks.read(gathered), settings=few, progress=False)
    >>> len(found.moves), found.base is (found.candidate if found.adopted else base)
    (5, True)
    """
    parts = dict(zip(PARTS, tasks.split(*SHARES, seed=seed, by_label=by_label), strict=True))
    gathered = replace(parts["train"], mixed=mixed)
    training = gathered if besides is None else Mixed([gathered, besides])
    judge = replace(parts["validation"], mixed=0.0)
    run = fit(base, training, validate=judge, folder=folder, settings=settings or SETTINGS, **more)
    calibrate(run.learner, replace(tasks, mixed=0.0), tasks=min(100, 10 * len(tasks.tasks)), seed=seed)
    moves = [
        _move(saved, part, base, run.learner) for part, source in parts.items() for saved in source.tasks
    ]
    moves = [move for move in moves if move.examples]
    held = [move for move in moves if move.part == PARTS[2]]
    if not held:
        raise SettingError(
            f"0 of {len(parts[PARTS[2]].tasks)} held-back tasks have a class with two examples; gather larger tasks"
        )
    adopted, why = _decision(held)
    return LearnedOn(run.learner if adopted else base, run.learner, run, adopted, tuple(moves), why)


def _decision(held: Sequence[Move]) -> tuple[bool, str]:
    """Not worse on the held-back tasks?"""
    gain = Interval.of([move.gain for move in held])
    loss = float(np.mean([move.loss_after - move.loss_before for move in held]))
    adopted = gain.mean > 0 or (gain.mean == 0 and loss <= 0)
    before, after = (100 * float(np.mean([getattr(m, name) for m in held])) for name in ("before", "after"))
    told = (
        f"{before:.2f} % before, {after:.2f} % after on {len(held)} held-back tasks, gain {100 * gain.mean:+.2f} "
        f"+- {100 * gain.half:.2f} points"
    )
    return adopted, f"{'adopted' if adopted else 'not adopted, the old base stays'}: {told}"


def _move(saved: SavedExamples, part: str, old: Learner, new: Learner) -> Move:
    before, loss_before, count = left_out(old.adapt(saved.inputs, saved.targets, space=saved.space))
    after, loss_after, _ = left_out(new.adapt(saved.inputs, saved.targets, space=saved.space))
    return Move(saved.path, part, count, before, after, loss_before, loss_after)


def left_out(task: Adapted) -> tuple[float, float, int]:
    """Accuracy, mean log-loss and number of examples, each answered by the task without it.

    Examples that are the only one of their class are not asked; where there are no others, the figures are NaN.
    """
    assert isinstance(task.space, Classes)
    targets = task.space.encode(task.targets).numpy()
    asked = np.flatnonzero(np.bincount(targets)[targets] > 1)
    if not asked.size:
        return math.nan, math.nan, 0
    answers = _without_each(task, asked.tolist())
    chance = answers[np.arange(len(asked)), targets[asked]]
    right = answers.argmax(1) == targets[asked]
    return float(right.mean()), float(-np.log(np.maximum(chance, 1e-12)).mean()), len(asked)


def _without_each(task: Adapted, asked: list[int]) -> np.ndarray:
    """Probabilities [asked, classes] of each example by the task without it: exact where the learner can say so
    by itself, else adapted anew."""
    try:
        found: np.ndarray = task.leave_one_out().probabilities[asked]
        return found
    except UnsupportedError:
        return np.concatenate([_asked_afresh(task, place) for place in asked])


def _asked_afresh(task: Adapted, place: int) -> np.ndarray:
    rest = [k for k in range(len(task)) if k != place]
    anew = task.learner.adapt(take(task.inputs, rest), take(task.targets, rest), space=task.space)
    found: np.ndarray = anew.answer_embedded(task.embedded[place : place + 1]).probabilities
    return found
