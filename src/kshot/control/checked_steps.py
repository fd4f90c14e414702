"""What anybody's gymnasium environment gives, checked before an agent believes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kshot.errors import DataError


def checked_reset(env: Any, seed: int | None = None) -> Any:
    """The first observation of an episode.

    Raises:
        DataError: reset gives no pair.
    """
    found = env.reset(seed=seed)
    if not isinstance(found, tuple) or len(found) != 2:
        raise DataError(f"reset() gave {_told(found)}; gymnasium's gives a pair, the observation and a dict")
    return found[0]


def checked_step(env: Any, action: Any, place: int) -> tuple[Any, float, bool]:
    """The next observation, the reward, and whether the episode is over; `place` is the step's number, for errors.

    Raises:
        DataError: step gives no five values, or a reward that is no finite number.
    """
    found = env.step(action)
    if not isinstance(found, tuple) or len(found) != 5:
        raise DataError(
            f"step {place} gave {_told(found)}; gymnasium's gives observation, reward, terminated, truncated, info"
        )
    seen, reward, ended, cut, _ = found
    if not isinstance(reward, int | float | np.number) or not math.isfinite(reward):
        raise DataError(f"step {place} gave the reward {reward!r}; a reward is a finite number")
    return seen, float(reward), bool(ended or cut)


def check_observation(seen: Any, observations: int, step: str) -> Tensor:
    """An observation as a tensor.

    Raises:
        DataError: it is no row of so many finite numbers.
    """
    try:
        found = torch.as_tensor(seen, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"{step} gave {type(seen).__name__}; an observation is an array of numbers") from None
    if found.shape != (observations,):
        raise DataError(
            f"{step} gave an observation of shape {tuple(found.shape)}; this model takes [{observations}]"
        )
    if not bool(torch.isfinite(found).all()):
        bad = (~torch.isfinite(found)).nonzero().flatten().tolist()[:5]
        raise DataError(
            f"{step} gave NaN or infinite numbers at {bad}; the simulation or a sensor failed: reset it"
        )
    return found


def _told(found: Any) -> str:
    listed = isinstance(found, Sequence) and not isinstance(found, str)
    return f"{len(found)} values" if listed else type(found).__name__
