"""A list of operations on a GPU as one launch: captured once, then replayed.

What a small operation costs on a GPU is its launch. PyTorch documents the recipe under "CUDA Graphs": warm up on a
stream of its own, capture, then copy inputs into place and replay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_WARM_UP = 3


class Captured:
    """`run` for tensors like `given`; outputs are copies, so the next call does not change them.

    Raises:
        RuntimeError: it does what cannot be captured, for example waits for a number.
    """

    def __init__(self, run: Callable[..., list[Tensor]], given: Sequence[Tensor]) -> None:
        device = given[0].device
        self.inputs = [t.detach().clone() for t in given]
        beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream(device))
        with torch.no_grad(), torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                run(*self.inputs)
        torch.cuda.current_stream(device).wait_stream(beside)
        self.graph = torch.cuda.CUDAGraph()
        chance = torch.cuda.default_generators[device.index or 0]
        before = chance.clone_state()
        try:
            with torch.no_grad(), torch.cuda.graph(self.graph):
                self.outputs = run(*self.inputs)
        except BaseException:
            # what broke off has left the device's generator in wait for the end of the capture: it would refuse all draws
            chance.graphsafe_set_state(before)
            raise

    def __call__(self, *given: Tensor) -> list[Tensor]:
        for mine, its in zip(self.inputs, given, strict=True):
            mine.copy_(its)
        self.graph.replay()
        return [t.clone() for t in self.outputs]
