"""What a person sees of a long run: a bar with the time left, and a line per epoch.

An epoch is the span between two validations; a meta-learning run has no pass over its data.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from kshot.engine import Choice
from kshot.training.settings import Settings

_QUIET = 30.0
"""Seconds between lines inside an epoch, where there is no live bar."""


class Progress:
    """Shows how far a run is; on a terminal a live bar, elsewhere a line now and then. Writes to standard error."""

    def __init__(self, settings: Settings, *, show: bool) -> None:
        self.settings, self.show = settings, show
        self.console = Console(file=sys.stderr, soft_wrap=True)
        self.live = show and self.console.is_terminal
        self.first = self.step = 0
        self.begun = self.spoken = time.monotonic()
        self.bar = Bar(
            TextColumn("{task.description}"), BarColumn(20), TimeRemainingColumn(),
            console=self.console, disable=not self.live,
        )  # fmt: skip
        self.task = self.bar.add_task(self._where(0), total=settings.steps)

    def __enter__(self) -> Progress:
        self.begun = self.spoken = time.monotonic()
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def resumed(self, step: int) -> None:
        """Training goes on from a checkpoint."""
        self.first = self.step = step
        self._line(f"resumed at step {step} of {self.settings.steps}")
        self.bar.update(self.task, completed=step)

    def chose(self, choice: Choice) -> None:
        """How the tasks of an update are run, and why."""
        if choice.seconds:
            self._line(f"executor {choice.executor}: {choice.reason}")

    def advance(self, step: int, loss: float) -> None:
        """One more step is done; `loss` is its train loss."""
        self.step = step
        if not self.show:
            return
        text = f"{self._where(step)}  train loss {loss:.4f}"
        if self.live:
            self.bar.update(self.task, completed=step, description=text)
        elif time.monotonic() - self.spoken > _QUIET:
            self._line(f"{text}  {self._left()}")

    def validated(self, step: int, entry: Mapping[str, Any]) -> None:
        """A validation is done: the epoch's line."""
        parts = [self._where(step), f"train loss {entry['loss']:.4f}"]
        if "validation_loss" in entry:
            parts.append(f"validation loss {entry['validation_loss']:.4f}")
        for name, value in entry.items():
            if name.startswith("validation_") and name not in ("validation_loss", "validation_half"):
                parts.append(f"{name.replace('_', ' ')} {value:.4f} +- {entry['validation_half']:.4f}")
        self._line("  ".join([*parts, self._left()]))

    def _where(self, step: int) -> str:
        """Epoch i/n, task j/m of all tasks."""
        settings = self.settings
        epoch = max(1, -(-step // settings.validate_every))
        return (
            f"Epoch {epoch}/{settings.epochs}  task {step * settings.meta_batch}/"
            f"{settings.steps * settings.meta_batch}"
        )

    def _left(self) -> str:
        done = max(self.step - self.first, 1)
        seconds = (time.monotonic() - self.begun) / done * (self.settings.steps - self.step)
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}:{rest:02d} left"

    def _line(self, text: str) -> None:
        if self.show:
            self.console.print(text, highlight=False)
            self.spoken = time.monotonic()
