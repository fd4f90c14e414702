"""Learners and encoders by name, and what the one dial of training means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from kshot import encoders, learners
from kshot.data import Pool
from kshot.encoders import Encoder, catalogue
from kshot.errors import SettingError, TaskError
from kshot.learners import ClosedForm, Learner, ProtoNet
from kshot.seeds import drawing
from kshot.tasks import NWayKShot
from kshot.training import Settings

EFFORTS = ("quick", "normal", "best")

LEARNERS: dict[str, tuple[Callable[..., Learner], str]] = {
    "protonet": (partial(ProtoNet, rounds=True), "nearest class mean; the first to try"),
    "ridge": (partial(ClosedForm, head="ridge", rounds=True), "ridge regression onto the classes"),
    "kernel_ridge": (
        partial(ClosedForm, head="kernel_ridge", rounds=True),
        "kernel ridge regression; strong on frozen features",
    ),
    "lda": (
        partial(ClosedForm, head="lda", rounds=True),
        "class means with a shared covariance; good from 5 examples up",
    ),
    "bayesian": (
        partial(ClosedForm, head="bayesian", rounds=True),
        "Bayesian linear regression; for numbers",
    ),
    "maml": (learners.maml, "everything moves, exact meta-gradients; slow"),
    "fomaml": (learners.fomaml, "MAML, first order; faster"),
    "anil": (learners.anil, "MAML that moves the last layer only"),
    "boil": (learners.boil, "MAML that moves all but the last layer"),
    "meta_sgd": (learners.meta_sgd, "MAML with learned step sizes"),
    "reptile": (learners.reptile, "moves the start towards adapted weights; simplest"),
}
"""Makers by name, each with a word for people."""

_STEPS = {"quick": 300, "normal": 1500, "best": 4000}
_GRADIENT_STEPS = {"quick": 400, "normal": 3000, "best": 12000}
_WAYS = {"quick": 60, "normal": 90, "best": 90}
_LARGE_WAYS = 20  # of a large network, whose pictures are large too
_SIZES = {"conv4": 28, "resnet12": 84, "pixels": 28}


@dataclass(frozen=True)
class Derived:
    """What a run of `kshot train` uses, each value with its reason (setting, value, why)."""

    sampler: NWayKShot
    judged: NWayKShot
    settings: Settings
    reasons: tuple[tuple[str, str, str], ...]


def make_learner(name: str, encoder: Encoder, ways: int) -> Learner:
    """An untrained learner by name.

    Raises:
        SettingError: no such learner.
    """
    if name not in LEARNERS:
        raise SettingError(f"learner is {name!r}; choose one of {', '.join(LEARNERS)}")
    maker, _ = LEARNERS[name]
    return maker(encoder, outputs=ways) if gradient(name) else maker(encoder)


def gradient(name: str) -> bool:
    """True for learners that adapt by gradient steps."""
    return name in ("maml", "fomaml", "anil", "boil", "meta_sgd", "reptile")


def make_encoder(name: str, *, size: int | None, channels: int, seed: int) -> Encoder:
    """An encoder by name: conv4 or resnet12 with weights drawn from `seed`, or a torchvision model.

    A torchvision model starts from the weights that `kshot get` has stored, where it has.

    Raises:
        SettingError: no such encoder.
    """
    pixels = size or default_size(name)
    with drawing(torch.device("cpu"), seed, "train", "weights"):
        if name == "conv4":
            return encoders.conv4(size=pixels, channels=channels)
        if name == "resnet12":
            return encoders.resnet12(size=pixels, channels=channels)
        return encoders.torchvision(name, pixels, channels, pretrained=downloaded(name) or None)


def downloaded(name: str) -> bool:
    """True where `kshot get` has stored weights of this name."""
    return any(entry.name == name and entry.state == "downloaded" for entry in catalogue.listing())


def default_size(encoder: str) -> int:
    """The picture size that an encoder is usually trained with."""
    return _SIZES.get(encoder, 224)


def derive(
    effort: str, learner: str, encoder: str, pools: tuple[Pool, Pool], *, ways: int, shots: int,
    steps: int | None, seed: int,
) -> Derived:  # fmt: skip
    """Everything that training needs, from the effort, the learner, the encoder and the data.

    Raises:
        SettingError: no such effort. TaskError: classes too small.
    """
    if effort not in EFFORTS:
        raise SettingError(f"effort is {effort!r}; choose one of {', '.join(EFFORTS)}")
    train, validation = pools
    judged = _judged(validation, ways, shots)
    sampler, why = _sampler(effort, learner, encoder, train, judged)
    chosen, why_rate = _settings(effort, learner, encoder, steps, seed)
    reasons = (
        (
            "training tasks",
            f"{sampler.ways}-way {sampler.shots}-shot, {sampler.queries} queries a class",
            why,
        ),
        (
            "judged on",
            f"{judged.ways}-way {judged.shots}-shot",
            "--ways and --shots, as far as the kept-aside classes allow",
        ),
        ("steps", f"{chosen.steps:,}", "--steps" if steps else f"effort {effort} for this kind of learner"),
        ("tasks per step", str(chosen.meta_batch), _why_batch(learner)),
        ("learning rate", f"{chosen.rate:g}, falling to 0", why_rate),
        ("validation", f"every {chosen.validate_every} steps", "the best weights by validation are kept"),
    )
    return Derived(sampler, judged, chosen, reasons)


def _judged(validation: Pool, ways: int, shots: int) -> NWayKShot:
    ways, smallest = min(ways, len(validation.classes)), min(validation.sizes)
    if smallest <= shots:
        raise TaskError(
            f"the smallest class has {smallest} examples; {shots} shots and 1 query need {shots + 1}: lower --shots, add "
            "examples, or leave out small classes"
        )
    return NWayKShot(ways, shots, min(15, smallest - shots))


def _sampler(
    effort: str, learner: str, encoder: str, train: Pool, judged: NWayKShot
) -> tuple[NWayKShot, str]:
    smallest, classes = min(train.sizes), len(train.classes)
    shots = min(judged.shots, max(smallest - 1, 1))
    queries = max(min(5 if gradient(learner) or shots > 1 else 3, smallest - shots), 1)
    if gradient(learner):
        ways, why = min(judged.ways, classes), "as judged: its last layer has that many classes"
    elif classes <= (most := _most_ways(effort, encoder)):
        ways, why = classes, f"all {classes} training classes at once: harder tasks teach more"
    else:
        ways, why = most, "more ways than at test: harder tasks teach more"
    return NWayKShot(ways, shots, queries), why


def _most_ways(effort: str, encoder: str) -> int:
    return _WAYS[effort] if encoder == "conv4" else _LARGE_WAYS


def _why_batch(learner: str) -> str:
    return (
        "its gradient is noisy, so several are averaged"
        if gradient(learner)
        else "one task has many classes already"
    )


def _settings(effort: str, learner: str, encoder: str, steps: int | None, seed: int) -> tuple[Settings, str]:
    """Settings, and why the learning rate is what it is."""
    count = steps or (_GRADIENT_STEPS if gradient(learner) else _STEPS)[effort]
    common: dict[str, Any] = {
        "steps": count, "validate_every": max(min(count // 5, 500), 1), "seed": seed,
        "warmup": min(20, count), "average": 0.99 if count >= 200 else 0.9,
    }  # fmt: skip
    if downloaded(encoder):
        return Settings(rate=1e-4, **common), "small: the network has learned from photos already"
    if gradient(learner):
        return Settings(
            rate=1e-3, meta_batch=4, clip=10.0, **common
        ), "Adam with a cosine schedule; usual for this family"
    if encoder == "conv4":
        return Settings(rate=3e-3, **common), "Adam with a cosine schedule; a small network bears a large one"
    return Settings(rate=1e-3, **common), "Adam with a cosine schedule; usual for networks of this size"
