"""The comparison itself: every head by exact leave-one-out, then whatever takes longer, round by round against the best."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from kshot.encoders import Encoder
from kshot.learners import Adapted, ClosedForm, Learner
from kshot.learners.embedding import embed_all
from kshot.tasks.spaces import Classes
from kshot.tuning.candidates import ADAPTERS, adapter_on, heads_on
from kshot.tuning.choice import Candidate, Choice
from kshot.tuning.left_out import Answers, each_alone, in_round, interval, joined, rounds, share

_FUTILE = 2
"""Rounds after which an adapter without any gain is dropped."""


@dataclass
class _Judged:
    """A learner, its features of the support, its exact leave-one-out answers, and its row."""

    row: Candidate
    learner: Learner
    embedded: Tensor
    answers: Answers


@dataclass
class Search:
    """What was found so far."""

    task: Adapted
    space: Classes
    seed: int
    left: Callable[[], float]
    clock: Callable[[], float]
    judged: list[_Judged] = field(default_factory=list)
    rows: list[Candidate] = field(default_factory=list)
    taken: tuple[str, Learner, str] | None = None

    def __post_init__(self) -> None:
        self.targets = self.space.encode(self.task.targets)
        self.out = rounds(self.targets, self.space.size, self.seed)

    def heads(self, encoders: Mapping[str, Encoder]) -> None:
        """Judge the base, and every head on its features and on those of further encoders."""
        base = self.task.learner
        self._judge("base", "base", base, self.task.embedded)
        if isinstance(base, ClosedForm):
            self._all_heads("", base.encoder, self.task.embedded)
        for name, encoder in encoders.items():
            self._all_heads(f"{name}: ", encoder, embed_all(_plain(encoder), encoder.read(self.task.inputs)))

    def _all_heads(self, before: str, encoder: Encoder, features: Tensor) -> None:
        for name, learner in heads_on(encoder, features).items():
            if name == "prototype" and not before and self._base_is_prototype:
                continue  # the base again
            self._judge(before + name, "head", learner, features)

    @property
    def _base_is_prototype(self) -> bool:
        base = self.task.learner
        return isinstance(base, ClosedForm) and base.head.kind == "prototype"

    def _judge(self, name: str, kind: str, learner: Learner, embedded: Tensor) -> None:
        start = self.clock()
        answers = each_alone(_double(learner), embedded, self.targets, self.space)
        if answers is None:
            answers = joined([in_round(learner, embedded, self.targets, self.space, out) for out in self.out])
        row = _row(name, kind, answers, self.clock() - start)
        self.judged.append(_Judged(row, learner, embedded, answers))
        self.rows.append(row)

    @property
    def best(self) -> _Judged:
        """The head with the least log-loss; the earlier one where two are equal."""
        return min(self.judged, key=lambda found: _loss(found.row))

    def expensive(self, adapters: Sequence[str], others: Mapping[str, Learner]) -> None:
        """Judge adapters, cheap ones first, then other learners, against the best head on the same rounds."""
        best = self.best
        for name, learner in self._tried(adapters, others):
            if isinstance(learner, str):
                self.rows.append(Candidate(name, "adapter", note=f"skipped: {learner}"))
                continue
            kind = "adapter" if name in ADAPTERS else "other"
            self._race(name, kind, learner, best)

    def _tried(
        self, adapters: Sequence[str], others: Mapping[str, Learner]
    ) -> Iterator[tuple[str, Learner | str]]:
        """Names and learners, or why there is none; each made only when its turn comes."""
        for name in adapters:
            yield name, adapter_on(self.task.learner, name)
        yield from others.items()

    def _race(self, name: str, kind: str, learner: Learner, best: _Judged) -> None:
        """Round after round, while there is time and hope."""
        start, slowest = self.clock(), 0.0
        mine: list[Answers] = []
        theirs: list[Answers] = []
        note = ""
        embedded = embed_all(learner, self.task.inputs)
        for number, out in enumerate(self.out):
            if self.left() < slowest or self.left() <= 0:
                note = f"stopped after {number} of {len(self.out)} rounds: the time budget is spent"
                break
            before = self.clock()
            mine.append(in_round(learner, embedded, self.targets, self.space, out))
            theirs.append(in_round(best.learner, best.embedded, self.targets, self.space, out))
            slowest = max(slowest, self.clock() - before)
            if number + 1 == _FUTILE < len(self.out) and _gain(mine, theirs)[0] <= 0:
                note = f"dropped after {_FUTILE} rounds: no better than {best.row.name}"
                break
        if not mine:
            self.rows.append(Candidate(name, kind, note="skipped: the time budget is spent"))
            return
        self._weigh(_row(name, kind, joined(mine), self.clock() - start), learner, mine, theirs, note, best)

    def _weigh(
        self,
        row: Candidate,
        learner: Learner,
        mine: list[Answers],
        theirs: list[Answers],
        note: str,
        best: _Judged,
    ) -> None:
        gain, low, high = _gain(mine, theirs)
        row = replace(row, gain=gain, gain_low=low, gain_high=high, note=note)
        ahead = self.taken is None or gain > max(r.gain or 0 for r in self.rows if r.name == self.taken[0])
        if low > 0 and len(joined(mine).targets) > 1 and ahead:
            why = f"log-loss lower by {gain:.3f} ({low:.3f} to {high:.3f}) than {best.row.name}'s on {row.judged} left-out examples"
            if row.kind == "adapter":
                learner.temperature.fill_(joined(mine).temperature)
            self.taken = (row.name, learner, why)
        elif not note:
            row = replace(row, note=f"not measurably better than {best.row.name}")
        self.rows.append(row)

    def choice(self) -> Choice:
        """The adapter that measurably helps, else the best head."""
        best = self.best
        if self.taken is None:
            learner, name = best.learner, best.row.name
            if best.row.kind == "head":
                learner.temperature.fill_(best.answers.temperature)
            reason = self._head_reason(best)
        else:
            name, learner, why = self.taken
            reason = f"Taken is {name}: {why}."
        task = self.task if learner is self.task.learner else self._adapted(learner)
        rows = tuple(replace(r, note=_taken(r.note)) if r.name == name else r for r in self.rows)
        return Choice(task, name, rows, reason)

    def _adapted(self, learner: Learner) -> Adapted:
        return learner.adapt(
            learner.encoder.read(self.task.inputs), self.task.targets, space=self.space, ids=self.task.ids
        )

    def _head_reason(self, best: _Judged) -> str:
        row = best.row
        tried = [r.name for r in self.rows if r.kind in ("adapter", "other") and r.accuracy is not None]
        text = (
            f"Taken is {row.name}: the least log-loss, {row.log_loss:.3f}, of {len(self.judged)} heads on {row.judged} examples "
            f"left out one at a time ({100 * (row.accuracy or 0):.0f} % right)."
        )
        return text + (f" {', '.join(tried)} did not measurably help." if tried else "")


def _double(learner: Learner) -> Learner:
    """A closed-form learner whose head computes in float64; its encoder is not asked and stays out."""
    if not isinstance(learner, ClosedForm):
        return learner
    return ClosedForm(learner.encoder, copy.deepcopy(learner.head).double()).eval()


def _plain(encoder: Encoder) -> Learner:
    return ClosedForm(encoder, "prototype").eval()


def _row(name: str, kind: str, answers: Answers, seconds: float) -> Candidate:
    accuracy, low, high = share(answers.hits)
    loss = float(answers.losses.mean())
    return Candidate(name, kind, accuracy, low, high, loss, len(answers.targets), seconds)


def _loss(row: Candidate) -> float:
    return float("inf") if row.log_loss is None else row.log_loss


def _gain(mine: list[Answers], theirs: list[Answers]) -> tuple[float, float, float]:
    """How much lower my log-loss is than theirs on the same examples, with its 95 % interval."""
    return interval(joined(theirs).losses - joined(mine).losses)


def _taken(note: str) -> str:
    return f"taken; {note}" if note else "taken"
