"""Where the numbers of a training run go: JSON lines always, TensorBoard and W&B as extras."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from kshot.errors import KshotError, SettingError, need


class TrackingError(KshotError):
    """The numbers of a run cannot be written. What was written before stays."""


class Tracker(Protocol):
    """Receives the numbers of a run."""

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Numbers of one step."""
        ...

    def close(self) -> None:
        """The run has ended; write what is left."""
        ...


class JsonLines:
    """One JSON object per line, appended and flushed, so that a killed run keeps its log."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8", newline="\n")
        except OSError as cause:
            raise self._failed(cause) from cause

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps({**values, "step": step}) + "\n")
            self._file.flush()
        except OSError as cause:
            raise self._failed(cause) from cause

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as cause:  # what log() could not write is tried once more
            raise self._failed(cause) from cause

    def _failed(self, cause: OSError) -> TrackingError:
        return TrackingError(
            f"{self._path} cannot be written ({cause.strerror or cause}); a run keeps its log beside its checkpoint: "
            "free space or choose another folder"
        )


class TensorBoard:
    """Scalars for TensorBoard; needs the extra "track". Show them with: tensorboard --logdir FOLDER"""

    def __init__(self, folder: str | Path) -> None:
        need("tensorboard", "track")
        self._writer = need("torch.utils.tensorboard", "track").SummaryWriter(str(folder))

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A W&B run; offline, so nothing leaves the machine unless `mode="online"`. Needs the extra "track"."""

    def __init__(self, folder: str | Path, project: str = "kshot", mode: str = "offline") -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        wandb = need("wandb", "track")
        self._run = wandb.init(project=project, dir=str(folder), mode=mode, reinit="create_new")

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class Several:
    """Passes on to several trackers."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = list(trackers)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        for tracker in self._trackers:
            tracker.log(step, values)

    def close(self) -> None:
        """Close all, also where one fails; the first failure is raised at the end."""
        failures: list[Exception] = []
        for tracker in self._trackers:
            try:
                tracker.close()
            except Exception as cause:
                failures.append(cause)
        if failures:
            raise failures[0]


TRACKERS: dict[str, Callable[[Path], Tracker]] = {
    "jsonl": lambda folder: JsonLines(folder / "metrics.jsonl"),
    "tensorboard": lambda folder: TensorBoard(folder / "tensorboard"),
    "wandb": WeightsAndBiases,
}
"""Makers by name, each from the folder of the run."""


def tracker(name: str, folder: str | Path) -> Tracker:
    """A tracker by name: "jsonl", "tensorboard" or "wandb", writing inside `folder`.

    Raises:
        SettingError: another name.
        MissingExtraError: its package is not installed.
    """
    if name not in TRACKERS:
        raise SettingError(f"tracker is {name!r}; choose one of {', '.join(TRACKERS)}")
    return TRACKERS[name](Path(folder))
