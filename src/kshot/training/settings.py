"""Settings of meta-training."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from kshot.engine import EXECUTORS
from kshot.errors import SettingError

SCHEDULES = ("cosine", "constant", "step")


@dataclass(frozen=True)
class Settings:
    """How `fit` trains. All have defaults that work.

    Attributes:
        steps: meta-updates. meta_batch: tasks per meta-update.
        rate: learning rate of Adam. schedule: "cosine" (to zero), "constant", or "step" (halved ten times).
        weight_decay: decoupled weight decay. clip: largest norm of the meta-gradient; None: no limit.
        average: decay of the running mean of weights that is validated and kept; 0: the weights themselves.
        validate_every: steps between validations. validation_tasks: tasks per validation.
        patience: validations without improvement before training stops; None: never.
        executor: see `kshot.engine.accumulate`. seed: decides everything random.
        precision: "float32", or "bfloat16" for mixed precision where the device has it.
    """

    steps: int = 1000
    meta_batch: int = 1
    rate: float = 1e-3
    schedule: str = "cosine"
    weight_decay: float = 0.0
    clip: float | None = None
    average: float = 0.0
    validate_every: int = 200
    validation_tasks: int = 100
    patience: int | None = None
    executor: str = "auto"
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("steps", "meta_batch", "validate_every", "validation_tasks"):
            value = getattr(self, name)
            if value < 1:
                raise SettingError(f"{name} is {value!r}; it must be at least 1")
        if not self.rate > 0:
            raise SettingError(f"rate is {self.rate!r}; it must be above 0, for example 0.001")
        if not 0 <= self.average < 1:
            raise SettingError(f"average is {self.average!r}; it must lie in 0..1, for example 0.999")
        _choice("schedule", self.schedule, SCHEDULES)
        _choice("executor", self.executor, EXECUTORS)
        _choice("precision", self.precision, ("float32", "bfloat16"))

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied by at a step."""
        done = step / self.steps
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        return 0.5 ** int(10 * done) if self.schedule == "step" else 1.0

    def to_json(self) -> dict[str, Any]:
        """A JSON object; equal settings give equal objects."""
        return asdict(self)


def _choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
