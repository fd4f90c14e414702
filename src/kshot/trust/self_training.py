"""Unlabelled inputs that help a task: the surest get labels of their own, and stay only where that is an improvement.

How labels are guessed is in `guessed_labels`; here they are judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.learners import Adapted
from kshot.tasks.examples import take
from kshot.tasks.spaces import Classes
from kshot.trust.guessed_labels import Assign, Labelled, soft, spreading, surest

PREFIX = "unlabelled-"
"""What the ids of examples begin with whose labels are guesses."""


@dataclass(frozen=True)
class Refinement:
    """What unlabelled inputs did for a task.

    Attributes:
        kept: they were taken.
        why: why, or why not, in a sentence.
        places, labels, ids: the inputs that were sure enough, their guessed labels, and, where they were
            taken, their ids in the task: `task.forget(ids)` undoes it.
        checked: labelled examples that could be left out to see; loss_before, loss_after and
            accuracy_before, accuracy_after: of the answers to each of them, by the task without it and without,
            or with, unlabelled inputs (log-loss; NaN where nothing could be checked).
    """

    kept: bool
    why: str
    places: tuple[int, ...] = field(repr=False)
    labels: tuple[Any, ...] = field(repr=False)
    ids: tuple[str, ...] = field(repr=False)
    checked: int = 0
    loss_before: float = float("nan")
    loss_after: float = float("nan")
    accuracy_before: float = float("nan")
    accuracy_after: float = float("nan")


def with_unlabelled(
    task: Adapted,
    inputs: Any,
    *,
    method: str = "spread",
    per_class: int = 8,
    neighbours: int = 7,
    unchecked: bool = False,
) -> tuple[Adapted, Refinement]:
    """The task, with the unlabelled inputs that help it.

    The surest inputs of each class are added with their guessed labels. They are examples like any other,
    but for their ids, which begin with "unlabelled-". Whether they help is measured by leaving out each labelled
    example in turn, guessing afresh, and asking for its label; they are kept where the log-loss falls.
    Guesses of an earlier call are thrown away first.

    Args:
        inputs: unlabelled, as `task.predict` takes them; some may belong to none of the classes.
        method: "spread" (labels spread among mutual nearest neighbours) or "soft" (prototypes refined
            softly beside a reject class; for learners whose head has prototypes).
        per_class: inputs taken for each class at most; fewer where fewer seem to belong to it.
        neighbours: of each input, for "spread".
        unchecked: keep them also where no class has two labelled examples, so that nothing can be left out.

    Raises:
        UnsupportedError: answers are no classes; "soft" without prototypes.
        DataError: no input, NaN. SettingError: no such method, a number below 1.

    >>> import torch, kshot
    >>> learner = kshot.learners.ProtoNet(kshot.encoders.identity(1))
    >>> task = learner.adapt(torch.tensor([[0.0], [0.4], [1.0], [1.3]]), ["a", "a", "b", "b"])
    >>> more = torch.tensor([[-0.1], [0.0], [0.1], [0.9], [1.0], [1.1], [9.0]])
    >>> task, told = with_unlabelled(task, more, neighbours=3)
    >>> told.kept, told.places, task.ids[-1]
    (True, (0, 1, 2, 3, 4, 5), 'unlabelled-5')
    """
    _checked(task, method, per_class, neighbours)
    task = _truth(task)
    read = task.learner.encoder.read(inputs)
    if not len(read):
        raise DataError("0 unlabelled inputs were given; give at least one, or use the task as it is")
    unlabelled = task.embed(read)
    labelled = Labelled.of(task)
    assign = (
        spreading(labelled, unlabelled, neighbours)
        if method == "spread"
        else partial(soft, unlabelled=unlabelled)
    )
    places, classes = surest(assign(labelled), per_class)
    labels = [task.space.labels[int(c)] for c in classes]  # type: ignore[attr-defined]
    found = _Trial(task, labelled, unlabelled, assign, per_class)
    told = found.judge(places.tolist(), labels, unchecked)
    if not told.kept:
        return task, told
    return task.add(take(read, told.places), list(told.labels), ids=told.ids, on_regression="ignore"), told


def _checked(task: Adapted, method: str, per_class: int, neighbours: int) -> None:
    if not isinstance(task.space, Classes):
        raise UnsupportedError(
            f"this task answers with {task.space.kind}; unlabelled inputs help classes only"
        )
    if method not in ("spread", "soft"):
        raise SettingError(f"method is {method!r}; choose spread or soft")
    if method == "soft" and not (isinstance(task.state, dict) and "prototypes" in task.state):
        raise UnsupportedError(
            f"{type(task.learner).__name__} has no prototypes to refine softly; use method='spread'"
        )
    for name, value in (("per_class", per_class), ("neighbours", neighbours)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SettingError(f"{name} is {value!r}; it must be a whole number of at least 1")


def _truth(task: Adapted) -> Adapted:
    """The task without guesses of an earlier call."""
    guessed = [name for name in task.ids if name.startswith(PREFIX)]
    return task.forget(guessed, on_regression="ignore") if guessed else task


@dataclass(frozen=True)
class _Trial:
    """Do the unlabelled inputs help? Asked of each labelled example, left out in turn."""

    task: Adapted
    labelled: Labelled
    unlabelled: Tensor
    assign: Assign
    per_class: int

    def judge(self, places: list[int], labels: list[Any], unchecked: bool) -> Refinement:
        """Whether to keep inputs with these guessed labels."""
        ids = tuple(f"{PREFIX}{place}" for place in places)
        if not places:
            return Refinement(False, "no unlabelled input is sure enough to get a label", (), (), ())
        able = self._able()
        if not able:
            why = "no class has two labelled examples, so none can be left out to see whether this helps"
            return Refinement(unchecked, why, tuple(places), tuple(labels), ids if unchecked else ())
        before = self._left_out(able, refine=False)
        after = self._left_out(able, refine=True)
        kept = after[0] < before[0]
        why = (
            f"log-loss of {len(able)} labelled examples, each left out, "
            f"{'fell' if kept else 'did not fall'}: {before[0]:.4f} before, {after[0]:.4f} after"
        )
        losses = {"loss_before": before[0], "loss_after": after[0]}
        hits = {"accuracy_before": before[1], "accuracy_after": after[1]}
        return Refinement(
            kept, why, tuple(places), tuple(labels), ids if kept else (), len(able), **losses, **hits
        )

    def _able(self) -> list[int]:
        """Examples whose class has another one."""
        counts = torch.bincount(self.labelled.targets, minlength=self.labelled.size)
        return (counts[self.labelled.targets] > 1).nonzero().flatten().tolist()

    def _left_out(self, places: list[int], *, refine: bool) -> tuple[float, float]:
        """Mean log-loss and accuracy over these examples, each answered without itself."""
        outputs = torch.cat([self._answer(place, refine) for place in places]).double()
        targets = self.labelled.targets[places]
        loss = F.cross_entropy(outputs / self.task.temperature, targets)
        return float(loss), float((outputs.argmax(1) == targets).double().mean())

    def _answer(self, place: int, refine: bool) -> Tensor:
        rest = self.labelled.without(place)
        if refine:
            found, classes = surest(self.assign(rest), self.per_class)
            rest = rest.joined(self.unlabelled[found], classes)
        return rest.respond(rest.solve(), self.labelled.embedded[place : place + 1])
