"""Extra memory of one meta-update, in a process of its own: python -m benchmarks.engine_memory loop|vmap THREADS

MAML of second order, conv4-64, 28 pixels, 5-way 1-shot, 15 queries, one inner step, a meta-batch of 32. Printed are the
megabytes that the process held at most during the update beyond what it held before.
"""

from __future__ import annotations

import sys

import torch

import kshot
from benchmarks.memory import peak_mb
from benchmarks.peers.cases import tasks
from kshot.engine import accumulate
from kshot.tasks import Examples, Task
from kshot.tasks.spaces import Classes

SHARED = {"kind": "maml", "size": 28, "width": 64, "channels": 1, "shots": 1, "steps": 1}


def main() -> None:
    """One update to warm up with a single task, one to measure."""
    way, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    learner = kshot.learners.maml(kshot.encoders.conv4(), outputs=5, steps=1, regime="transductive").train()
    space = Classes(tuple(range(5)))

    def loss(tree: tuple[torch.Tensor, ...]) -> torch.Tensor:
        xs, ys, xq, yq = tree
        return learner.loss(Task(space, Examples(xs, ys), Examples(xq, yq)))

    drawn = tasks({**SHARED, "tasks": 32}, torch.float32)
    accumulate(learner, loss, drawn[:2], executor=way, chunk=2)
    learner.zero_grad()
    before = peak_mb(reset=True)
    accumulate(learner, loss, drawn, executor=way, chunk=32)
    print(peak_mb() - before)


if __name__ == "__main__":
    main()
