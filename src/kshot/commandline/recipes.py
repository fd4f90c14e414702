"""Learners and encoders by name, and what the one dial of training means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from kshot import encoders, learners, text
from kshot.data import Pool
from kshot.data.inspect import kind_of
from kshot.encoders import Encoder, catalogue
from kshot.errors import DataError, SettingError, TaskError
from kshot.learners import ClosedForm, Learner, NeuralProcess, ProtoNet, Transfer
from kshot.seeds import drawing
from kshot.tasks import NWayKShot
from kshot.training import Settings, processes

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
    "neural_process": (NeuralProcess, "a second network reads the examples; adapting is one look at them"),
    "transfer": (
        Transfer,
        "ordinary training on all classes at once, then a new last layer for each task; the baseline to beat",
    ),
}
"""Makers by name, each with a word for people."""

_STEPS = {"quick": 300, "normal": 1500, "best": 4000}
_GRADIENT_STEPS = {"quick": 400, "normal": 3000, "best": 12000}
_WAYS = {"quick": 60, "normal": 90, "best": 90}
_LARGE_WAYS = 20  # of a large network, whose pictures are large too
_BATCH, _LARGE_BATCH = 240, 64  # examples of a step where all classes are trained at once
_SIZES = {"conv4": 28, "resnet12": 84, "pixels": 28}
_SMALL = ("conv4", "mlp", "identity", "small")
_ROWS = ("mlp", "identity")
_USUAL = {"images": "conv4", "rows": "mlp", "texts": "small"}
_TEXT_HEADS = {"protonet": "prototype", "ridge": "ridge", "kernel_ridge": "kernel_ridge", "lda": "lda"}


@dataclass(frozen=True)
class Derived:
    """What a run of `kshot train` uses, each value with its reason (setting, value, why)."""

    sampler: NWayKShot | int
    judged: NWayKShot
    settings: Settings
    reasons: tuple[tuple[str, str, str], ...]


def explained() -> str:
    """All learners with their words, for the help."""
    return "; ".join(f"{name}: {words.partition(';')[0]}" for name, (_, words) in LEARNERS.items())


def make_learner(name: str, encoder: Encoder, ways: int, classes: int) -> Learner:
    """An untrained learner by name, for tasks of `ways` classes out of `classes` to train on.

    Raises:
        SettingError: no such learner.
    """
    check_learner(name)
    maker, _ = LEARNERS[name]
    if encoder.modality == "text" and name in _TEXT_HEADS:
        return text.TextClassifier(encoder, _TEXT_HEADS[name], rounds=True)
    if flat(name):
        return maker(encoder, classes=classes)
    return maker(encoder, outputs=ways) if gradient(name) else maker(encoder)


def check_learner(name: str) -> None:
    """Raise SettingError where there is no learner of this name."""
    if name not in LEARNERS:
        raise SettingError(f"learner is {name!r}; choose one of {', '.join(LEARNERS)}")


def flat(name: str) -> bool:
    """True for learners that are trained on all classes at once, not on tasks."""
    return name == "transfer"


def gradient(name: str) -> bool:
    """True for learners that adapt by gradient steps."""
    return name in ("maml", "fomaml", "anil", "boil", "meta_sgd", "reptile")


def usual_encoder(pool: Pool) -> str:
    """The encoder to begin with: conv4 for pictures, mlp for rows of numbers, small for texts.

    Raises:
        DataError: other inputs.
    """
    kind = kind_of(pool.inputs)
    if kind not in _USUAL:
        raise DataError(
            f"{pool.name} holds {kind}; kshot train learns from pictures, texts, or rows of numbers: check with kshot "
            "check DATA what was found, and name the columns of a table with --input"
        )
    return _USUAL[kind]


def make_encoder(name: str, pool: Pool, *, size: int | None, channels: int, seed: int) -> Encoder:
    """An encoder by name, for inputs like those of `pool`: conv4, resnet12, mlp or a text encoder's string with
    weights drawn from `seed`, identity, or a torchvision model.

    A torchvision model starts from the weights that `kshot get` has stored, where it has.

    Raises:
        SettingError: no such encoder, or one for other inputs.
    """
    if (name in _ROWS) != (kind_of(pool.inputs) == "rows"):
        raise SettingError(
            f"encoder {name} is for {'rows of numbers' if name in _ROWS else 'pictures'}, {pool.name or 'the data'} "
            f"holds {kind_of(pool.inputs)}; choose {usual_encoder(pool)}"
        )
    if text.is_spec(name) != (kind_of(pool.inputs) == "texts"):
        raise SettingError(
            f"encoder {name} is not for {kind_of(pool.inputs)}, which {pool.name or 'the data'} holds; choose "
            f"{usual_encoder(pool)}"
        )
    if text.is_spec(name):
        with drawing(torch.device("cpu"), seed, "train", "weights"):
            return text.encoder(name)
    pixels = size or default_size(name)
    with drawing(torch.device("cpu"), seed, "train", "weights"):
        if name in _ROWS:
            return _row_encoder(name, pool.inputs)
        if name == "conv4":
            return encoders.conv4(size=pixels, channels=channels)
        if name == "resnet12":
            return encoders.resnet12(size=pixels, channels=channels)
        return encoders.torchvision(name, pixels, channels, pretrained=downloaded(name) or None)


def _row_encoder(name: str, rows: torch.Tensor) -> Encoder:
    """Columns are brought to mean 0 and deviation 1, because they come in units of their own."""
    x = rows.double()
    spread = x.std(0, correction=0)
    mean, std = x.mean(0).tolist(), torch.where(spread > 0, spread, 1.0).tolist()
    if name == "identity":
        return encoders.identity(x.shape[1], mean=mean, std=std)
    return encoders.mlp(x.shape[1], (64, 64), mean=mean, std=std)


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
    check_learner(learner)
    train, validation = pools
    judged = _judged(validation, ways, shots)
    sampler: NWayKShot | int
    if flat(learner):
        sampler, *training = _batch(encoder, train)
    else:
        sampler, why = _sampler(effort, learner, encoder, train, judged)
        form = f"{sampler.ways}-way {sampler.shots}-shot, {sampler.queries} queries a class"
        training = ["training tasks", form, why]
    chosen, why_rate = _settings(effort, learner, encoder, steps, seed)
    several = processes()
    shared = replace(chosen, meta_batch=-(-chosen.meta_batch // several) * several)
    why_batch = _why_batch(learner) if shared == chosen else f"as many for each of {several} processes"
    reasons = (
        (training[0], training[1], training[2]),
        (
            "judged on",
            f"{judged.ways}-way {judged.shots}-shot",
            "--ways and --shots, as far as the kept-aside classes allow",
        ),
        ("steps", f"{shared.steps:,}", "--steps" if steps else f"effort {effort} for this kind of learner"),
        ("tasks per step", str(shared.meta_batch), why_batch),
        ("learning rate", f"{shared.rate:g}, falling to 0", why_rate),
        ("validation", f"every {shared.validate_every} steps", "the best weights by validation are kept"),
    )
    return Derived(sampler, judged, shared, reasons)


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


def _batch(encoder: str, train: Pool) -> tuple[int, str, str, str]:
    count = min(_BATCH if encoder in _SMALL else _LARGE_BATCH, len(train))
    form = f"{count} examples of any of the {len(train.classes)} classes"
    return count, "training steps", form, "ordinary training of a classifier, not tasks"


def _most_ways(effort: str, encoder: str) -> int:
    return _WAYS[effort] if encoder in _SMALL else _LARGE_WAYS


def _why_batch(learner: str) -> str:
    if flat(learner):
        return "one step, one batch of examples"
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
    if encoder in _SMALL:
        return Settings(rate=3e-3, **common), "Adam with a cosine schedule; a small network bears a large one"
    return Settings(rate=1e-3, **common), "Adam with a cosine schedule; usual for networks of this size"
