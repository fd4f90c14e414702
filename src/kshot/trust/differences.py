"""What two versions of a task answer differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.learners import Adapted
from kshot.learners.given import plain
from kshot.tasks.spaces import Classes, Numbers

GROUPS = ("golden", "examples", "given")
"""Where an asked input comes from: golden checks of either, learned examples of either, or the caller."""


@dataclass(frozen=True)
class Difference:
    """An input that the two answer differently.

    Attributes:
        group: one of GROUPS. id: its name. expected: the right answer; None where it is not known.
        first, second: the two answers.
    """

    group: str
    id: str
    expected: Any
    first: Any
    second: Any


@dataclass(frozen=True)
class Differences:
    """What two tasks answer differently.

    Attributes:
        found: each difference, golden examples first.
        asked: number of inputs asked, by group.
        gone, new: classes that only the first, and only the second, can answer.
    """

    found: tuple[Difference, ...]
    asked: dict[str, int]
    gone: tuple[Any, ...]
    new: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.found)

    def of(self, group: str) -> tuple[Difference, ...]:
        """The differences of one group."""
        return tuple(d for d in self.found if d.group == group)

    @property
    def regressions(self) -> tuple[Difference, ...]:
        """Inputs with a known answer that the first answers right and the second does not."""
        return tuple(d for d in self.found if d.expected is not None and d.first == d.expected != d.second)

    @property
    def repairs(self) -> tuple[Difference, ...]:
        """Inputs with a known answer that only the second answers right."""
        return tuple(d for d in self.found if d.expected is not None and d.second == d.expected != d.first)


@dataclass(frozen=True)
class _Asked:
    group: str
    names: list[str]
    inputs: Any
    expected: list[Any]


def diff(
    first: Adapted,
    second: Adapted,
    inputs: Any = None,
    targets: Sequence[Any] | None = None,
    *,
    ids: Sequence[str] | None = None,
    tolerance: float = 1e-6,
) -> Differences:
    """Ask both tasks the golden examples and the learned examples of either, and inputs of your own.

    Args:
        first, second: tasks that take the same kind of input; their bases may differ.
        inputs: further inputs. targets, ids: their right answers and names, where there are any.
        tolerance: numbers that differ by no more are equal.

    Raises:
        DataError: other kinds of input or of answer.
        UnsupportedError: answers are neither classes nor numbers.

    >>> import torch, kshot
    >>> a = kshot.learners.ProtoNet(kshot.encoders.identity(2)).adapt(torch.eye(2), ["left", "right"])
    >>> b = a.add(torch.tensor([[0.6, 0.5]]), ["right"])
    >>> found = diff(a, b, torch.tensor([[0.7, 0.5], [0.0, 1.0]]))
    >>> [(d.group, d.id, d.first, d.second) for d in found.found]
    [('examples', 'e2', 'left', 'right'), ('given', '0', 'left', 'right')]
    """
    _comparable(first, second)
    if not 0 <= tolerance < float("inf"):
        raise SettingError(f"tolerance is {tolerance}; it is a number of at least 0")
    groups = [*_held(first, second)]
    if inputs is not None:
        groups.append(_given(first, inputs, targets, ids))
    found = [d for group in groups for d in _compared(first, second, group, tolerance)]
    own, other = (getattr(task.space, "labels", ()) for task in (first, second))
    asked = {group: sum(len(g.names) for g in groups if g.group == group) for group in GROUPS}
    return Differences(
        tuple(found), asked, tuple(c for c in own if c not in other), tuple(c for c in other if c not in own)
    )


def _comparable(first: Adapted, second: Adapted) -> None:
    kinds = [task.learner.encoder.modality for task in (first, second)]
    if kinds[0] != kinds[1]:
        raise DataError(
            f"one task takes {kinds[0]} inputs, the other {kinds[1]}; compare versions of one task"
        )
    spaces = [task.space.kind for task in (first, second)]
    if spaces[0] != spaces[1]:
        raise DataError(
            f"one task answers with {spaces[0]}, the other with {spaces[1]}; compare versions of one task"
        )
    if not isinstance(first.space, Classes | Numbers):
        raise UnsupportedError(
            f"tasks that answer with {spaces[0]} cannot be compared; classes and numbers can"
        )


def _held(first: Adapted, second: Adapted) -> Iterator[_Asked]:
    """Golden and learned examples of both, each input once per group."""
    golden = [(t.golden.inputs, t.golden.targets, t.golden.ids) for t in (first, second) if t.golden]
    learned = [(t.inputs, t.targets, t.ids) for t in (first, second)]
    for group, parts in (("golden", golden), ("examples", learned)):
        seen: dict[str, tuple[str, Any, Any]] = {}
        for inputs, targets, names in parts:
            for item, target, name in zip(inputs, targets, names, strict=True):
                seen[first.learner.encoder.digest(item)] = (name, item, plain(target))
        if seen:
            rows = list(seen.values())
            items = alike([item for _, item, _ in rows])
            yield _Asked(group, [name for name, _, _ in rows], items, [target for _, _, target in rows])


def _given(task: Adapted, inputs: Any, targets: Sequence[Any] | None, ids: Sequence[str] | None) -> _Asked:
    read = task.learner.encoder.read(inputs)
    count = len(read)
    if count == 0:
        raise DataError("0 inputs were given to compare on; give at least one, or none at all (inputs=None)")
    names = [str(place) for place in range(count)] if ids is None else [str(name) for name in ids]
    expected = [None] * count if targets is None else [plain(target) for target in targets]
    if {len(names), len(expected)} != {count}:
        raise DataError(
            f"{count} inputs came with {len(names)} ids and {len(expected)} targets; give one of each per input"
        )
    return _Asked("given", names, read, expected)


def _compared(first: Adapted, second: Adapted, asked: _Asked, tolerance: float) -> Iterator[Difference]:
    ours, theirs = _answers(first, asked.inputs), _answers(second, asked.inputs)
    for name, right, a, b in zip(asked.names, asked.expected, ours, theirs, strict=True):
        if not _same(a, b, tolerance):
            yield Difference(asked.group, name, right, a, b)


def _answers(task: Adapted, inputs: Any) -> list[Any]:
    answer = task.predict(inputs)
    return (
        list(answer.labels) if isinstance(task.space, Classes) else list(map(tuple, answer.values.tolist()))
    )


def _same(first: Any, second: Any, tolerance: float) -> bool:
    if isinstance(first, tuple):
        return all(abs(a - b) <= tolerance for a, b in zip(first, second, strict=True))
    return bool(first == second)


def alike(items: list[Any]) -> Any:
    """Items as one tensor where they are alike, which some encoders read faster or only so."""
    tensors = all(isinstance(item, torch.Tensor) for item in items)
    return torch.stack(items) if tensors and len({(i.shape, i.dtype) for i in items}) == 1 else items
