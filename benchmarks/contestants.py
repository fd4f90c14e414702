"""One library in a process of its own: builds the case it is told and runs a step whenever it is asked.

    .venv-bench/bin/python -m benchmarks.contestants NAME THREADS [DEVICE]

Lines in: {"case": {...}} or {"step": 1}. Lines out: {"gradient": [...]} after a case (in float64, of the first
meta-update), {"seconds": ...} of a step (float32; a whole meta-update with Adam) after a tenth of a second of them. Each library runs in its own
process so that none inherits another's settings: kshot's `fit` tells the C library to keep freed memory, and peers as
shipped do not. ":channels_last" behind a peer's name gives it that order of memory; ":as fit" gives it that order,
kept memory and a fused Adam too, all that its user could copy without changing its code.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

warnings.simplefilter("ignore")

import torch  # noqa: E402

from benchmarks.peers import ours  # noqa: E402
from benchmarks.peers.cases import Case, Contestant, Step  # noqa: E402
from benchmarks.peers.encoding import Encoding  # noqa: E402
from benchmarks.peers.others import (  # noqa: E402
    EasyFSL,
    Higher,
    Jax,
    Learn2Learn,
    Learn2LearnAnil,
    Learn2LearnProto,
    TorchOpt,
)  # fmt: skip


class Drawing:
    """32 5-way 1-shot tasks with 15 queries from 1,200 classes of 20 pictures in memory, float [1, 28, 28]."""

    def __init__(self, name: str) -> None:
        from benchmarks import drawing

        self.step: Step = getattr(drawing, name)()

    def gradient(self) -> list[float]:
        return []


MAKERS: dict[str, Any] = {
    "kshot": ours.Kshot,
    "kshot:bfloat16": ours.KshotBfloat16,
    "kshot:graph": ours.KshotGraph,
    "kshot:compiled": ours.KshotCompiled,
    "learn2learn": Learn2Learn,
    "higher": Higher,
    "torchopt": TorchOpt,
    "easyfsl": EasyFSL,
    "jax": Jax,
}
OTHERS: dict[tuple[str, str], Any] = {
    ("learn2learn", "anil"): Learn2LearnAnil,
    ("learn2learn", "protonet"): Learn2LearnProto,
}


def built(name: str, case: Case, dtype: torch.dtype) -> Any:
    """A contestant by name."""
    if case["kind"] == "drawing":
        return Drawing(name)
    if case["kind"] == "encoder":
        return Encoding(name, case)
    library, _, extra = name.partition(":")
    if extra == "as fit":
        from kshot.training.memory import keep_freed_memory

        keep_freed_memory()
        Contestant.fused = True
    maker = OTHERS.get((library, case["kind"]), MAKERS.get(name, MAKERS[library]))
    return maker(case, dtype, bool(extra))


def timed(step: Step, device: str) -> float:
    """Seconds of a step, the mean of as many as fill a tenth of a second: in training one follows the other, and the
    first after another process has had the core is slow for its empty caches only."""
    start, count = time.perf_counter(), 0
    while True:
        step()
        count += 1
        if device != "cpu":
            torch.cuda.synchronize(device)
        if (spent := time.perf_counter() - start) >= 0.1:
            return spent / count


def made_ready(name: str, case: Case) -> tuple[Any, dict[str, Any]]:
    """A contestant that has run, and what is told of it; its gradients come the way that its steps will go."""
    now, on_cpu = built(name, case, torch.float32), case["device"] == "cpu"
    for _ in range(1 if on_cpu else 3):  # a GPU's libraries try their ways on first calls
        now.step()
    few = {"tasks": min(case["tasks"], 2), "executor": getattr(now, "executor", "")}
    answer = {"gradient": built(name, {**case, **few}, torch.float64).gradient()}
    answer["reason"] = getattr(now, "reason", "")
    if name == "kshot" and case.get("width") and on_cpu:
        answer |= {"operations": now.operations(), "peak": ours.peak()}
    return now, answer


def main() -> None:
    """Answer every line."""
    name, threads = sys.argv[1], int(sys.argv[2])
    device = sys.argv[3] if len(sys.argv) > 3 else "cpu"
    torch.set_num_threads(threads)
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with answers
    now: Any = None
    for line in sys.stdin:
        asked = json.loads(line)
        if "case" in asked:
            now = None  # what it holds is free before the next is built
            now, answer = made_ready(name, {**asked["case"], "device": device})
        else:
            answer = {"seconds": timed(now.step, device)}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
