"""When a run validates and when it is over, read off plain numbers."""

from __future__ import annotations

import pytest

from kshot.training.progressed import Progressed
from kshot.training.settings import Settings


def run(settings: Settings, best_at: int = 10**9) -> list[int]:
    """Steps at which a run validates, the last one that it takes behind them; no validation after `best_at` is better."""
    at, validations = Progressed(), []
    while not at.is_over(settings):
        if at.validation_is_due(settings):
            validations.append(at.step)
            at.best_step = min(at.step, best_at)
            at.validated({})
        else:
            at.stepped(1.0)
    return [*validations, at.step]


@pytest.mark.parametrize(
    ("settings", "best_at", "expected"),
    [
        (Settings(steps=6, validate_every=2), 9, [2, 4, 6, 6]),
        (Settings(steps=7, validate_every=3), 9, [3, 6, 7, 7]),
        (Settings(steps=2, validate_every=5), 9, [2, 2]),
        (Settings(steps=20, validate_every=2, patience=2), 4, [2, 4, 6, 8, 8]),
        (Settings(steps=5, validate_every=2, patience=9), 2, [2, 4, 5, 5]),
    ],
)
def test_it_validates_on_time_once_and_at_the_end(
    settings: Settings, best_at: int, expected: list[int]
) -> None:
    assert run(settings, best_at) == expected


def test_the_mean_starts_anew_after_a_validation() -> None:
    at = Progressed()
    for loss in (4.0, 2.0):
        at.stepped(loss)
    assert at.mean_loss == 3.0
    at.validated({"loss": at.mean_loss})
    at.stepped(5.0)
    assert (at.mean_loss, at.history) == (5.0, [{"step": 2.0, "loss": 3.0}])
