"""Pieces of an input with a label each: what spans of texts and boxes in pictures have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from torch import Tensor

from kshot.errors import DataError
from kshot.tasks.spaces.classes import Classes, Label, plain
from kshot.tasks.spaces.space import OutputSpace

UNNAMED = -1
"""The place of the label None: a piece that is none of the classes."""


class Picked(NamedTuple):
    """One candidate that is an answer.

    Attributes:
        row: its place among the candidates.
        column: of the scores; 0 where it looks like a piece, but like none of the classes.
        probability: of that column's label, or of being unknown.
    """

    row: int
    column: int
    probability: float


@dataclass(frozen=True)
class Pieces(OutputSpace):
    """Any number of labelled pieces an input; targets are one list of (..., label) for each.

    A label may be None: a thing that is none of the classes. It teaches what to refuse, and where things are.
    Outputs are a named tuple of m candidates with `scores` [m, 1 + labels], column 0 "none of them", and
    `unknown` [m]: the log-probability that a candidate is a thing of no known class (None: nobody knows).
    """

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", Classes(tuple(self.labels)).labels)

    @classmethod
    def of(cls, targets: Iterable[Iterable[Sequence[Any]]]) -> Self:
        """The space of the labels that occur.

        Raises:
            DataError: a target is no list of pieces.
        """
        return cls(Classes.of(_labels(targets)).labels)

    def of_those(self, targets: Iterable[Iterable[Sequence[Any]]]) -> Self:
        """The space of the labels that occur, in the order that adapting to `targets` afresh gives.

        An order of the caller's own stays, with new labels behind.
        """
        found = type(self).of(targets)
        if list(self.labels) == sorted(self.labels, key=lambda label: (str(type(label)), label)):
            return found
        kept = [label for label in self.labels if label in found.labels]
        return type(self)((*kept, *(label for label in found.labels if label not in kept)))

    @property
    def size(self) -> int:
        """Labels and "none of them"."""
        return len(self.labels) + 1

    def encode(self, targets: Any) -> list[Tensor]:
        """n lists of (..., label) to n tensors [pieces, columns], the last the place of the label, -1 for None."""
        return [self.rows(listed(pieces)) for pieces in targets]

    @abstractmethod
    def rows(self, pieces: list[Sequence[Any]]) -> Tensor:
        """The pieces of one input as a tensor. Raises DataError."""

    @abstractmethod
    def pick(self, outputs: Any, *, temperature: float = 1.0, **_: Any) -> list[list[Picked]]:
        """For each input the candidates that are its answer, in the order of the prediction; unknown ones last."""

    @abstractmethod
    def piece(self, outputs: Any, picked: Picked) -> Any:
        """A candidate as the prediction has it; an unknown one has the best guess for its label."""

    @abstractmethod
    def met(self, wanted: Sequence[Sequence[Any]], given: Sequence[Any]) -> int:
        """How many of the wanted pieces are among the given; `wanted` is a raw target, all with labels."""

    def named(self, wanted: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        """The pieces of a raw target that have a label, each once."""
        return [piece for piece in dict.fromkeys(map(tuple, wanted)) if piece[-1] is not None]

    def right(self, wanted: Sequence[Sequence[Any]], given: Sequence[Any]) -> bool:
        """Are these the wanted pieces, none missing and none too many? `wanted` is a raw target."""
        pieces = self.named(wanted)
        return self.met(pieces, given) == len(pieces) == len(given)

    def verdict(self, chances: Tensor) -> Tensor:
        """The column that answers, of probabilities [..., 1 + labels]; 0 where it is none of the classes."""
        return chances.argmax(-1)

    def places(self, labels: Sequence[Any]) -> list[int]:
        """The places of labels; None is `UNNAMED`."""
        found = iter(Classes(self.labels).encode([label for label in labels if label is not None]).tolist())
        return [UNNAMED if label is None else next(found) for label in labels]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": list(self.labels)}


def listed(pieces: Any) -> list[Sequence[Any]]:
    """The pieces of one input as a list.

    Raises:
        DataError: something else was given.
    """
    if isinstance(pieces, str | bytes) or not hasattr(pieces, "__iter__"):
        raise DataError(
            f"the answer to one input is {pieces!r}; give a list of its pieces, each with its label last; [] for none"
        )
    found = [tuple(piece) if hasattr(piece, "__iter__") else (piece,) for piece in pieces]
    return list(found)


def _labels(targets: Iterable[Any]) -> list[Label]:
    found = [piece[-1] for pieces in targets for piece in listed(pieces) if piece]
    return [plain(label) for label in found if label is not None]
