"""Settings of meta-training."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from kshot.engine import EXECUTORS
from kshot.errors import SettingError

SCHEDULES = ("cosine", "constant", "step")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """How `fit` trains. All have defaults that work.

    Attributes:
        steps: meta-updates. meta_batch: tasks per meta-update.
        rate: learning rate of Adam. schedule: "cosine" (to zero), "constant", or "step" (halved ten times).
        warmup: steps over which the rate first rises from zero.
        weight_decay: decoupled weight decay. clip: largest norm of the meta-gradient; None: no limit.
        average: decay of the running mean of weights that is validated and kept; 0: the weights themselves.
        validate_every: steps between validations. validation_tasks: tasks per validation.
        patience: validations without improvement before training stops; None: never.
        executor: how the tasks of an update are run, see `kshot.engine.accumulate`. "auto": the fastest by a short
            measurement before the first step; it is said, kept in the checkpoint and in `Run.executor`. Executors
            differ in the last bits, so runs that must be equal to the bit name one. seed: decides everything random.
        precision: "float32" (the learner's own number type), or "bfloat16": convolutions and matrix products
            in mixed precision where the device has it; weights and their updates keep their type.
        checkpointing: gradient learners of second order compute the activations of their inner steps again in the
            backward pass instead of keeping them: memory of about one step, for more time.
    """

    steps: int = 1000
    meta_batch: int = 1
    rate: float = 1e-3
    schedule: str = "cosine"
    warmup: int = 0
    weight_decay: float = 0.0
    clip: float | None = None
    average: float = 0.0
    validate_every: int = 200
    validation_tasks: int = 100
    patience: int | None = None
    executor: str = "auto"
    seed: int = 0
    precision: str = "float32"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "meta_batch", "validate_every", "validation_tasks"):
            _whole(name, getattr(self, name), 1)
        if self.patience is not None:
            _whole("patience", self.patience, 1)
        _whole("seed", self.seed, 0)
        _whole("warmup", self.warmup, 0)
        _above_zero("rate", self.rate, "0.001")
        if self.clip is not None:
            _above_zero("clip", self.clip, "10")
        if not _number(self.weight_decay) or self.weight_decay < 0:
            raise SettingError(
                f"weight_decay is {self.weight_decay!r}; it is a number of at least 0, for example 0.0005"
            )
        if not _number(self.average) or not 0 <= self.average < 1:
            raise SettingError(f"average is {self.average!r}; it must lie in 0..1, for example 0.999")
        _choice("schedule", self.schedule, SCHEDULES)
        _choice("executor", self.executor, EXECUTORS)
        _choice("precision", self.precision, PRECISIONS)
        if not isinstance(self.checkpointing, bool):
            raise SettingError(f"checkpointing is {self.checkpointing!r}; it is True or False")
        if self.checkpointing and self.executor in ("vmap", "graph"):
            raise SettingError(
                f"checkpointing is True with executor={self.executor!r}, which keeps all activations; use executor='loop' or 'auto'"
            )

    @classmethod
    def of(cls, **settings: Any) -> Settings:
        """As the constructor; a name that is no setting is a SettingError that lists them."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise SettingError(f"{unknown[0]!r} is no setting of fit; choose from {', '.join(known)}")
        return cls(**settings)

    @property
    def epochs(self) -> int:
        """Spans between two validations."""
        return -(-self.steps // self.validate_every)

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied by at a step."""
        done = step / self.steps
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "cosine":
            return rise * 0.5 * (1 + math.cos(math.pi * done))
        return rise * (0.5 ** int(10 * done) if self.schedule == "step" else 1.0)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; equal settings give equal objects."""
        return asdict(self)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SettingError(f"{name} is {value!r}; it must be a whole number of at least {least}")


def _above_zero(name: str, value: Any, example: str) -> None:
    if not _number(value) or not value > 0:
        raise SettingError(f"{name} is {value!r}; it must be a number above 0, for example {example}")


def _choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
