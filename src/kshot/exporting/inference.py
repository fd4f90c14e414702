"""A learner whose encoder runs faster where no gradient is asked: measured, checked, and the same base as before.

What people wait for in daily use is the encoder's forward pass. Which way is fastest depends on network, batch and
machine, so the ways are timed against each other on inputs of the user's own.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from kshot.encoders import Encoder
from kshot.errors import DataError, SettingError, UnsupportedError
from kshot.exporting.graph import reason
from kshot.exporting.ways import MAKERS, Call

if TYPE_CHECKING:
    from kshot.learners.learner import Learner

WAYS = ("auto", "plain", "folded", "onnx", "int8")
ROUNDS = 5
"""Interleaved measurements of each way, after one to warm up; their median counts."""
MARGIN = 1.05
"""So much faster than the plain network must a way be to be chosen."""
MOST = 64
"""Inputs that are tried at a time."""

L = TypeVar("L", bound="Learner")


class Runner:
    """Runs a network in its place; a copy of an encoder by `copy.deepcopy` has none, for its weights may change.

    Attributes:
        way: how: "folded", "onnx" or "int8". report: a sentence about time and differences.
        seconds: median for one input and for all that were given, by way.
        gap: largest difference of a feature from the plain network's, relative to the largest feature.
        exact: does it promise the plain network's features, to the tolerance?
    """

    def __init__(
        self, way: str, call: Call, seconds: dict[str, tuple[float, float]], gap: float, report: str
    ) -> None:
        self.way, self.call, self.seconds, self.gap, self.report = way, call, seconds, gap, report
        self.exact = way != "int8"

    def takes(self, *inputs: Any) -> bool:
        """Tensors of the processor; floats of 32 bits alone."""
        return all(
            isinstance(x, Tensor)
            and x.device.type == "cpu"
            and (x.dtype in (torch.float32, torch.long))
            and len(x) > 0
            for x in inputs
        )

    def __call__(self, *inputs: Tensor) -> Tensor:
        return self.call(*inputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()


@dataclass(frozen=True)
class _Tried:
    """A way that works: how to call it, its times for one input and for all, and how far off it is."""

    call: Call
    seconds: tuple[float, float]
    gap: float


def optimize_for_inference(learner: L, inputs: Any, *, how: str = "auto", tolerance: float = 1e-4) -> L:
    """The same learner with a faster encoder: same weights, same base, same files.

    It shares its weights with the given one and is for adapting and predicting on the processor; where a gradient is
    asked, in training mode, in another number type or on another device the plain network runs. Weights that are
    changed afterwards are not followed: call it again then.

    Args:
        inputs: some of the learner's own kind, at least one and best as many as are usually asked at a time; at
            most 64 are tried.
        how: "folded" (batch norms folded into convolutions, channels last), "onnx" (ONNX Runtime, which also fuses and
            needs the extra `export`), "plain", "auto" (the fastest of these, if it is at least 5 % faster), or "int8"
            (ONNX Runtime with weights and activations of linear layers in eight bits: several times as fast for
            transformers, other features, so it must be asked for and its texts are not cached).
        tolerance: largest difference from the plain network's features that is allowed, relative to the largest
            feature; for "int8" it is only measured. `learner.encoder.runner` says what was chosen, and why.

    Raises:
        SettingError: no such way, or a tolerance below 0. DataError: no inputs.
        UnsupportedError: the way that was asked for does not work on this encoder; it says why.
        MissingExtraError: "onnx" or "int8" without the extra `export`.

    >>> import torch, kshot
    >>> learner = kshot.learners.ProtoNet(kshot.encoders.conv4(width=8))
    >>> fast = optimize_for_inference(learner, torch.rand(4, 1, 28, 28), how="folded")
    >>> fast.encoder.runner.way, fast.encoder.fingerprint() == learner.encoder.fingerprint()
    ('folded', True)
    """
    if how not in WAYS:
        raise SettingError(f"how is {how!r}; choose one of {', '.join(WAYS)}")
    if not tolerance >= 0:
        raise SettingError(
            f"tolerance is {tolerance}; it is a share of the largest feature, for example 1e-4"
        )
    encoder = learner.encoder
    read = encoder.read(inputs)
    if not len(read):
        raise DataError("no inputs were given; optimize_for_inference tries the network on some of yours")
    other = copy.copy(learner)
    other._modules = dict(
        learner._modules
    )  # so that its encoder is its own; modes of shared parts stay as they are
    other.encoder = copy.copy(encoder)
    other.encoder.runner = _chosen(encoder, read[:MOST], how, tolerance)
    if other.encoder.runner is not None and not other.encoder.runner.exact and hasattr(encoder, "cache"):
        setattr(other.encoder, "cache", None)  # noqa: B010  text encoders have one
    return other


def _chosen(encoder: Encoder, read: Any, how: str, tolerance: float) -> Runner | None:
    """What runs the network from now on; None: itself."""
    if how == "plain":
        return None
    own = copy.deepcopy(encoder).eval().requires_grad_(False).cpu().float()
    with torch.no_grad():
        inputs = own.run_inputs(read)
        wanted = own.run(*inputs)
        if not isinstance(wanted, Tensor):
            raise UnsupportedError(
                f"{encoder.kind} encoders give no single tensor; there is no other way to run them"
            )
        tried, refused = {}, {}
        for way in ("folded", "onnx") if how == "auto" else (how,):
            try:
                call = MAKERS[way](own, inputs)
                tried[way] = _Tried(call, (0.0, 0.0), _gap(call(*inputs), wanted))
            except Exception as cause:  # converters fail in as many ways as there are networks
                if how != "auto":
                    raise
                refused[way] = reason(cause)
            else:
                if tried[way].gap > tolerance and way != "int8":
                    refused[way] = f"features differ by {tried.pop(way).gap:.1e}, more than {tolerance:g}"
        if how != "auto" and how in refused:
            raise UnsupportedError(f"{how}: {refused[how]}; use how='plain'")
        seconds = _timed({"plain": own.run, **{way: one.call for way, one in tried.items()}}, inputs)
    best = min(seconds, key=lambda way: _cost(seconds, way))
    if how == "auto" and _cost(seconds, best) * MARGIN > _cost(seconds, "plain"):
        return None
    way = best if how == "auto" else how
    return Runner(
        way, tried[way].call, seconds, tried[way].gap, _report(seconds, tried[way].gap, refused, len(read))
    )


def _cost(seconds: dict[str, tuple[float, float]], way: str) -> float:
    """Time relative to the plain network, as much for one input as for all."""
    return sum(own / plain for own, plain in zip(seconds[way], seconds["plain"], strict=True)) / 2


def _timed(calls: dict[str, Call], inputs: Sequence[Tensor]) -> dict[str, tuple[float, float]]:
    single = [x[:1] for x in inputs]
    times: dict[str, list[list[float]]] = {way: [[], []] for way in calls}
    for _ in range(ROUNDS + 1):
        for way, call in calls.items():
            for place, given in enumerate((single, inputs)):
                start = time.perf_counter()
                call(*given)
                times[way][place].append(time.perf_counter() - start)
    return {
        way: (statistics.median(one[1:]), statistics.median(many[1:])) for way, (one, many) in times.items()
    }


def _gap(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, relative to the largest number; infinite where the shapes differ."""
    if found.shape != wanted.shape:
        return float("inf")
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12))


def _report(seconds: dict[str, tuple[float, float]], gap: float, refused: dict[str, str], count: int) -> str:
    parts = [f"{way} {1000 * one:.3g} / {1000 * many:.3g} ms" for way, (one, many) in seconds.items()]
    text = f"{', '.join(parts)} for 1 / {count} inputs, median of {ROUNDS}; features differ by {gap:.1e}"
    return "; ".join([text, *(f"{way}: {why}" for way, why in refused.items())])
