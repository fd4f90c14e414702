"""Where the numbers of a training run go: JSON lines always, TensorBoard and W&B as extras."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from kshot.errors import need


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

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Scalars for TensorBoard; needs the extra "track"."""

    def __init__(self, folder: Path) -> None:
        need("tensorboard", "track")
        self._writer = need("torch.utils.tensorboard", "track").SummaryWriter(str(folder))

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A W&B run; offline unless the user's own W&B settings say otherwise. Needs the extra "track"."""

    def __init__(self, folder: Path, project: str = "kshot", mode: str = "offline") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        wandb = need("wandb", "track")
        self._run = wandb.init(project=project, dir=str(folder), mode=mode, reinit="create_new")

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish(quiet=True)


class Several:
    """Passes on to several trackers."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = list(trackers)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        for tracker in self._trackers:
            tracker.log(step, values)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()
