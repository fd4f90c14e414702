"""Examples: inputs with their targets, before any encoder has seen them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kshot.errors import DataError


@dataclass(frozen=True)
class Examples:
    """`inputs` and `targets` of equal length.

    Args:
        inputs: a tensor [n, ...] or a sequence of n raw inputs (pictures, texts, rows).
        targets: a tensor [n, ...] or a sequence of n raw targets, in the order of `inputs`.

    Raises:
        DataError: the two lengths differ.

    >>> len(Examples(torch.zeros(3, 2), torch.tensor([0, 1, 1])))
    3
    """

    inputs: Any
    targets: Any

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise DataError(
                f"{len(self.inputs)} inputs came with {len(self.targets)} targets; "
                "each input needs exactly one target: give two sequences of equal length"
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: Sequence[int]) -> Examples:
        """The examples at `indices`, in that order."""
        return Examples(take(self.inputs, indices), take(self.targets, indices))

    def __add__(self, other: Examples) -> Examples:
        """These examples followed by the `other` ones."""
        return Examples(join(self.inputs, other.inputs), join(self.targets, other.targets))


def take(values: Any, indices: Sequence[int]) -> Any:
    """The `values` at `indices`: tensor in, tensor out; otherwise a list."""
    if isinstance(values, Tensor):
        return values[torch.as_tensor(list(indices), dtype=torch.long)]
    return [values[i] for i in indices]


def join(first: Any, second: Any) -> Any:
    """`first` followed by `second`: tensors are concatenated, sequences and tensors of unequal items become one list."""
    return joined([first, second])


def joined(parts: Sequence[Any]) -> Any:
    """All `parts` in a row, as `join`."""
    if all(isinstance(part, Tensor) for part in parts) and len({part.shape[1:] for part in parts}) == 1:
        return torch.cat(list(parts))
    return [item for part in parts for item in part]
