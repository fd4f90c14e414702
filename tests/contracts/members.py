"""Every member of every family, one line each: what joins kshot joins its list and runs the whole contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from signals import Runs, Signals, Steps
from torch import Tensor

from kshot import encoders, learners, text
from kshot.bundles import SavedExamples
from kshot.data import Episodes, Mixed, Pool, Sinusoids, Unlabelled
from kshot.encoders import Encoder
from kshot.learners import Adapter, ClosedForm, GradientLearner, Learner, Located, ProtoNet
from kshot.seeds import generator
from kshot.tasks import NWayKShot, TaskSource, VariableWayShot
from kshot.tasks.spaces import (
    Actions,
    Boxes,
    BoxScores,
    Classes,
    Density,
    Gaussian,
    Numbers,
    OutputSpace,
    Spans,
    SpanScores,
)
from kshot.testing import Blobs, Lines
from kshot.text import SpanTasks, UnitFeatures
from kshot.text.written import written
from kshot.training import SavedTasks
from kshot.vision import GlyphScenes, PictureMaps, Scenes
from kshot.vision.detection import Detector, closer, untrained

ROWS = Blobs()
IMAGES = Blobs(shape=(1, 8, 8))
LINES = Lines()


def _bars() -> Tensor:
    """Characters that are told apart at a few pixels: uint8 [8, 4, 16, 16]."""
    found = torch.zeros(8, 4, 16, 16, dtype=torch.uint8)
    found[:, :, :, 6:10] = 255
    for n in range(8):
        for bit, cut in enumerate((slice(0, 5), slice(5, 11), slice(11, 16))):
            if (n + 1) >> bit & 1:
                found[n, :, cut, 2:14] = 255
    return found


SCENES = GlyphScenes(
    _bars(), size=32, ways=2, shots=1, queries=1, targets=(1, 2), sides=(10, 14), marked=True
)
MARKED = SpanTasks(written(12, generator(3, "contracts")), kinds=None, shots=(1, 1), queries=2)
SMALL: dict[str, Any] = {"widths": (4, 8, 8, 16)}


def rows() -> Encoder:
    return encoders.mlp(4, (8,), activation="tanh")


def line() -> Encoder:
    return encoders.mlp(1, (8,), activation="tanh")


def conv(norm: str) -> Encoder:
    return encoders.conv4(8, norm=norm, size=8, blocks=2)


@dataclass(frozen=True)
class Case:
    """A learner made anew for each test, and tasks it can answer."""

    name: str
    make: Callable[[], Learner]
    source: TaskSource


def gradient(encoder: Encoder, **more: Any) -> GradientLearner:
    return GradientLearner(encoder, **{"outputs": 3, "steps": 2, "rate": 0.1, **more})


def ready_to_look(learner: Detector) -> Detector:
    """Naming by parts, and sure that there are things: what looks unlikely is not looked at."""
    learner.localiser.places.bias.data[0] = 0.0
    return closer(learner)


LEARNERS = [
    Case("protonet", lambda: ProtoNet(rows()), ROWS),
    Case("protonet conv batch", lambda: ProtoNet(conv("batch")), IMAGES),
    Case("prototype head", lambda: ClosedForm(rows(), "prototype"), ROWS),
    Case("ridge head", lambda: ClosedForm(rows(), "ridge"), ROWS),
    Case("ridge head, numbers", lambda: ClosedForm(line(), "ridge"), LINES),
    Case("kernel ridge head", lambda: ClosedForm(rows(), "kernel_ridge"), ROWS),
    Case("kernel ridge head, numbers", lambda: ClosedForm(line(), "kernel_ridge"), LINES),
    Case("lda head", lambda: ClosedForm(rows(), "lda"), ROWS),
    Case("bayesian head", lambda: ClosedForm(rows(), "bayesian"), ROWS),
    Case("bayesian head, numbers", lambda: ClosedForm(line(), "bayesian"), LINES),
    Case("bayesian head with prior", lambda: ClosedForm(line(), "bayesian", features=8, outputs=1), LINES),
    Case("maml", lambda: learners.maml(rows(), outputs=3), ROWS),
    Case("maml, numbers", lambda: learners.maml(line(), outputs=1, rate=0.05), LINES),
    Case("maml conv batch", lambda: learners.maml(conv("batch"), outputs=3), IMAGES),
    Case("maml transductive", lambda: learners.maml(conv("batch"), outputs=3, regime="transductive"), IMAGES),
    Case("fomaml", lambda: learners.fomaml(rows(), outputs=3), ROWS),
    Case("anil", lambda: learners.anil(rows(), outputs=3), ROWS),
    Case("boil", lambda: learners.boil(rows(), outputs=3), ROWS),
    Case("meta_sgd", lambda: learners.meta_sgd(rows(), outputs=3), ROWS),
    Case("maml++ rates", lambda: gradient(rows(), rates="per_layer_per_step"), ROWS),
    Case("reptile", lambda: learners.reptile(rows(), outputs=3), ROWS),
    Case("fine_tuning", lambda: learners.fine_tuning(rows(), outputs=3, steps=5), ROWS),
    Case("film", lambda: gradient(conv("group"), moves="film"), IMAGES),
    Case("lora", lambda: gradient(conv("batch"), moves="lora:2"), IMAGES),
    Case("bias", lambda: gradient(rows(), moves="bias"), ROWS),
    Case("adapter, film", lambda: Adapter(conv("group"), "film", steps=3, rate=0.1), IMAGES),
    Case("adapter, lora, batch norm", lambda: Adapter(conv("batch"), "lora:2", steps=3, rate=0.1), IMAGES),
    Case("adapter, full, kernel ridge", lambda: Adapter(rows(), "full", "kernel_ridge", steps=3), ROWS),
    Case("no step", lambda: gradient(rows(), steps=0), ROWS),
    Case("neural process", lambda: learners.NeuralProcess(rows(), width=8), ROWS),
    Case("neural process, numbers", lambda: learners.NeuralProcess(line(), dims=1, width=8), LINES),
    Case("located", lambda: Located(Steps(4), Runs()), Signals()),
    Case("located, one length, adapting", lambda: Located(Steps(4), Runs(shift=True)), Signals(even=True)),
    Case("located, ridge", lambda: Located(Steps(4), Runs(), "ridge"), Signals()),
    Case("entities", lambda: text.entities("hash:ngram?dim=64"), MARKED),
    Case("detector", lambda: untrained(32, features=8, tower=4, vector=8, most=6, firmness=4.0), SCENES),
    Case(
        "detector by parts",
        lambda: ready_to_look(untrained(32, features=8, tower=4, vector=8, firmness=4.0)),
        SCENES,
    ),
    Case("transfer, logistic", lambda: learners.Transfer(rows(), 3), ROWS),
    Case("transfer, ridge", lambda: learners.Transfer(rows(), 3, "ridge"), ROWS),
    Case("transfer, fine-tuned", lambda: learners.Transfer(rows(), 3, "fine_tune", steps=5, rate=0.1), ROWS),
]

ENCODERS: list[tuple[str, Callable[[], Encoder], Any]] = [
    ("identity", lambda: encoders.identity(3), torch.rand(4, 3, generator=torch.Generator())),
    ("identity, rows of numbers", lambda: encoders.identity(2), [[0, 1], [2, 3]]),
    (
        "scaled rows",
        lambda: encoders.ScaledRows.fitted(torch.eye(3)[[0, 1, 1]], power=0.5, unit=True),
        torch.rand(4, 3, generator=torch.Generator()),
    ),
    ("mlp", lambda: encoders.mlp(3, (8, 5)), torch.rand(4, 3, generator=torch.Generator())),
    ("pixels", lambda: encoders.pixels(8), (torch.arange(3 * 9 * 9) % 256).byte().reshape(3, 9, 9).numpy()),
    *(
        (f"conv4 {norm}", lambda norm=norm: conv(norm), torch.rand(3, 1, 8, 8, generator=torch.Generator()))
        for norm in encoders.norms.NORMS
    ),
    (
        "conv4 colour",
        lambda: encoders.conv4(8, size=16, channels=3, mean=[0.5] * 3, std=[0.2] * 3),
        (torch.arange(2 * 20 * 18 * 3) % 256).byte().reshape(2, 20, 18, 3).numpy(),
    ),
    (
        "maps of pictures",
        lambda: PictureMaps(32, 1, (4, 4, 4, 4, 4), 4),
        torch.rand(3, 1, 32, 32, generator=torch.Generator()),
    ),
    (
        "units of texts",
        lambda: UnitFeatures(text.encoder("hash:ngram?dim=16")),
        ["Ada met Bob", "你好", "5 kg"],
    ),
    (
        "resnet12",
        lambda: encoders.resnet12(size=16, **SMALL),
        torch.rand(2, 3, 16, 16, generator=torch.Generator()),
    ),
]


def _pool() -> Pool:
    inputs = torch.rand(60, 3, generator=torch.Generator().manual_seed(0))
    return Pool(inputs, [f"c{n % 6}" for n in range(60)], "pool")


def _lazy() -> Pool:
    pool = _pool()
    return Pool(list(pool.inputs), [pool.classes[int(t)] for t in pool.targets], "lazy")


def _saved() -> SavedTasks:
    """Three tasks of two classes with four examples."""
    inputs = torch.rand(3, 8, 3, generator=torch.Generator().manual_seed(0))
    tasks = [
        SavedExamples(
            Path(f"{n}.kshot"), rows, [f"{n}{k % 2}" for k in range(8)], [f"{n} {k}" for k in range(8)],
            Classes((f"{n}0", f"{n}1")), "vector", "",
        )
        for n, rows in enumerate(inputs)
    ]  # fmt: skip
    return SavedTasks(tuple(tasks), mixed=0.5)


def _shifted(inputs: Tensor, generator: torch.Generator) -> Tensor:
    return inputs + torch.rand(len(inputs), 1, generator=generator)


SOURCES: list[tuple[str, Callable[[], TaskSource]]] = [
    ("blobs", lambda: ROWS),
    ("lines", lambda: LINES),
    ("sinusoids", lambda: Sinusoids(3, 4)),
    ("episodes", lambda: Episodes(_pool(), NWayKShot(3, 2, 4))),
    ("episodes, lazy", lambda: Episodes(_lazy(), NWayKShot(3, 2, 4))),
    ("episodes, transformed", lambda: Episodes(_pool(), NWayKShot(3, 2, 4), _shifted)),
    ("episodes, variable", lambda: Episodes(_pool(), VariableWayShot(2, 5, 3, 20, 8))),
    ("unlabelled", lambda: Unlabelled(torch.rand(9, 28, 28, generator=torch.Generator()), ways=5)),
    ("unlabelled, transformed", lambda: Unlabelled(_pool().inputs, _shifted, ways=7, shots=2)),
    ("saved tasks", _saved),
    ("marked texts", lambda: MARKED),
    ("scenes of characters", lambda: SCENES),
    ("scenes", lambda: Scenes(size=48, ways=2, pictures=2, queries=1)),
    ("mixed", lambda: Mixed([Episodes(_pool(), NWayKShot(3, 2, 4)), LINES], [1, 2])),
]

SPANS = SpanScores(torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([4, 3]), torch.eye(3)[:2], 2)
BOXES = BoxScores(torch.tensor([0, 1]), torch.tensor([[0.0, 0.0, 4.0, 4.0]] * 2), torch.eye(2), 2)

SPACES: list[tuple[str, OutputSpace, Any, Any, list[Any]]] = [
    ("strings", Classes(("b", "a")), ["a", "b"], torch.tensor([[0.5, 1.0], [2.0, -1.0]]), [["c"], [1]]),
    ("whole numbers", Classes((7, -3)), [7, 7, -3], torch.randn(3, 2, generator=torch.Generator()), [[0]]),
    ("truth", Classes((False, True)), [True, False], torch.zeros(2, 2), [[1], ["True"]]),
    ("numbers", Numbers(2), [[0.0, 1.0], [2.0, 3.0]], torch.ones(2, 2), [[[1.0]], [[float("nan"), 0.0]]]),
    ("gaussian", Numbers(1), [0.0, 1.0], Gaussian(torch.zeros(2, 1), torch.ones(2, 1)), [[[1.0, 2.0]]]),
    ("spans", Spans(("a", "b")), [[(0, 4, "b")], []], SPANS, [[[(4, 4, "a")]], [[(0, 1, "c")]]]),
    (
        "boxes",
        Boxes(("a",)),
        [[(1, 1, 5, 5, "a")], []],
        BOXES,
        [[[(2, 2, 2, 3, "a")]], [[(0, 0, 1, 1, "c")]]],
    ),
    ("actions", Actions(3), [0, 2], torch.eye(3)[:2], [[3], [-1], [0.5]]),
    (
        "real actions",
        Actions(1, continuous=True),
        [[0.0], [1.0]],
        Gaussian(*torch.ones(2, 2, 1)),
        [[[0.0, 1.0]]],
    ),
    ("density", Density(2), [None, None], torch.tensor([-1.0, -2.0]), []),
]

__all__ = ["ENCODERS", "LEARNERS", "SOURCES", "SPACES", "Case"]
