"""What a person sees of a long run: a bar with the time left, and a line per validation."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """Shows steps of a run; on a terminal a live bar, elsewhere a line now and then."""

    def __init__(self, steps: int, *, show: bool) -> None:
        self.steps, self.show = steps, show
        self.console = Console(file=sys.stderr)
        self.live = show and self.console.is_terminal
        self.started = time.monotonic()
        self.first = 0
        self.bar = Bar(
            TextColumn("meta-training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"), console=self.console, disable=not self.live,
        )  # fmt: skip
        self.task = self.bar.add_task("", total=steps, loss=float("nan"))

    def __enter__(self) -> Progress:
        self.bar.start()
        self.started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def resumed(self, step: int) -> None:
        """Training goes on from a checkpoint."""
        self.first = step
        if self.show:
            self.console.print(f"resumed at step {step} of {self.steps}")

    def advance(self, step: int, loss: float, epoch: int) -> None:
        """One more step is done."""
        if self.live:
            self.bar.update(self.task, completed=step, loss=loss)

    def validated(self, step: int, entry: Mapping[str, Any]) -> None:
        """A validation is done: the epoch line."""
        if not self.show:
            return
        done = max(step - self.first, 1)
        left = (time.monotonic() - self.started) / done * (self.steps - step)
        parts = [f"train loss {entry['loss']:.4f}"]
        if "validation_loss" in entry:
            parts.append(f"validation loss {entry['validation_loss']:.4f}")
        for name, value in entry.items():
            if name.startswith("validation_") and name not in ("validation_loss", "validation_half"):
                parts.append(f"{name.replace('_', ' ')} {value:.4f} +- {entry['validation_half']:.4f}")
        self.console.print(
            f"step {step}/{self.steps}  {'  '.join(parts)}  {_clock(left)} left", highlight=False
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
