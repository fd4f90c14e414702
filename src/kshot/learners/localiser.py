"""The half of a located learner that knows its domain: where pieces of an input are, whatever they are called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from kshot.learners.learner import Embedded
from kshot.tasks.spaces import Pieces

Where = dict[str, Tensor]
"""What a support says about where pieces are; empty where a localiser does not adapt."""


class Candidates(NamedTuple):
    """m places of one input that may hold a piece.

    Attributes:
        places: [m, ...] in the domain's own numbers.
        objectness: [m] logits: is there a piece of any kind?
        vectors: [m, d] what each looks like, for the head.
        origin: [m] what a domain needs to find the same places again; None where it needs nothing.
    """

    places: Tensor
    objectness: Tensor
    vectors: Tensor
    origin: Tensor | None = None


class Localiser(nn.Module, ABC):
    """Base of localisers: class-agnostic, meta-trained, the same for all tasks.

    A subclass sets `kind` and `space`, and writes the five methods below. `item` is always one item of what
    `embed` returned, `rows` the encoded pieces of one input [pieces, columns], the label's place last.
    """

    kind: ClassVar[str]
    space: ClassVar[type[Pieces]]

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON."""

    def embed(self, features: Embedded) -> Embedded:
        """What is kept of each input, from the encoder's features."""
        return features

    def locate(self, items: Sequence[Tensor], rows: Sequence[Tensor]) -> Where:
        """What the support says about where pieces are; by default nothing."""
        return {}

    @abstractmethod
    def propose(self, item: Tensor, where: Where) -> Candidates:
        """The candidates of one input."""

    def again(self, item: Tensor, candidates: Candidates, where: Where) -> Candidates:
        """The same places as another support sees them; override it together with `locate`."""
        return candidates

    @abstractmethod
    def vectors(self, item: Tensor, rows: Tensor) -> Tensor:
        """What marked pieces look like, [pieces, d]."""

    def vectors_of(self, items: Sequence[Tensor], rows: Sequence[Tensor]) -> list[Tensor]:
        """`vectors` for many inputs; override it where many are faster together."""
        return [self.vectors(item, own) for item, own in zip(items, rows, strict=True)]

    def aside(
        self, items: Sequence[Tensor], rows: Sequence[Tensor], where: Where, count: int
    ) -> list[Tensor]:
        """Vectors of the `count` likeliest candidates of each input that are no marked piece; override it where
        vectors of all candidates cost much."""
        found = []
        for item, own in zip(items, rows, strict=True):
            candidates = self.propose(item, where)
            far = self.elsewhere(candidates, own).nonzero().flatten()
            best = candidates.objectness[far].argsort(descending=True, stable=True)[:count]
            found.append(candidates.vectors[far[best]])
        return found

    def without_each(
        self, items: Sequence[Tensor], rows: Sequence[Tensor], count: int
    ) -> list[tuple[Where, list[Tensor]]]:
        """`locate` and `aside` of the support without each of its inputs in turn, nothing where it has no other; override
        it where they would do much again."""
        found: list[tuple[Where, list[Tensor]]] = []
        for place in range(len(items)):
            rest = [n for n in range(len(items)) if n != place]
            others, marked = [items[n] for n in rest], [rows[n] for n in rest]
            where = self.locate(others, marked) if rest else {}
            found.append((where, self.aside(others, marked, where, count) if rest else []))
        return found

    @abstractmethod
    def elsewhere(self, candidates: Candidates, rows: Tensor) -> Tensor:
        """[m] booleans: the candidates that are no marked piece, nor nearly one."""

    @abstractmethod
    def outputs(self, found: Sequence[Candidates], scores: Tensor, unknown: Tensor) -> Any:
        """Candidates of n inputs, scored in a row (see `Pieces`), in the form of the space's outputs."""

    @abstractmethod
    def loss(self, items: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
        """How ill pieces are located, whatever their labels; a scalar for meta-training."""


_LOCALISERS: dict[str, Callable[..., Localiser]] = {}


def register_localiser(kind: type[Localiser]) -> type[Localiser]:
    """Make a localiser known by its kind, so that saved learners find it again (class decorator)."""
    _LOCALISERS[kind.kind] = kind
    return kind


def make_localiser(kind: str, config: dict[str, Any]) -> Localiser:
    """A localiser with fresh weights from what a file says. Raises KeyError for an unknown kind."""
    return _LOCALISERS[kind](**config)
