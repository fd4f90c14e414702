"""Reference predictions: float64 scores of every learner on one fixed task, kept as numbers.

A change of these numbers is a change of what saved bases answer. Where that is meant, make them
anew and say why in the changelog: `python tests/reference/test_predictions.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kshot import encoders, learners
from kshot.learners import ClosedForm, GradientLearner, Learner, ProtoNet
from kshot.tasks.spaces import Classes

FOLDER = Path(__file__).parent


def numbers(count: int, salt: int) -> Tensor:
    """`count` values in -1..1 by arithmetic alone, so no random generator of any version has a say."""
    n = torch.arange(count, dtype=torch.float64)
    return 2 * torch.frac((n + 1) * 0.6180339887498949 + 0.7548776662466927 * salt) - 1


def weighted(learner: Learner) -> Learner:
    """All weights set by `numbers`, scaled by their width; scalars stay as they are."""
    for salt, p in enumerate(learner.parameters()):
        if p.ndim:
            values = numbers(p.numel(), salt).reshape(p.shape) / max(p[0].numel(), 1) ** 0.5
            with torch.no_grad():
                p.copy_(values + (1.0 if p.ndim == 1 else 0.0))
    return learner.eval()


def rows() -> encoders.Encoder:
    return encoders.mlp(4, (6, 5))


def conv() -> encoders.Encoder:
    return encoders.conv4(4, size=8, blocks=2)


MEMBERS: dict[str, Callable[[], Learner]] = {
    "protonet": lambda: ProtoNet(rows()),
    "protonet_conv": lambda: ProtoNet(conv()),
    "ridge": lambda: ClosedForm(rows(), "ridge"),
    "kernel_ridge": lambda: ClosedForm(rows(), "kernel_ridge"),
    "lda": lambda: ClosedForm(rows(), "lda"),
    "bayesian": lambda: ClosedForm(rows(), "bayesian"),
    "maml": lambda: learners.maml(rows(), outputs=3),
    "maml_conv": lambda: learners.maml(conv(), outputs=3),
    "maml_transductive": lambda: learners.maml(conv(), outputs=3, regime="transductive"),
    "anil": lambda: learners.anil(rows(), outputs=3),
    "boil": lambda: learners.boil(rows(), outputs=3),
    "fine_tuning": lambda: learners.fine_tuning(rows(), outputs=3),
    "film": lambda: GradientLearner(conv(), outputs=3, moves="film"),
    "bias": lambda: GradientLearner(rows(), outputs=3, moves="bias"),
}


def predictions(name: str) -> list[list[float]]:
    """Probabilities of six queries in a 3-way 2-shot task."""
    learner = weighted(MEMBERS[name]().double())
    shape = (1, 8, 8) if isinstance(learner.encoder, encoders.ImageEncoder) else (4,)
    values = (numbers(12 * torch.Size(shape).numel(), 99).reshape(12, *shape) + 1) / 2
    labels = torch.arange(6) % 3
    support, query = values[:6] * (1 + labels.reshape(6, *[1] * len(shape))) / 3, values[6:]
    task = learner.adapt(support, labels, space=Classes((0, 1, 2)))
    found: list[list[float]] = task.predict(query).probabilities.tolist()
    return found


def kept(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MEMBERS)
def test_predictions_are_the_kept_ones(name: str) -> None:
    found, expected = predictions(name), kept(name)
    assert len(found) == len(expected) == 6
    for row, reference in zip(found, expected, strict=True):
        assert row == pytest.approx(reference, abs=1e-9)


def test_references_tell_answers_apart() -> None:
    """The kept numbers are of use: no learner answers alike for all queries, within the tolerance of 1e-9."""
    for name in MEMBERS:
        spread = torch.tensor(kept(name)).std(0).max()
        assert float(spread) > 1e-5, name
    assert {f.stem for f in FOLDER.glob("*.json")} == set(MEMBERS)


def regenerate() -> None:
    """Write all reference files anew."""
    for name in MEMBERS:
        text = json.dumps(predictions(name), indent=1)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    regenerate()
