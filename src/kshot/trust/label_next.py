"""What to label next: the inputs whose labels would teach a task most, and when to stop.

Unsure inputs are grouped and one is taken from each group, so that a batch does not ask the same
question twice: Zhdanov (2019), "Diverse mini-batch Active Learning". The stop rule watches how many
answers still change: Bloodgood and Vijay-Shanker (2009), "A Method for Stopping Active Learning Based
on Stabilizing Predictions".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.learners import Adapted
from kshot.tasks.spaces import Classes, ClassPrediction, Pieces
from kshot.trust.doubt import Doubtful, doubts

_DIGITS = 1e-5
"""Features that differ by less than this share of the largest are those of one and the same input."""


@dataclass(frozen=True)
class Suggestion:
    """One input to label, and why.

    Attributes:
        place: where it stands in the pool.
        guess, probability: what the task answers now, and how sure it is.
        rival, rival_probability: the second best answer.
        unknown: the task would refuse it: it may well be of a class that has no example yet.
        stands_for: how many unsure inputs of the pool are like it, itself included.
    """

    place: int
    guess: Any
    probability: float
    rival: Any
    rival_probability: float
    unknown: bool
    stands_for: int

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        if self.unknown:
            why = f"unlike every example; the best guess is {self.guess!r}"
        else:
            why = (
                f"between {_named(self.guess)} ({self.probability:.0%}) and {_named(self.rival)} "
                f"({self.rival_probability:.0%})"
            )
        return (
            why if self.stands_for == 1 else f"{why}; it stands for {self.stands_for} inputs that are alike"
        )


def _named(label: Any) -> str:
    return "nothing" if label is None else repr(label)


@dataclass(frozen=True)
class Suggestions(Sequence[Suggestion]):
    """A batch to label; the inputs that stand for most others come first.

    Attributes:
        items: one for each input.
        skipped: places of the pool that equal an example or an earlier input, and so would teach nothing.
        expected_error: share of the pool (of the spans or boxes found in it) that is answered wrong, by the task's own
            probabilities.
    """

    items: tuple[Suggestion, ...]
    skipped: tuple[int, ...] = field(repr=False)
    expected_error: float

    @property
    def places(self) -> list[int]:
        """Where the inputs to label stand in the pool."""
        return [item.place for item in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: Any) -> Any:
        return self.items[place]

    def __iter__(self) -> Iterator[Suggestion]:
        return iter(self.items)


def next_to_label(
    task: Adapted, pool: Any, *, count: int = 10, spread: int = 20, seed: int = 0
) -> Suggestions:
    """Which inputs of a pool to label next.

    Of the `spread` x `count` inputs with the smallest margin between the two best answers, `count` groups are
    made by k-means on the features, each input weighing as much as it is unsure; of each group the input
    nearest to its centre is taken.

    Of spans and boxes, an input is as unsure as its least sure piece, which is what the suggestion tells of (None: no
    piece at all); groups are of pieces that look alike.

    Args:
        task: what was learned so far.
        pool: inputs without labels, as `task.predict` takes them.
        count: how many to label; after that, `task.add` them and ask again.
        spread: the larger, the more the batch covers of the pool; the smaller, the closer to the borders
            between classes.
        seed: decides where k-means starts.

    Returns:
        `count` suggestions, or fewer where the pool has fewer inputs that differ from one another and from
        the examples.

    Raises:
        UnsupportedError: answers are neither classes nor pieces.
        DataError: an empty pool, more asked for than it holds, NaN.
        SettingError: count or spread below 1.

    >>> import torch, kshot
    >>> task = kshot.learners.ProtoNet(kshot.encoders.identity(1)).adapt(torch.tensor([[0.0], [1.0]]), ["a", "b"])
    >>> found = next_to_label(task, torch.tensor([[0.1], [0.52], [0.9]]), count=1, spread=1)
    >>> found.places, found[0].reason
    ([1], "between 'b' (53%) and 'a' (47%)")
    """
    _checked(task, count, spread)
    read = task.learner.encoder.read(pool)
    if len(read) < count:
        raise DataError(
            f"count is {count}, the pool holds {len(read)} inputs; ask for at most as many as there are"
        )
    embedded = task.embed(read)
    answer: ClassPrediction | Doubtful
    if isinstance(task.space, Pieces):
        answer = doubts(task, embedded)
        features, error = answer.rows, answer.error
        new = _unequal(task, read)
    else:
        answer = task.answer_embedded(embedded)
        features, error = _rows(embedded), float(1 - answer.probabilities.max(1).mean())
        new = _distinct(_rows(task.embedded), features)
    unsure = 1 - _margins(answer.probabilities)
    candidates = new[np.argsort(-unsure[new], kind="stable")[: spread * count]]
    chosen = _one_per_group(features[candidates], unsure[candidates], count, seed)
    items = [_suggestion(int(candidates[row]), size, answer) for row, size in chosen]
    skipped = np.setdiff1d(np.arange(len(read)), new)
    return Suggestions(tuple(items), tuple(skipped.tolist()), error)


def _checked(task: Adapted, count: int, spread: int) -> None:
    if not isinstance(task.space, Classes | Pieces):
        raise UnsupportedError(
            f"this task answers with {task.space.kind}; what to label next is known for classes, spans and boxes"
        )
    for name, value in (("count", count), ("spread", spread)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SettingError(f"{name} is {value!r}; it must be a whole number of at least 1")


def _rows(embedded: torch.Tensor) -> np.ndarray:
    """Embedded inputs [n, ...] as float32 rows [n, d]."""
    rows: np.ndarray = embedded.flatten(1).float().numpy(force=True)
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all(1))
        raise DataError(f"inputs {bad[:5].tolist()} have NaN or infinite features; leave them out")
    return rows


def _distinct(examples: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Places of the pool's rows that equal neither an example nor an earlier row, in order."""
    rows = np.concatenate([examples, pool])
    step = _DIGITS * (float(np.abs(rows).max()) or 1.0)
    first = np.unique(np.round(rows / step).astype(np.int64), axis=0, return_index=True)[1]
    return np.sort(first[first >= len(examples)]) - len(examples)


