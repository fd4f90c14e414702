"""Named recipes of the gradient composition. Each reads like its paper's one-line difference."""

from __future__ import annotations

from typing import Any

from kshot.encoders import Encoder
from kshot.learners.gradient import GradientLearner


def maml(
    encoder: Encoder, *, outputs: int = 5, steps: int = 1, rate: float = 0.4, **more: Any
) -> GradientLearner:
    """Everything moves, exact meta-gradients. Finn et al. (2017)."""
    return GradientLearner(encoder, outputs=outputs, steps=steps, rate=rate, **more)


def fomaml(
    encoder: Encoder, *, outputs: int = 5, steps: int = 1, rate: float = 0.4, **more: Any
) -> GradientLearner:
    """MAML with inner gradients taken as constants. Finn et al. (2017), section 5.2."""
    return GradientLearner(encoder, outputs=outputs, steps=steps, rate=rate, order=1, **more)


def anil(
    encoder: Encoder, *, outputs: int = 5, steps: int = 5, rate: float = 0.1, **more: Any
) -> GradientLearner:
    """Almost no inner loop: only the head moves. Raghu et al. (2020)."""
    return GradientLearner(encoder, outputs=outputs, steps=steps, rate=rate, moves="head", **more)


def boil(
    encoder: Encoder, *, outputs: int = 5, steps: int = 1, rate: float = 0.5, **more: Any
) -> GradientLearner:
    """Body only in the inner loop. Oh et al. (2021)."""
    return GradientLearner(encoder, outputs=outputs, steps=steps, rate=rate, moves="body", **more)


def meta_sgd(encoder: Encoder, *, outputs: int = 5, rate: float = 0.4, **more: Any) -> GradientLearner:
    """One step with a learned size and direction per parameter. Li et al. (2017)."""
    return GradientLearner(encoder, outputs=outputs, steps=1, rate=rate, rates="per_parameter", **more)


def reptile(
    encoder: Encoder, *, outputs: int = 5, steps: int = 5, rate: float = 0.1, **more: Any
) -> GradientLearner:
    """The start is pulled towards the adapted parameters. Nichol et al. (2018)."""
    return GradientLearner(encoder, outputs=outputs, steps=steps, rate=rate, order=0, **more)


def fine_tuning(
    encoder: Encoder, *, outputs: int = 5, steps: int = 50, rate: float = 0.05, **more: Any
) -> GradientLearner:
    """Plain gradient descent on the support, from wherever the encoder is. No meta-training needed."""
    return GradientLearner(encoder, outputs=outputs, steps=steps, rate=rate, order=0, **more)
