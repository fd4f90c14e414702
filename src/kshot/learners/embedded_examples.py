"""Examples with a name each and what the base computed for them: those a task knows, and those it keeps aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kshot.errors import DataError
from kshot.learners.learner import Embedded
from kshot.tasks.examples import join, take


@dataclass(frozen=True, eq=False)
class EmbeddedExamples:
    """Examples as a task holds them.

    Attributes:
        inputs: in raw form. targets, ids: one per input.
        embedded: the base's embeddings, a cache.
    """

    inputs: Any
    targets: Any
    ids: tuple[str, ...]
    embedded: Embedded = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: Sequence[int]) -> EmbeddedExamples:
        """Those at `places`."""
        ids = tuple(self.ids[place] for place in places)
        return EmbeddedExamples(
            take(self.inputs, places), take(self.targets, places), ids, take(self.embedded, places)
        )

    def join(self, other: EmbeddedExamples) -> EmbeddedExamples:
        """These followed by the `other` ones."""
        return EmbeddedExamples(
            together(self.inputs, other.inputs),
            join(self.targets, other.targets),
            (*self.ids, *other.ids),
            join(self.embedded, other.embedded),
        )


def together(first: Any, second: Any) -> Any:
    """Raw inputs of two readings: one tensor when both are alike, else a list."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        same = first.shape[1:] == second.shape[1:] and first.dtype == second.dtype
        return torch.cat([first, second]) if same else [*first, *second]
    return [*first, *second]


def places_of(wanted: str | Sequence[str], known: Sequence[str], where: str) -> list[int]:
    """The places of ids, in their order in `known`.

    Raises:
        DataError: an id that is not there.
    """
    gone = {wanted} if isinstance(wanted, str) else set(wanted)
    unknown = sorted(gone.difference(known))
    if unknown:
        raise DataError(f"id {unknown[0]!r} is not {where}; its ids are {list(known)[:10]}")
    return [place for place, name in enumerate(known) if name in gone]
