"""Drift: a stream of inputs is watched with a stated chance of a false alarm; after an alarm the task learns again.

Vovk et al. (2021), "Retrain or not retrain: conformal test martingales for change-point detection".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.errors import BundleError, DataError, SettingError, UnsupportedError
from kshot.learners import Adapted
from kshot.learners.given import plain
from kshot.learners.records import fingerprint
from kshot.seeds import generator
from kshot.tasks import Examples
from kshot.trust.differences import alike
from kshot.trust.martingale import Martingale
from kshot.trust.nonconformity import Score, strangeness, wrongness
from kshot.trust.readapting import Readapted, readapt

Recent = tuple[int, Any, Any]
"""Place in the stream, input as read, target."""

_BLOCK = 64
"""Places of the stream whose chances are drawn together."""


@dataclass(frozen=True)
class Alarm:
    """The stream changed.

    Attributes:
        at: number of inputs seen when it was noticed. change: estimated number of inputs before the change.
        by: "inputs" (they look different) or "labels" (they are answered worse than before).
        evidence: the capital of the test; the chance that it ever reaches this without a change is 1 / evidence.
    """

    at: int
    change: int
    by: str
    evidence: float


@dataclass(frozen=True)
class Watch:
    """Watches the inputs of a task. A value: `see` returns the next one.

    If the inputs come in no particular order (are exchangeable), an alarm is ever given with a probability of at
    most `false_alarms`, over a stream of any length and whatever the inputs are. This needs no calibration data:
    each input is compared with all before it. So the watch notices nothing in the first few, and the more it
    has seen before a change, the sooner it notices: let it see known-good inputs first where you have them, but not the
    examples that the task learned from.

    Two tests run: one of how strange the inputs are, one of how badly the labelled ones are answered. Each may give
    a false alarm with half the chance.

    Args:
        task: answers the stream; it must answer each input by itself (inductive).
        false_alarms: chance of ever giving an alarm while nothing changes.
        seed: decides how ties are broken. keep: most recent labelled inputs to remember.
        score: how strange embedded inputs are; by default how badly the best class fits, or, where answers
            are no classes, the distance to the nearest example.

    Raises:
        SettingError: false_alarms outside 0..1, keep below 1.
        UnsupportedError: a transductive learner, whose answers depend on one another.

    >>> import torch, kshot
    >>> task = kshot.learners.ProtoNet(kshot.encoders.identity(2)).adapt(torch.eye(2), ["left", "right"])
    >>> watch = Watch(task, false_alarms=0.01)
    >>> rng = torch.Generator().manual_seed(0)
    >>> watch = watch.see(torch.randn(100, 2, generator=rng))
    >>> watch.alarm is None
    True
    >>> watch = watch.see(torch.randn(40, 2, generator=rng) + 5)
    >>> watch.alarm.by, 100 < watch.alarm.at <= 110
    ('inputs', True)
    """

    task: Adapted
    false_alarms: float = 0.01
    seed: int = 0
    keep: int = 1000
    score: Score | None = field(default=None, repr=False)
    seen: int = 0
    alarm: Alarm | None = None
    by_inputs: Martingale = field(default_factory=Martingale, repr=False)
    by_labels: Martingale = field(default_factory=Martingale, repr=False)
    labelled_at: tuple[int, ...] = field(default=(), repr=False)
    remembered: tuple[Recent, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        rate = self.false_alarms
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1:
            raise SettingError(f"false_alarms is {rate!r}; it is a chance between 0 and 1, for example 0.01")
        if isinstance(self.keep, bool) or not isinstance(self.keep, int) or self.keep < 1:
            raise SettingError(f"keep is {self.keep!r}; it is a whole number of at least 1")
        if self.task.learner.regime != "inductive":
            raise UnsupportedError(
                f"{type(self.task.learner).__name__} is {self.task.learner.regime}: its answer to one input depends on "
                "the others, so no chance of a false alarm can be stated; use an inductive learner"
            )

    @property
    def limit(self) -> float:
        """The evidence that gives an alarm: twice 1 / false_alarms, since two tests share the chance."""
        return 2 / self.false_alarms

    @property
    def recent(self) -> Examples:
        """The remembered labelled inputs; after an alarm only those since the estimated change."""
        first = self.alarm.change if self.alarm else 0
        kept = [(x, y) for place, x, y in self.remembered if place >= first]
        return Examples(alike([x for x, _ in kept]), [y for _, y in kept])

    def see(self, inputs: Any, labels: Sequence[Any] | None = None) -> Watch:
        """After these inputs, in their order.

        Args:
            inputs: as for `task.predict`, at least one.
            labels: the right answers where they are known, None for those that are not.

        Raises:
            DataError: no inputs, unequal lengths, or scores that are no numbers.
        """
        read = self.task.learner.encoder.read(inputs)
        if len(read) == 0:
            raise DataError("0 inputs were seen; give at least one")
        known = [None] * len(read) if labels is None else [plain(label) for label in labels]
        Examples(read, known)
        embedded = self.task.embed(read)
        strange = self._finite((self.score or strangeness)(self.task, embedded), len(read))
        places = [place for place, label in enumerate(known) if label is not None]
        fresh = [(self.seen + place, read[place], known[place]) for place in places]
        losses = self._wrongness(embedded, known, places)
        watch = replace(self, remembered=(*self.remembered, *fresh)[-self.keep :])
        chances = _chances(self.seed, self.seen, len(read))
        for place, value in enumerate(strange):
            watch = watch._step(float(value), losses.get(place), chances[place])
        return watch

    def _finite(self, scores: np.ndarray, count: int) -> np.ndarray:
        scores = np.asarray(scores, dtype=np.float64)
        if scores.shape != (count,):
            raise DataError(f"scores have shape {scores.shape}; give one number per input, ({count},)")
        bad = np.flatnonzero(np.isnan(scores))
        if bad.size:
            raise DataError(
                f"scores of inputs {(bad[:5] + self.seen).tolist()} are NaN; a score is a number: look at these inputs, "
                "and at score= if it is your own"
            )
        return scores

    def _wrongness(self, embedded: Tensor, known: list[Any], places: list[int]) -> dict[int, float]:
        """How badly each labelled input is answered."""
        if not places:
            return {}
        rows = embedded[torch.tensor(places)]
        losses = wrongness(self.task, rows, [known[place] for place in places])
        return dict(zip(places, self._finite(losses, len(places)).tolist(), strict=True))

    def _step(self, strange: float, loss: float | None, chances: Sequence[float]) -> Watch:
        if self.alarm is not None:
            return replace(self, seen=self.seen + 1)
        after = replace(self, seen=self.seen + 1, by_inputs=self.by_inputs.bet(strange, chances[0]))
        if loss is not None:
            labelled = (*self.labelled_at, self.seen)
            after = replace(after, by_labels=self.by_labels.bet(loss, chances[1]), labelled_at=labelled)
        return after._judged()

    def _judged(self) -> Watch:
        by = "inputs" if self.by_inputs.value >= self.by_labels.value else "labels"
        test = self.by_inputs if by == "inputs" else self.by_labels
        if test.value < self.limit:
            return self
        change = test.change
        if by == "labels":
            change = self.labelled_at[min(change, len(self.labelled_at) - 1)]
        return replace(self, alarm=Alarm(self.seen, change, by, test.value / 2))

    def row(self) -> dict[str, Any]:
        """Where the watch stands, as a flat JSON object: a line of a log."""
        alarm = self.alarm
        return {
            "seen": self.seen,
            "labelled": len(self.labelled_at),
            "evidence_inputs": self.by_inputs.value / 2,
            "evidence_labels": self.by_labels.value / 2,
            "limit": 1 / self.false_alarms,
            "alarm": alarm is not None,
            "alarm_at": alarm.at if alarm else None,
            "alarm_change": alarm.change if alarm else None,
            "alarm_by": alarm.by if alarm else None,
        }

    def to_json(self) -> dict[str, Any]:
        """The watch without its task and the inputs it remembers, to go on in another process."""
        return {
            "task": _identity(self.task),
            "false_alarms": self.false_alarms,
            "seed": self.seed,
            "keep": self.keep,
            "seen": self.seen,
            "alarm": vars(self.alarm) if self.alarm else None,
            "by_inputs": self.by_inputs.to_json(),
            "by_labels": self.by_labels.to_json(),
            "labelled_at": list(self.labelled_at),
        }

    @classmethod
    def from_json(cls, task: Adapted, value: Mapping[str, Any], score: Score | None = None) -> Watch:
        """The watch that `to_json` described, over the same task.

        Raises:
            BundleError: another task, whose scores are not comparable, or no such description.
        """
        try:
            if value["task"] != _identity(task):
                raise BundleError(
                    f"this watch was kept over another task ({value['task'][:12]}, not {_identity(task)[:12]}); its "
                    "scores are not comparable: begin a new one, Watch(task)"
                )
            return cls(
                task=task,
                score=score,
                alarm=Alarm(**value["alarm"]) if value["alarm"] else None,
                by_inputs=Martingale.from_json(value["by_inputs"]),
                by_labels=Martingale.from_json(value["by_labels"]),
                labelled_at=tuple(value["labelled_at"]),
                **{name: value[name] for name in ("false_alarms", "seed", "keep", "seen")},
            )
        except (KeyError, TypeError, AttributeError) as cause:
            raise BundleError(
                f"this is no watch as to_json() describes it ({type(cause).__name__}: {cause}); begin a new one"
            ) from cause

    def over(self, task: Adapted) -> Watch:
        """A new watch with the same settings over another task; it has seen nothing yet."""
        return Watch(task, self.false_alarms, seed=self.seed + 1, keep=self.keep, score=self.score)

    def readapt(self, *, folds: int = 5, chance: float = 0.05) -> Readapted:
        """Learn again with the recent labelled inputs, and keep the result only where it is better.

        Two ways are tried: "add" gives the task the recent examples beside its own; "replace" also takes out its own
        examples of every class that has recent ones. Each is judged on the recent examples, every one
        answered by a task that learned from the others (in `folds` parts), against the task as it was. One that makes
        a golden example wrong is out, and one whose gain may be luck. The better way is taken; where there is
        none, the task stays as it was.

        Args:
            chance: how likely luck alone may give such a gain (exact sign test on the recent examples, for
                both ways together). 1: take whatever is not worse.

        Raises:
            DataError: fewer than two labelled inputs since the change.
            SettingError: folds below 2, chance outside 0..1.
        """
        return readapt(self, folds, chance)


def _chances(seed: int, first: int, count: int) -> list[list[float]]:
    """Two numbers in (0, 1] for each of `count` inputs from the place `first` on; they depend on seed and place alone."""
    blocks = range(first // _BLOCK, (first + count - 1) // _BLOCK + 1)
    drawn = [
        torch.rand(_BLOCK, 2, dtype=torch.float64, generator=generator(seed, "drift", b)) for b in blocks
    ]
    start = first % _BLOCK
    found: list[list[float]] = (1.0 - torch.cat(drawn)[start : start + count]).tolist()
    return found


def _identity(task: Adapted) -> str:
    """SHA-256 of base and examples: equal tasks give equal scores."""
    digest = hashlib.sha256(fingerprint(task.learner).encode())
    for item, target in zip(task.inputs, task.targets, strict=True):
        digest.update(f"{task.learner.encoder.digest(item)} {plain(target)!r}".encode())
    return digest.hexdigest()
