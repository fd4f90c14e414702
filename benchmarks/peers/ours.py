"""kshot in the race, and what the machine could do at best."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers.cases import Contestant


class Kshot(Contestant):
    """What `kshot.fit` does in an update, with the executor that it chooses, or that of the case."""

    executor = reason = ""
    fused = True
    precision = "float32"

    def made(self, net: nn.Module) -> nn.Module:
        import kshot
        from kshot.training.memory import keep_freed_memory
        from kshot.training.update import choose_executor

        keep_freed_memory()
        case, sine = self.case, self.case["kind"] == "sinusoid"
        encoder = (
            kshot.encoders.mlp(1, (40, 40)) if sine
            else kshot.encoders.conv4(case["width"], size=case["size"], channels=case["channels"])
        )  # fmt: skip
        outputs, order = (1 if sine else 5), (1 if self.first else 2)
        learner: Any
        if case["kind"] == "protonet":
            learner = kshot.learners.ProtoNet(encoder)
            learner.head.log_scale.requires_grad_(False)
        else:
            learner = kshot.learners.GradientLearner(
                encoder, outputs=outputs, steps=case["steps"], rate=self.rate, order=order, regime="transductive",
                moves="head" if case["kind"] == "anil" else "full",
            )  # fmt: skip
        with torch.no_grad():
            for own, given in zip(_trained(learner), net.parameters(), strict=case["kind"] != "protonet"):
                own.copy_(given)
        space: Any = kshot.tasks.spaces.Numbers(1) if sine else kshot.tasks.spaces.Classes(tuple(range(5)))
        learner = learner.to(next(net.parameters())).train()
        if (
            case["kind"] == "protonet"
        ):  # the peer has no scale; the paper's is this, in the number type of now
            learner.head.log_scale.data.fill_(math.log(encoder.features))
        self.ready = [
            kshot.tasks.Task(space, kshot.tasks.Examples(a, b), kshot.tasks.Examples(c, d))
            for a, b, c, d in self.tasks
        ]
        self.executor = case.get("executor", self.executor)
        if not self.executor:
            choice = choose_executor(learner, self.ready, self.precision)
            self.executor, self.reason = choice.executor, f"{choice.executor}: {choice.reason}"
        return learner

    def accumulate(self) -> None:
        from kshot.training.update import meta_gradient

        whole = self.ready[0].support.inputs.dtype != torch.float32  # of numbers that are to be exact
        precision = "float32" if whole else self.precision
        meta_gradient(self.model, self.ready, self.executor, precision)  # type: ignore[arg-type]

    def operations(self) -> float:
        """Multiplications and additions of a meta-update's convolutions and products of matrices, counted."""
        from torch.utils.flop_counter import FlopCounterMode

        chosen, self.executor = self.executor, "loop:channels_last"  # a count sees its own thread only
        with FlopCounterMode(display=False) as counter:
            self.step()
        self.executor = chosen
        return float(counter.get_total_flops())


class KshotBfloat16(Kshot):
    """`fit(precision="bfloat16")`."""

    precision = "bfloat16"


class KshotGraph(Kshot):
    """`fit(executor="graph")`: a list of operations, on a GPU in one launch."""

    executor = "graph"


class KshotCompiled(KshotGraph):
    """That list, compiled by PyTorch's Inductor before it is captured. Only tried here: `fit` does not do it."""

    def made(self, net: nn.Module) -> nn.Module:
        from kshot.engine import graphs

        write = graphs.trace
        graphs.trace = lambda function, leaves: torch.compile(write(function, leaves))
        return super().made(net)


def peak() -> float:
    """The most multiplications and additions a second of any float32 convolution of 64 channels tried here."""
    best = 0.0
    for size, count in ((14, 75), (28, 25), (28, 75), (56, 16)):
        x = torch.rand(count, 64, size, size).to(memory_format=torch.channels_last)
        weight = torch.rand(64, 64, 3, 3).to(memory_format=torch.channels_last)
        for _ in range(8):
            start = time.perf_counter()
            F.conv2d(x, weight, padding=1)
            best = max(best, 2 * 9 * 64 * 64 * count * size * size / (time.perf_counter() - start))
    return best


def _trained(learner: nn.Module) -> list[nn.Parameter]:
    return [p for p in learner.parameters() if p.requires_grad]