def _unequal(task: Adapted, read: Any) -> np.ndarray:
    """Places of inputs that equal neither an example nor an earlier input, by their content hashes, in order."""
    digest = task.learner.encoder.digest
    seen = {digest(item) for item in task.inputs}
    new = []
    for place, name in enumerate(map(digest, read)):
        if name not in seen:
            new.append(place)
            seen.add(name)
    return np.array(new, dtype=np.int64)


def _margins(probabilities: np.ndarray) -> np.ndarray:
    """Best minus second best probability of each row."""
    two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


def _one_per_group(rows: np.ndarray, weights: np.ndarray, count: int, seed: int) -> list[tuple[int, int]]:
    """The row nearest to the centre of each group, and the group's size; large groups first."""
    if len(rows) <= count:
        return [(row, 1) for row in range(len(rows))]
    from sklearn.cluster import KMeans

    groups = KMeans(count, n_init=1, max_iter=20, random_state=seed).fit(rows, sample_weight=weights + 1e-6)
    away = np.square(rows - groups.cluster_centers_[groups.labels_]).sum(1)
    members = [np.flatnonzero(groups.labels_ == group) for group in range(count)]
    chosen = [(int(own[away[own].argmin()]), len(own)) for own in members if len(own)]
    return sorted(chosen, key=lambda found: -found[1])


def _suggestion(place: int, size: int, answer: ClassPrediction | Doubtful) -> Suggestion:
    row = answer.probabilities[place]
    best, rival = np.argsort(-row, kind="stable")[:2].tolist()
    return Suggestion(
        place,
        answer.classes[best],
        float(row[best]),
        answer.classes[rival],
        float(row[rival]),
        bool(answer.unknown[place]),
        size,
    )


@dataclass(frozen=True)
class Settled:
    """Whether more labels still change the answers.

    Attributes:
        stop: the last batches changed too little to be worth their labels.
        flips: share of the inputs whose answer changed from each task to the next; accuracy on these
            inputs cannot have changed by more.
    """

    stop: bool
    flips: tuple[float, ...]


def settled(tasks: Sequence[Adapted], inputs: Any, *, flips: float = 0.05, batches: int = 2) -> Settled:
    """When to stop labelling: the last batches of labels hardly changed any answer.

    A change of answers by a share f bounds the change of accuracy by f, whatever the true labels are,
    so no labelled test set is needed.

    Args:
        tasks: the task after each batch of labels, the latest last.
        inputs: the same inputs for all of them, for example the pool as it was at the start.
        flips: share of changed answers below which a batch was not worth it.
        batches: how many batches in a row must be so.

    Raises:
        DataError: no task, or no input. SettingError: flips is no share, batches below 1.

    >>> import torch, kshot
    >>> learner = kshot.learners.ProtoNet(kshot.encoders.identity(1))
    >>> first = learner.adapt(torch.tensor([[0.0], [1.0]]), ["a", "b"])
    >>> tasks = [first, first.add(torch.tensor([[0.1]]), ["a"])]
    >>> settled(tasks, torch.tensor([[0.2], [0.52], [0.9]]), batches=1)
    Settled(stop=False, flips=(0.3333333333333333,))
    """
    if not 0 < flips < 1:
        raise SettingError(f"flips is {flips!r}; it is a share between 0 and 1, for example 0.05")
    if batches < 1:
        raise SettingError(f"batches is {batches!r}; it must be a whole number of at least 1")
    if not tasks:
        raise DataError("0 tasks were given; give the task after each batch of labels, the latest last")
    answers = [
        np.array([f"{type(label).__name__} {label}" for label in task.predict(inputs).labels])
        for task in tasks
    ]
    if not len(answers[0]):
        raise DataError("0 inputs were given; give inputs whose answers can be compared, such as the pool")
    changed = tuple(float((a != b).mean()) for a, b in itertools.pairwise(answers))
    recent = changed[-batches:]
    return Settled(len(recent) == batches and max(recent) < flips, changed)
