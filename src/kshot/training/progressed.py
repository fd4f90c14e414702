"""How far a run has come, and what that means: when to validate, when to stop."""

from __future__ import annotations

from dataclasses import dataclass, field

from kshot.training.settings import Settings


@dataclass
class Progressed:
    """The part of a run's state that is plain numbers.

    `total` and `count` add up the losses since the last validation, so that a run stopped between two
    validations goes on with the very same mean. `executor` is kept for the same bits: it was chosen by a clock.

    >>> at, settings = Progressed(), Settings(steps=4, validate_every=2)
    >>> for loss in (3.0, 1.0):
    ...     at.stepped(loss)
    >>> at.mean_loss, at.validation_is_due(settings), at.is_over(settings)
    (2.0, True, False)
    """

    step: int = 0
    total: float = 0.0
    count: int = 0
    best: float | None = None
    best_step: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    executor: str = ""

    def stepped(self, loss: float) -> None:
        """One more meta-update, of this loss."""
        self.step += 1
        self.total, self.count = self.total + loss, self.count + 1

    @property
    def mean_loss(self) -> float:
        """Mean since the last validation."""
        return self.total / self.count

    def validated(self, entry: dict[str, float]) -> None:
        """A validation is over; `entry` is what the history keeps of it."""
        self.history.append({"step": float(self.step), **entry})
        self.total, self.count = 0.0, 0

    def validation_is_due(self, settings: Settings) -> bool:
        """At regular steps and at the end, once each."""
        return self.count > 0 and (self.step == settings.steps or self.step % settings.validate_every == 0)

    def is_over(self, settings: Settings) -> bool:
        """All steps are done, or patience is at an end; never before the validation that is due."""
        if self.validation_is_due(settings):
            return False
        waited = self.step - self.best_step
        bored = settings.patience is not None and waited >= settings.patience * settings.validate_every
        return bored or self.step >= settings.steps
