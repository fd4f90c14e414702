"""`choose`: which learner suits this task, by leave-one-out on its own examples, within a time budget."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from kshot.encoders import Encoder, VectorEncoder
from kshot.encoders.encoder import Read
from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.heads import HEADS
from kshot.learners import Adapted, Adapter, ClosedForm, Learner
from kshot.learners.embedding import embed_all
from kshot.tasks import Examples
from kshot.tasks.spaces import Classes
from kshot.tuning.choice import Candidate, Choice
from kshot.tuning.left_out import Answers, each_alone, in_round, interval, joined, rounds, share
from kshot.tuning.rows import choose_for_rows

ADAPTERS: Mapping[str, tuple[str, int, float]] = MappingProxyType(
    {"film": ("film", 10, 0.3), "lora": ("lora", 10, 0.1), "fine_tune": ("full", 20, 0.01)}
)
"""What moves, steps and rate of each adapter: chosen on crops of blood cells and playing cards, and on digits."""

HEADS_TRIED: Mapping[str, tuple[str, Mapping[str, float]]] = MappingProxyType(
    {
        "kernel_ridge": ("kernel_ridge", {"scale": 1.0, "width": 1.0, "ridge": 0.1, "gain": 10.0}),
        "smooth_kernel_ridge": ("kernel_ridge", {"scale": 3.0, "width": 0.3, "ridge": 1.0, "gain": 10.0}),
        "prototype": ("prototype", {"scale": 3.0}),
        "ridge": ("ridge", {"ridge": 0.3}),
        "lda": ("lda", {"floor": 1 / 3, "share": 10 / 3}),
    }
)
"""Heads and their scalars, for features whose columns vary by 1; `head_for` brings them to any features."""

_FUTILE = 2
"""Rounds after which an adapter without any gain is dropped."""


def choose(
    inputs: Any,
    targets: Any = None,
    *,
    base: Learner | None = None,
    encoders: Mapping[str, Encoder] = MappingProxyType({}),
    others: Mapping[str, Learner] = MappingProxyType({}),
    adapters: Sequence[str] = tuple(ADAPTERS),
    budget: float = 30.0,
    ids: Sequence[str] | None = None,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Choice:
    """Compare what could learn this task on the task's own examples, and adapt the best.

    Heads are compared by exact leave-one-out, in milliseconds, on features that are made once. Then adapters (FiLM,
    LoRA, fine-tuning) start from the encoder's weights, the cheap ones first, as long as the budget lasts: each is
    adapted in rounds that leave a fifth of every class out (or one example a class, where there are fewer than
    five), and its log-loss on those is compared with the best head's on the same examples. It is taken only where
    it is better by more than the 95 % interval of that difference. With one example a class nothing can be left
    out: the base's own head is taken, and the reason says so.

    Args:
        inputs, targets: examples and their labels, as for `adapt`; or an `Examples`.
        base: a meta-trained learner. None: inputs are rows [n, features], and columns are scaled as they need it.
        encoders: further encoders to compare, by name; each must take the same inputs.
        others: further learners to compare, by name.
        adapters: names of ADAPTERS to try; () for none.
        budget: seconds. Heads are always judged; what does not fit any more is listed as skipped.
        ids: a name per example. seed: shuffles the rounds. clock: tells the seconds.

    Raises:
        SettingError: the budget is not above 0, or an adapter is unknown.
        DataError: a single class, no examples, or examples that cannot be read.
        UnsupportedError: targets are numbers.

    Leave-one-out for choosing: Stone (1974), "Cross-validatory choice and assessment of statistical predictions".

    >>> import torch, kshot
    >>> rows = torch.cat([torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) + k for k in (0, 3)])
    >>> found = kshot.choose(rows, ["low"] * 6 + ["high"] * 6)
    >>> found.task.predict(torch.full((1, 4), 3.0)).labels
    ['high']
    """
    _settings(budget, adapters)
    if isinstance(inputs, Examples):
        inputs, targets = inputs.inputs, inputs.targets
    if targets is None:
        raise DataError("no targets were given; choose(inputs, targets) needs one label per input")
    start = clock()
    base, space, why = _default(base, inputs, targets)
    task = base.adapt(inputs, targets, space=space, ids=ids)
    if int(torch.bincount(space.encode(targets)).amax()) < 2:
        return _unjudged(task, why)
    search = _Search(task, space, seed, lambda: budget - (clock() - start), clock)
    search.heads(encoders)
    search.expensive(adapters, others)
    return search.choice()


def _settings(budget: float, adapters: Sequence[str]) -> None:
    if not budget > 0:
        raise SettingError(f"budget is {budget} seconds; give a number above 0, for example 30")
    unknown = sorted(set(adapters) - set(ADAPTERS))
    if unknown:
        raise SettingError(f"adapter {unknown[0]!r} is not known; choose from {', '.join(ADAPTERS)}")


def _default(base: Learner | None, inputs: Any, targets: Any) -> tuple[Learner, Classes, str]:
    """The learner that is taken when nothing can be judged, and what to call it."""
    space = _classes(targets)
    if base is not None:
        return base, space, "the base's own way"
    encoder = _rows_encoder(inputs)
    rows = encoder.prepare(encoder.read(inputs)).double()
    Examples(rows, targets)
    found = choose_for_rows(rows, space.encode(targets), space.size)
    return found.learner, space, f"{found.head} on rows scaled by {found.scaling!r}"


def _classes(targets: Any) -> Classes:
    if getattr(getattr(targets, "dtype", None), "is_floating_point", False) or any(
        isinstance(t, float) and not float(t).is_integer() for t in list(targets)
    ):
        raise UnsupportedError(
            f"targets are numbers such as {next(iter(targets))}; choose() compares classifiers: "
            "use kshot.FewShotRegressor for numbers"
        )
    return Classes.of(targets)


def _rows_encoder(inputs: Any) -> VectorEncoder:
    from kshot.encoders import identity

    try:
        shape = list(inputs.shape if hasattr(inputs, "shape") else torch.as_tensor(inputs).shape)
    except (TypeError, ValueError, RuntimeError):
        shape = []
    if len(shape) != 2 or not shape[1]:
        raise DataError(
            f"inputs have shape {shape}; without a base, choose() takes rows [n, features]: give "
            "base=kshot.load(...) for pictures"
        )
    return identity(shape[1])


def _unjudged(task: Adapted, why: str) -> Choice:
    reason = (
        f"Each of the {len(task.ids)} classes has one example, so none can be left out and "
        f"nothing can be estimated; taken is {why}, which suits such tasks on average."
    )
    return Choice(task, "base", (Candidate("base", "base", note="taken: nothing to judge by"),), reason)


@dataclass
class _Judged:
    """A learner, its features of the support, its exact leave-one-out answers, and its row."""

    row: Candidate
    learner: Learner
    embedded: Tensor
    answers: Answers


@dataclass
class _Search:
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
            self._all_heads(
                f"{name}: ", encoder, embed_all(_plain(encoder), _read(encoder, self.task.inputs))
            )

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
        for name, make in self._tried(adapters, others):
            learner = make()
            if isinstance(learner, str):
                self.rows.append(Candidate(name, "adapter", note=f"skipped: {learner}"))
                continue
            kind = "adapter" if name in ADAPTERS else "other"
            self._race(name, kind, learner, best)

    def _tried(
        self, adapters: Sequence[str], others: Mapping[str, Learner]
    ) -> Iterator[tuple[str, Callable[[], Learner | str]]]:
        base = self.task.learner
        for name in adapters:
            yield name, lambda name=name: _adapter(base, name)  # type: ignore[misc]
        for name, learner in others.items():
            yield name, lambda learner=learner: learner  # type: ignore[misc]

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
            learner.temperature.fill_(joined(mine).temperature) if row.kind == "adapter" else None
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
            _read(learner.encoder, self.task.inputs), self.task.targets, space=self.space, ids=self.task.ids
        )

    def _head_reason(self, best: _Judged) -> str:
        row = best.row
        tried = [r.name for r in self.rows if r.kind in ("adapter", "other") and r.accuracy is not None]
        text = (
            f"Taken is {row.name}: the least log-loss, {row.log_loss:.3f}, of {len(self.judged)} heads on {row.judged} examples "
            f"left out one at a time ({100 * (row.accuracy or 0):.0f} % right)."
        )
        return text + (f" {', '.join(tried)} did not measurably help." if tried else "")


def heads_on(encoder: Encoder, features: Tensor) -> dict[str, ClosedForm]:
    """Every head of HEADS_TRIED on an encoder, its scalars brought to the scale of `features` [n, d]."""
    return {name: ClosedForm(encoder, _head_for(name, features)).eval() for name in HEADS_TRIED}


def _head_for(name: str, features: Tensor) -> Any:
    """Distances grow with the variance of the features, so scales and widths shrink and ridges and floors grow by it."""
    kind, scalars = HEADS_TRIED[name]
    spread = float(features.double().var(0, correction=0).mean()) or 1.0
    head = HEADS[kind]().to(features.dtype).requires_grad_(False)
    for scalar, value in scalars.items():
        factor = {"scale": 1 / spread, "width": 1 / spread, "floor": spread}.get(scalar, 1.0)
        if (kind, scalar) == ("ridge", "ridge"):
            factor = spread * features.shape[1]
        getattr(head, f"log_{scalar}").fill_(float(torch.tensor(value * factor).log()))
    return head


def _adapter(base: Learner, name: str) -> Learner | str:
    """The adapter, or why there is none."""
    moves, steps, rate = ADAPTERS[name]
    if not isinstance(base, ClosedForm):
        return f"adapters start from closed-form bases, this one is a {type(base).__name__}"
    try:
        return Adapter.of(base, moves, steps=steps, rate=rate)
    except SettingError as cause:
        return str(cause)


def _double(learner: Learner) -> Learner:
    """A closed-form learner whose head computes in float64; its encoder is not asked and stays out."""
    if not isinstance(learner, ClosedForm):
        return learner
    return ClosedForm(learner.encoder, copy.deepcopy(learner.head).double()).eval()


def _plain(encoder: Encoder) -> Learner:
    return ClosedForm(encoder, "prototype").eval()


def _read(encoder: Encoder, inputs: Read) -> Read:
    return encoder.read(inputs)


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
