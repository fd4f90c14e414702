"""What an adapted task returns besides predictions: evidence, checks, what a move changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kshot.learners.adapted import Adapted


@dataclass(frozen=True)
class Evidence:
    """What one support example did for an answer.

    Attributes:
        id, label: the example.
        contribution: probability of the answer with the example minus without it; above 0 it spoke for.
        label_without: the answer had the example never been seen.
    """

    id: str
    label: Any
    contribution: float
    label_without: Any


@dataclass(frozen=True)
class Explanation:
    """Why an input was answered as it was: every support example, the strongest first.

    `method` says how the contributions were made: by adapting without each example in turn they are
    exact, for every learner.
    """

    label: Any
    probability: float
    evidence: list[Evidence]
    method: str = "exact: adapted without each example in turn"


@dataclass(frozen=True)
class Checked:
    """Which examples with known answers are answered right.

    Attributes:
        right, total: labels answered right, out of how many; 0 of 0 where answers are no labels.
        wrong: (place, expected label, given label) of each wrong answer.
        figures: the space's own metrics on these examples, where answers are no labels.
    """

    right: int
    total: int
    wrong: list[tuple[int, Any, Any]]
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.right == self.total


@dataclass(frozen=True)
class Rebased:
    """What moving to another base changed: the new task, and how both answer the support."""

    task: Adapted
    before: Checked
    after: Checked
