"""How good is a task with these examples? What it can say of itself, and which labels look wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kshot.errors import SettingError, UnsupportedError
from kshot.tasks.spaces import Classes, Pieces
from kshot.tasks.spaces.sureness import checked_share

if TYPE_CHECKING:
    from kshot.learners.adapted import Adapted

_Z = 1.959963984540054


@dataclass(frozen=True)
class BaseRecord:
    """How the base did on `tasks` tasks of about this size when it was calibrated.

    Attributes:
        accuracy: mean over tasks; nine of ten tasks lie between `low` and `high`.
        ways, shots: the size asked for.
    """

    accuracy: float
    low: float
    high: float
    ways: float
    shots: float
    tasks: int


@dataclass(frozen=True)
class SelfEstimate:
    """What a task says of its own answers.

    An example is asked of the task without it and without one example of every other class, so that no class
    has fewer than the others. Leaving out that example alone gives `leave_one_out`: exact too, but its own class
    then has less to go by than its rivals, which at two or five examples a class costs many points.

    Attributes:
        judged: examples whose class has another example, so that they can be left out and asked.
        accuracy: share of them that are answered right; None where judged is 0.
        low, high: its 95 % interval (Wilson 1927), as if the examples were independent.
        log_loss, log_loss_low, log_loss_high: mean negative log-probability of their labels, with its 95 % interval
            (normal approximation); None where judged is 0, the interval also where it is 1.
        leave_one_out: share answered right when only the example itself is left out; None where judged is 0.
        record: how the base did on tasks of this size; None where it was never calibrated.

    All tasks asked have one example a class less, so the estimate is low for few shots, by nine points at two a class
    on kanji, by one at five; and judged examples share their task, so the interval is a little narrow: on unseen
    classes it held the accuracy on further examples in 75 to 90 % of tasks (results/trust.jsonl).
    """

    judged: int
    accuracy: float | None
    low: float | None
    high: float | None
    log_loss: float | None
    log_loss_low: float | None
    log_loss_high: float | None
    leave_one_out: float | None
    record: BaseRecord | None

    def __str__(self) -> str:
        parts = []
        if self.accuracy is None:
            parts.append(
                "No self-estimate: every class has a single example, so none can be left out and asked."
            )
        else:
            parts.append(
                f"Accuracy {100 * self.accuracy:.0f} % (95 %: {100 * (self.low or 0):.0f} to "
                f"{100 * (self.high or 0):.0f} %), log-loss {self.log_loss:.2f}, from asking each of {self.judged} "
                "examples of the task without it and without one of every other class."
            )
        if self.record is not None:
            r = self.record
            parts.append(
                f"On {r.tasks} tasks of {r.ways:.0f} classes with {r.shots:.3g} examples each the base was right "
                f"{100 * r.accuracy:.0f} % of the time, nine of ten tasks between {100 * r.low:.0f} and "
                f"{100 * r.high:.0f} %; that holds for tasks like those it was calibrated on."
            )
        else:
            parts.append("The base was never calibrated, so it has no record on such tasks.")
        return " ".join(parts)


@dataclass(frozen=True)
class SuspectLabel:
    """An example whose label the other examples speak against.

    Attributes:
        id, label: the example as it was given.
        suggested: what the task answers for it without having seen it.
        chance: that the label is wrong, by the task's own probabilities and the assumed share.
        piece: the marked span or box whose label it is; None where answers are classes.
    """

    id: str
    label: Any
    suggested: Any
    chance: float
    piece: Any = None


def self_estimate(task: Adapted) -> SelfEstimate:
    """Accuracy and log-loss on examples held out of the task; `task.self_estimate` is the public door."""
    if isinstance(task.space, Pieces):
        from kshot.learners.located_estimate import estimate_located

        return estimate_located(task)
    space = _classes(task)
    record = _record(task, space)
    own = space.encode(task.targets).numpy(force=True)
    places = np.flatnonzero(np.bincount(own, minlength=space.size)[own] > 1)
    if not len(places):
        return SelfEstimate(0, None, None, None, None, None, None, None, record)
    given = _held_out(task, own)[places]
    hits = given.argmax(1) == own[places]
    losses = -np.log(np.maximum(given[np.arange(len(places)), own[places]], np.finfo(float).tiny))
    low, high = wilson(int(hits.sum()), len(hits))
    loss, half = float(losses.mean()), None
    if len(losses) > 1:
        half = _Z * float(losses.std(ddof=1)) / math.sqrt(len(losses))
    alone = task.leave_one_out().probabilities[places].argmax(1) == own[places]
    return SelfEstimate(
        len(places), float(hits.mean()), low, high, loss,
        None if half is None else loss - half, None if half is None else loss + half,
        float(alone.mean()), record,
    )  # fmt: skip


def _held_out(task: Adapted, own: np.ndarray) -> np.ndarray:
    """Probabilities [n, classes] of each example by the task without it and one of every other class.

    The k-th examples of all classes are held out together, so there are as many tasks as the largest class
    has examples. A class with one example keeps it; its row is of no use.
    """
    counts = np.bincount(own)
    ranks = np.array([int((own[:place] == own[place]).sum()) for place in range(len(own))])
    out = np.full((len(own), len(counts)), 1 / len(counts))
    for turn in range(int(counts.max())):
        places = np.flatnonzero((ranks == turn) & (counts[own] > 1))
        rest = task.without(set(places.tolist()))
        out[places] = rest.answer_embedded(task.embedded[places]).probabilities
    return out


def wilson(right: int, total: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): honest for few examples and for shares near 0 and 1.

    >>> low, high = wilson(10, 10)
    >>> round(low, 3), high
    (0.722, 1.0)
    """
    share, z = right / total, _Z * _Z / total
    middle = (share + z / 2) / (1 + z)
    half = _Z * math.sqrt(share * (1 - share) / total + z / (4 * total)) / (1 + z)
    # rounding must not push the ends past the share itself
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def suspect_labels(task: Adapted, share: float = 0.1, least: float = 0.5) -> list[SuspectLabel]:
    """Labels that are probably wrong, the likeliest first; `task.suspect_labels` is the public door.

    With p the probability of the given label without the example, a share s of wrong labels and n classes,
    the chance that this one is wrong is s q / (s q + (1 - s) p) with q = (1 - p) / (n - 1): a wrong label is any
    other class alike. In the spirit of Northcutt, Jiang, Chuang (2021), "Confident Learning".

    Raises:
        SettingError: share or least is no share.
    """
    checked_share("share", share)
    if not 0 <= least < 1:
        raise SettingError(f"least is {least!r}; it is the chance from which a label is listed, in 0..1")
    if isinstance(task.space, Pieces):
        from kshot.learners.located_estimate import suspects_located

        return suspects_located(task, share, least)
    space = _classes(task)
    own = space.encode(task.targets).numpy(force=True)
    places = np.flatnonzero(np.bincount(own, minlength=space.size)[own] > 1)
    if not len(places):
        return []
    answers = task.leave_one_out()
    found = []
    for place in places.tolist():
        chance = suspicion(float(answers.probabilities[place, own[place]]), share, space.size)
        if chance >= least and answers.labels[place] != space.labels[own[place]]:
            label = space.labels[own[place]]
            found.append(SuspectLabel(task.ids[place], label, answers.labels[place], chance))
    return sorted(found, key=lambda suspect: -suspect.chance)


def suspicion(p: float, share: float, labels: int) -> float:
    """The chance that a label of probability p is wrong: see `suspect_labels`."""
    wrong = share * (1 - p) / (labels - 1)
    return wrong / (wrong + (1 - share) * p)


def _classes(task: Adapted) -> Classes:
    if not isinstance(task.space, Classes):
        raise UnsupportedError(
            f"this is for classes, spans and boxes; the task answers with {task.space.kind}: use task.check on examples held back"
        )
    return task.space


def _record(task: Adapted, space: Classes) -> BaseRecord | None:
    cell = task.knowledge
    if cell is None:
        return None
    return BaseRecord(
        cell.accuracy, cell.low, cell.high, space.size, len(task) / space.size, round(cell.tasks)
    )
