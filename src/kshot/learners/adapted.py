"""The adapted task: an immutable value, a pure function of base, examples and settings.

The examples are the truth; embeddings and state are caches. So `add` in any order equals adapting
afresh, and `remove` equals never having seen the example.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.errors import DataError, InputWarning, UnsupportedError
from kshot.learners.learner import Learner, evaluating
from kshot.learners.records import save_task
from kshot.learners.results import Checked, Evidence, Explanation, Rebased
from kshot.tasks import Examples
from kshot.tasks.examples import join, take
from kshot.tasks.spaces import Classes, OutputSpace

_CHUNK = 512
"""Inputs encoded at a time: bounds the memory of predicting thousands."""


@dataclass(frozen=True)
class Adapted:
    """A task that was learned. Make one with `learner.adapt`.

    Attributes:
        learner: its base.
        space: what an answer is.
        inputs, targets: the examples, inputs in raw form.
        ids: a name per example.
    """

    learner: Learner
    space: OutputSpace
    inputs: Any
    targets: Any
    ids: tuple[str, ...]
    embedded: Tensor = field(repr=False)
    state: Any = field(repr=False)

    @classmethod
    def start(
        cls, learner: Learner, inputs: Any, targets: Any, space: OutputSpace, ids: Sequence[str] | None
    ) -> Adapted:
        """Adapt `learner` to examples; `learner.adapt` is the public door."""
        learner.check_space(space)
        read = learner.encoder.read(inputs)
        Examples(read, targets)
        _some(read)
        space.encode(targets)
        _each_class(space, targets)
        embedded = _embed(learner, read, check=True)
        return cls._solved(learner, space, read, targets, _names(ids, len(read), ()), embedded)

    @classmethod
    def _solved(
        cls,
        learner: Learner,
        space: OutputSpace,
        inputs: Any,
        targets: Any,
        ids: tuple[str, ...],
        embedded: Tensor,
    ) -> Adapted:
        encoded = space.encode(targets)
        if isinstance(encoded, Tensor):
            like = embedded.dtype if encoded.is_floating_point() else encoded.dtype
            encoded = encoded.to(embedded.device, like)
        with torch.no_grad(), evaluating(learner):
            state = learner.solve(Examples(embedded, encoded), space)
        return cls(learner, space, inputs, targets, ids, embedded, state)

    def __len__(self) -> int:
        return len(self.ids)

    def predict(self, inputs: Any) -> Any:
        """Answers for new inputs, as the space's prediction (for classes: labels, probabilities, unknown).

        Raises:
            DataError: inputs that cannot be read.
        """
        return self._decode(self._outputs(_embed(self.learner, self.learner.encoder.read(inputs))))

    def _outputs(self, embedded: Tensor) -> Any:
        with torch.no_grad(), evaluating(self.learner):
            return self.learner.respond(self.state, embedded, self.space)

    def _decode(self, outputs: Any) -> Any:
        learner = self.learner
        return self.space.decode(
            outputs, temperature=float(learner.temperature), threshold=float(learner.threshold)
        )

    def explain(self, inputs: Any) -> Explanation:
        """Which examples decided the answer to one input, and by how much.

        Exact for every learner: the task is adapted without each example in turn, on kept embeddings.

        Raises:
            UnsupportedError: the answer is not a class.
            DataError: more than one input.
        """
        space = self.space
        if not isinstance(space, Classes):
            raise UnsupportedError(
                f"explain() answers for classes; this task answers with {type(space).__name__}"
            )
        read = self.learner.encoder.read(_single(inputs, self.learner.encoder.modality))
        if len(read) != 1:
            raise DataError(f"explain() got {len(read)} inputs; it explains one: give inputs[:1] or [input]")
        query = _embed(self.learner, read)
        answer = self._decode(self._outputs(query))
        column = space.labels.index(answer.labels[0])
        probability = float(answer.probabilities[0, column])
        evidence = [self._evidence(place, query, answer.labels[0], probability) for place in range(len(self))]
        evidence.sort(key=lambda e: -abs(e.contribution))
        return Explanation(answer.labels[0], probability, evidence)

    def _evidence(self, place: int, query: Tensor, label: Any, probability: float) -> Evidence:
        own = _plain(self.targets[place])
        if len(self) == 1:
            return Evidence(self.ids[place], own, probability, None)
        rest = self._without({place})
        answer = rest._decode(rest._outputs(query))
        left = dict(zip(answer.classes, answer.probabilities[0].tolist(), strict=True))
        return Evidence(self.ids[place], own, probability - left.get(label, 0.0), answer.labels[0])

    def add(self, inputs: Any, targets: Any, *, ids: Sequence[str] | None = None) -> Adapted:
        """A new task that has seen these examples too; new labels become new classes."""
        read = self.learner.encoder.read(inputs)
        Examples(read, targets)
        _some(read)
        new = list(targets)
        space = _space_of(self.space, [*self.targets, *new])
        space.encode(new)
        embedded = torch.cat([self.embedded, _embed(self.learner, read, check=True)])
        names = (*self.ids, *_names(ids, len(read), self.ids))
        merged = _together(self.inputs, read)
        return self._solved(self.learner, space, merged, join(self.targets, targets), names, embedded)

    def remove(self, ids: str | Sequence[str]) -> Adapted:
        """A new task that never saw the examples of these ids; a class without examples goes.

        Raises:
            DataError: an unknown id, or less than two classes would be left.
        """
        gone = {ids} if isinstance(ids, str) else set(ids)
        unknown = sorted(gone - set(self.ids))
        if unknown:
            raise DataError(f"id {unknown[0]!r} is not in this task; its ids are {list(self.ids)[:10]}")
        places = {place for place, name in enumerate(self.ids) if name in gone}
        if len(places) == len(self):
            raise DataError(f"removing {len(places)} examples would leave none; a task needs at least one")
        left = self._without(places)
        _each_class(left.space, left.targets)
        return left

    def _without(self, places: set[int]) -> Adapted:
        keep = [place for place in range(len(self)) if place not in places]
        targets = take(self.targets, keep)
        space = _space_of(self.space, targets)
        ids = tuple(self.ids[place] for place in keep)
        return self._solved(
            self.learner, space, take(self.inputs, keep), targets, ids, self.embedded[torch.tensor(keep)]
        )

    def check(self, inputs: Any, targets: Any) -> Checked:
        """Ask examples whose answers are known, and list the wrong ones (or the space's metrics)."""
        if not isinstance(self.space, Classes):
            read = self.learner.encoder.read(inputs)
            Examples(read, targets)
            outputs = self._outputs(_embed(self.learner, read))
            return Checked(0, 0, [], self.space.metrics(outputs, self.space.encode(targets)))
        given = self.predict(inputs).labels
        expected = [_plain(t) for t in targets]
        Examples(given, expected)
        wrong = [(i, e, g) for i, (e, g) in enumerate(zip(expected, given, strict=True)) if e != g]
        return Checked(len(expected) - len(wrong), len(expected), wrong)

    def rebase(self, learner: Learner) -> Rebased:
        """The same examples on another base, with what changed on them.

        Raises:
            DataError: the other base takes another kind of input.
        """
        if learner.encoder.modality != self.learner.encoder.modality:
            raise DataError(
                f"the new base takes {learner.encoder.modality} inputs, this task holds "
                f"{self.learner.encoder.modality} inputs; choose a base of the same kind"
            )
        task = Adapted.start(learner, self.inputs, self.targets, self.space, self.ids)
        before = self.check(self.inputs, self.targets)
        return Rebased(task, before, task.check(task.inputs, task.targets))

    def save(self, path: str | Path, *, include_base: bool = False) -> Path:
        """Write the task: its examples, settings, and its base's name and fingerprint.

        Args:
            path: a file; the suffix .kshot is the custom.
            include_base: also write the base, so that the file needs nothing else.
        """
        return save_task(self, Path(path), include_base)


def _embed(learner: Learner, read: Any, check: bool = False) -> Tensor:
    parts = []
    with torch.no_grad(), evaluating(learner):
        for start in range(0, max(len(read), 1), _CHUNK):
            prepared = learner.prepared(read[start : start + _CHUNK])
            if check or start == 0:
                warn_unfamiliar(learner, prepared)
            parts.append(learner.embed(prepared))
    return torch.cat(parts)


def warn_unfamiliar(learner: Learner, prepared: Tensor) -> None:
    """Warn when inputs lie far outside what the base was trained on (its range, per statistic, and a quarter more)."""
    if not learner.seen.numel() or not len(prepared):
        return
    low, high = learner.seen
    middle = learner.encoder.profile(prepared).median(0).values.to(low)
    reach = (high - low).clamp(min=1e-6)
    outside = torch.maximum(low - middle, middle - high) / reach
    worst = int(outside.argmax())
    if float(outside[worst]) > 0.25:
        warnings.warn(
            f"these inputs do not look like what the base was trained on (statistic {worst} of the encoder's profile "
            f"is {float(middle[worst]):.3g}, in training it ran from {float(low[worst]):.3g} to "
            f"{float(high[worst]):.3g}); expect weak answers: bring them into the base's form (bright on dark, "
            "for example), or use a base trained on such inputs",
            InputWarning,
            stacklevel=4,
        )


def _names(ids: Sequence[str] | None, count: int, taken: tuple[str, ...]) -> tuple[str, ...]:
    if ids is None:
        numbers = [int(name[1:]) for name in taken if name[:1] == "e" and name[1:].isdigit()]
        first = max(numbers, default=-1) + 1
        return tuple(f"e{first + k}" for k in range(count))
    names = tuple(str(name) for name in ids)
    if len(names) != count:
        raise DataError(f"{len(names)} ids came with {count} examples; give one id per example")
    repeated = [name for name in names if names.count(name) > 1 or name in taken]
    if repeated:
        raise DataError(f"id {repeated[0]!r} is used twice; every example needs an id of its own")
    return names


def _single(inputs: Any, modality: str) -> Any:
    """One input, also where the caller indexed it out of a batch."""
    axes = (1, 2) if modality == "image" else (1,)
    if isinstance(inputs, Tensor | np.ndarray) and inputs.ndim in axes:
        return inputs[None]
    return inputs


def _some(read: Any) -> None:
    if len(read) == 0:
        raise DataError("0 examples were given; adapting needs at least one example per class")


def _each_class(space: OutputSpace, targets: Any) -> None:
    """Raise DataError unless there are two classes or more, each with an example."""
    if not isinstance(space, Classes):
        return
    if len(space.labels) < 2:
        raise DataError(
            f"the classes are {list(space.labels)}; telling apart needs at least two: give examples of another class"
        )
    without = set(space.labels) - set(Classes.of(targets).labels)
    if without:
        raise DataError(
            f"class {sorted(map(str, without))[0]!r} has 0 examples; each class needs at least one: "
            "give an example of it, or leave the class out"
        )


def _space_of(space: OutputSpace, targets: Any) -> OutputSpace:
    """`space` for these targets: classes that occur, in the order that adapting to them afresh gives.

    An order of the caller's own stays, with new classes behind, so that removing an example never
    shuffles the rows of a trained head.
    """
    if not isinstance(space, Classes):
        return space
    found = Classes.of(targets)
    if list(space.labels) == sorted(space.labels):
        return found
    kept = [label for label in space.labels if label in found.labels]
    return Classes((*kept, *(label for label in found.labels if label not in kept)))


def _plain(target: Any) -> Any:
    return target.item() if hasattr(target, "item") and getattr(target, "ndim", 0) == 0 else target


def _together(first: Any, second: Any) -> Any:
    """Raw inputs of two readings: one tensor when both are alike, else a list."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        same = first.shape[1:] == second.shape[1:] and first.dtype == second.dtype
        return torch.cat([first, second]) if same else [*first, *second]
    return [*first, *second]
