"""What is compared: heads that fit features of any scale, adapters that leave their base alone."""

from __future__ import annotations

import pytest
import torch

import kshot
from kshot.demo.handwriting import digits
from kshot.encoders import Conv4
from kshot.learners import Adapter, ProtoNet
from kshot.learners.records import fingerprint
from kshot.tasks.spaces import Classes
from kshot.tuning.candidates import HEADS_TRIED, heads_on

POOL = digits()


@pytest.mark.parametrize("name", [name for name in HEADS_TRIED if name != "ridge"])
def test_heads_answer_alike_whatever_the_scale_of_the_features(name: str) -> None:
    # ridge shrinks its constant too, which does not scale
    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)).double()
    x[::3] += 1
    labels = ["a", "b", "c"] * 4
    encoder = kshot.encoders.identity(5)
    found = [
        heads_on(encoder, x * scale)[name].adapt(x[:9] * scale, labels[:9]).predict(x[9:] * scale)
        for scale in (1.0, 50.0, 0.02)
    ]
    for other in found[1:]:
        assert other.probabilities == pytest.approx(found[0].probabilities, abs=1e-4)


def test_an_adapter_learns_its_examples_and_leaves_the_base_alone() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = ProtoNet(Conv4(8, size=8, blocks=2)).eval()
    before = fingerprint(base)
    places = torch.cat([members[:5] for members in POOL.members[:4]])
    inputs, labels = POOL.inputs[places], POOL.targets[places].tolist()
    space = Classes.of(labels)
    goal = space.encode(labels)
    losses = []
    for steps in (0, 20):
        learned = Adapter.of(base, "full", steps=steps, rate=0.05).adapt(inputs, labels)
        losses.append(float(space.loss(learned.outputs(learned.embedded), goal)))
    assert losses[1] < losses[0]
    assert fingerprint(base) == before
