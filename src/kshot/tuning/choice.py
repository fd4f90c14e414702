"""What choosing returns: the adapted task, the table of what was compared, and the reason in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kshot.learners import Adapted, Learner


@dataclass(frozen=True)
class Candidate:
    """One learner that was compared.

    Attributes:
        name, kind: "base", "head", "adapter" or "other".
        accuracy, low, high: share of left-out examples answered right, with its 95 % interval; None: not judged.
        log_loss: mean, of the left-out examples, at the temperature that suits it best.
        judged: how many examples were left out and asked. seconds: what judging took.
        gain, gain_low, gain_high: for adapters and others, how much lower their log-loss is than the best head's on
            the same left-out examples, with its 95 % interval.
        note: why it was skipped, dropped or taken.
    """

    name: str
    kind: str
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    log_loss: float | None = None
    judged: int = 0
    seconds: float = 0.0
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Choice:
    """What `choose` found.

    Attributes:
        task: adapted with the choice. learner: the choice. name: its name in the table.
        table: everything compared, in the order in which it was judged.
        reason: why, in a sentence or two.
    """

    task: Adapted
    name: str
    table: Sequence[Candidate]
    reason: str

    @property
    def learner(self) -> Learner:
        """The learner that was chosen."""
        return self.task.learner

    def __str__(self) -> str:
        lines = [self.reason]
        for row in self.table:
            figure = "not judged" if row.accuracy is None else _figure(row)
            lines.append(f"  {row.name}: {figure}{'; ' + row.note if row.note else ''}")
        return "\n".join(lines)


def _figure(row: Candidate) -> str:
    assert row.accuracy is not None
    assert row.low is not None
    assert row.high is not None
    return (
        f"{100 * row.accuracy:.1f} % ({100 * row.low:.1f} to {100 * row.high:.1f}) of {row.judged}, "
        f"log-loss {row.log_loss:.3f}, {row.seconds:.2f} s"
    )
