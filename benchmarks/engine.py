"""kshot's engine beside its peers: the same meta-gradients first, then interleaved rounds of whole meta-updates.

python -m benchmarks.engine                    every case, one and two threads; rows into results/engine.jsonl
python -m benchmarks.engine --quick --check    at most 3 minutes, one ratio a line, no rows; exit status 1 where a
                                               peer is missing, a gradient differs, or a ratio's interval begins
                                               under its MUST, or a MUST is not measured yet
python -m benchmarks.engine --device cuda      the meta-updates on a GPU, kshot's also captured; reported, no MUST

A ratio is a peer's time over kshot's: above 1 kshot is faster. Its interval is that of the median over rounds (order
statistics, at least 95 %). Differences under 15 % are ties. Every library runs in its own process; "as fit" gives a
peer the order of memory, the allocator's setting and the fused Adam that kshot's `fit` uses.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.rows import ROOT, append
from benchmarks.setup_peers import PYTHON, missing

TOLERANCE = 1e-8
"""Of meta-gradients in float64, relative to their length."""
QUICK_SECONDS = 165
PEAK = "share of the convolution peak"
CONV = ("learn2learn", "higher", "torchopt", "learn2learn:channels_last", "higher:channels_last", "learn2learn:as fit",
        "kshot:bfloat16")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What is timed, against whom, and the least ratio against peers as shipped and given channels_last."""

    name: str
    facts: dict[str, Any]
    peers: tuple[str, ...]
    must: float | None
    must_last: float | None = None
    quick: bool = False
    tolerance: float = TOLERANCE

    def least(self, peer: str) -> float | None:
        """The MUST against a peer; none where it is only reported."""
        if peer in ("jax", "learn2learn:as fit") or peer.startswith("kshot:"):
            return None
        return self.must_last if ":" in peer else self.must


def _maml(
    size: int, width: int, channels: int, shots: int, steps: int, tasks: int, kind: str = "maml"
) -> dict[str, Any]:
    return {"kind": kind, "size": size, "width": width, "channels": channels, "shots": shots, "steps": steps,
            "tasks": tasks}  # fmt: skip


def _sine(tasks: int) -> dict[str, Any]:
    return {"kind": "sinusoid", "tasks": tasks, "steps": 1}


L2L = ("learn2learn",)
OTHER_LOSS = ("easyfsl",)
"""Of these only times are compared: easyfsl's ProtoNet takes distances where others take squares of them, and normalises
support and query apart."""
CASES = (
    Case("MAML conv4-64 28 px 1-shot 1 step", _maml(28, 64, 1, 1, 1, 2), CONV, 1.4, 0.95, quick=True),
    Case("MAML conv4-64 28 px 1-shot 5 steps", _maml(28, 64, 1, 1, 5, 2), CONV, 1.1, 0.95),
    Case("MAML conv4-64 28 px 5-shot 1 step", _maml(28, 64, 1, 5, 1, 2), CONV, 1.1, 0.95),
    Case("MAML conv4-64 28 px 5-shot 5 steps", _maml(28, 64, 1, 5, 5, 1), CONV, 1.1, 0.95, quick=True),
    Case("MAML conv4-32 84 px 1-shot 1 step", _maml(84, 32, 3, 1, 1, 1), CONV, 1.25, None, quick=True),
    Case("MAML conv4-32 84 px 1-shot 5 steps", _maml(84, 32, 3, 1, 5, 1), CONV, 1.25, None),
    Case("FOMAML conv4-64 28 px 1-shot 1 step", _maml(28, 64, 1, 1, 1, 2, "fomaml"), L2L, 1.4, None, quick=True),
    Case("MAML sinusoid MLP, meta-batch 25", _sine(25), ("learn2learn", "jax"), 6, None, quick=True),
    Case("MAML sinusoid MLP, meta-batch 1000", _sine(1000), ("learn2learn", "jax"), 45, None, quick=True),
    Case("ANIL conv4-64 28 px 1-shot 5 steps", _maml(28, 64, 1, 1, 5, 2, "anil"), L2L, 1.4, None, quick=True),
    Case("ProtoNet conv4-64 28 px 5-shot", _maml(28, 64, 1, 5, 0, 2, "protonet"), (*L2L, "easyfsl"), 1.4, None, quick=True),
    Case("drawing 32 Omniglot tasks", {"kind": "drawing", "tasks": 0}, ("learn2learn", "torchmeta"), 20, None,
         quick=True),
)  # fmt: skip
ON_GPU = (
    Case(
        "MAML conv4-64 28 px 1-shot 1 step, meta-batch 32", _maml(28, 64, 1, 1, 1, 32), CONV, None, quick=True
    ),
    Case("MAML conv4-64 28 px 5-shot 5 steps, meta-batch 32", _maml(28, 64, 1, 5, 5, 32), CONV, None),
    Case("MAML conv4-32 84 px 1-shot 5 steps, meta-batch 4", _maml(84, 32, 3, 1, 5, 4), CONV, None),
)
"""On a GPU too: the meta-batches of MAML's authors, which are more tasks than a round on two cores has time for."""
OF_A_CORE = (":channels_last", ":as fit")
"""What is set for a processor's sake."""
FORWARD, MEMORY = 1.3, 20
"""MUSTs: encoder forward against eager torch on two networks of three, both batches; memory of vmap over the loop's."""


def _forward(network: str, size: int, channels: int, count: int) -> Case:
    facts = {
        "kind": "encoder",
        "network": network,
        "size": size,
        "channels": channels,
        "count": count,
        "tasks": 0,
    }
    title = f"{network}, {size} {'px' if channels else 'tokens'}, forward of {count}"
    return Case(
        title,
        facts,
        ("torch",),
        None,
        quick=network == "conv4" or (network == "resnet18" and count == 1),
        tolerance=1e-4,
    )


FORWARDS = tuple(
    _forward(*network, count) for network in (("conv4", 28, 1), ("minilm", 32, 0), ("resnet18", 224, 3)) for count in (1, 64)
)  # fmt: skip


class Worker:
    """A library in its own process."""

    def __init__(self, name: str, threads: int, device: str = "cpu") -> None:
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": str(threads),
               "JAX_PLATFORMS": "cpu"}  # fmt: skip
        if threads == 1:
            env["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        self.process = subprocess.Popen(
            [str(PYTHON), "-m", "benchmarks.contestants", name, str(threads), device], cwd=ROOT, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, **question: Any) -> dict[str, Any]:
        """Send a line, wait for the answer.

        Raises:
            RuntimeError: the process ended instead.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"the worker ended with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def extra_memory(way: str, threads: int) -> float:
    """Megabytes that an update needs beyond what there was before it, in a process of its own."""
    done = subprocess.run([str(PYTHON), "-m", "benchmarks.engine_memory", way, str(threads)], cwd=ROOT, text=True, check=True,
                          capture_output=True, env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"})  # fmt: skip
    return float(done.stdout.split()[-1])


def interval(values: list[float]) -> tuple[float, float, float]:
    """Median, and order statistics around it that hold the true median in at least 95 % (with 6 values or more)."""
    ordered, n = sorted(values), len(values)
    cut = 0
    while cut + 1 < n / 2 and 2 * sum(math.comb(n, k) for k in range(cut + 2)) / 2**n <= 0.05:
        cut += 1
    return statistics.median(values), ordered[cut], ordered[n - 1 - cut]


def gap(one: list[float], other: list[float]) -> float:
    """Distance of two gradients relative to the first one's length."""
    if len(one) != len(other):
        return math.inf
    length = math.sqrt(math.fsum(x * x for x in one))
    return math.sqrt(math.fsum((x - y) ** 2 for x, y in zip(one, other, strict=True))) / max(length, 1e-300)


class Bench:
    """Runs cases on one number of threads and counts what fell short."""

    def __init__(self, threads: int, rounds: int, quick: bool, device: str = "cpu") -> None:
        self.device, self.where = device, f"{threads} threads"
        if device != "cpu":
            import torch

            self.where = torch.cuda.get_device_name(device)
        self.threads, self.rounds, self.quick, self.record = threads, rounds, quick, not quick
        self.workers: dict[str, Worker] = {}
        self.short = 0
        self.low: dict[str, float] = {}

    def say(self, case: Case, text: str, bad: bool) -> None:
        """A line of the report."""
        self.short += bad
        print(f"{'SHORT' if bad else 'ok   '} {case.name}, {self.where}: {text}", flush=True)

    def against(self, case: Case) -> list[str]:
        """Who runs a case; in a hurry without those that are only reported, or much like another."""
        left_out = (":as fit", ":bfloat16", "torchopt", "easyfsl") if self.quick else ()
        peers = case.peers
        if self.device != "cpu":  # jax would need a build of its own, and a count of its own threads
            peers = (
                "kshot:graph",
                *(peer for peer in peers if peer != "jax" and not peer.endswith(OF_A_CORE)),
            )
            if case.facts.get("steps") == 1:  # to compile five steps takes minutes
                peers = (*peers, "kshot:compiled")
        if self.quick:
            peers = tuple(peer for peer in peers if ":" not in peer or case.least(peer) is not None)
        return ["kshot", *(peer for peer in peers if not peer.endswith(left_out))]

    def run(self, case: Case) -> None:
        """Gradients, then times."""
        names, gradients, reason, work = self.against(case), {}, "", {}
        for name in list(names):
            try:
                answer = self.worker(name).ask(case=case.facts)
            except RuntimeError as cause:
                self.workers.pop(name).close()
                self.say(case, f"{name} cannot run it ({cause})", True)
                names.remove(name)
                continue
            gradients[name] = answer["gradient"]
            if name == "kshot":
                reason, work = answer["reason"], answer
        if "kshot" not in names:
            return
        if reason:
            print(f"      {case.name}: kshot runs {reason}", flush=True)
        for name in names[1:]:
            found = gap(gradients["kshot"], gradients[name])
            if found > case.tolerance and name not in OTHER_LOSS:
                self.say(case, f"{name}'s numbers differ by {found:.1e}, more than {case.tolerance:g}", True)
        times = self.timed(names)
        for name in names[1:]:
            self.tell(case, name, times, reason)
        if "peak" in work:
            self.share_of_peak(case, times["kshot"], work)

    def worker(self, name: str) -> Worker:
        """The process of a library, started when it is first asked."""
        if name not in self.workers:
            self.workers[name] = Worker(name, self.threads, self.device)
        return self.workers[name]

    def timed(self, names: list[str]) -> dict[str, list[float]]:
        """Seconds of a step, in rounds that take each library in turn for a tenth of a second or a step."""
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(self.rounds):
            for name in names:
                times[name].append(self.workers[name].ask(step=1)["seconds"])
        return times

    def share_of_peak(self, case: Case, seconds: list[float], work: dict[str, Any]) -> None:
        """Which part of the best speed of a convolution here the whole meta-update reaches; reported only."""
        shares = [work["operations"] / each / work["peak"] for each in seconds]
        middle, low, high = interval(shares)
        self.say(
            case,
            f"{middle:.2f} [{low:.2f}, {high:.2f}] of the convolution peak ({work['operations'] / 1e9:.1f} GFLOP of "
            f"{work['peak'] / 1e9:.0f} a second; reported)",
            False,
        )
        if self.record:
            append("engine", what=case.name, peer=PEAK, data="random numbers", regime="transductive", value=middle, low=low,
                   high=high, protocol=f"{self.threads} threads, operations of a whole meta-update of {case.facts['tasks']} tasks",
                   must=None, seeds=[0], n_tasks=case.facts["tasks"], ms=round(1000 * statistics.median(seconds), 3),
                   peer_ms=None, executor=work["reason"], cpu_seconds=round(sum(seconds), 1))  # fmt: skip

    def tell(self, case: Case, name: str, times: dict[str, list[float]], reason: str) -> None:
        """The ratio against one peer."""
        ratios = [theirs / ours for theirs, ours in zip(times[name], times["kshot"], strict=True)]
        middle, low, high = interval(ratios)
        least = case.least(name) if self.device == "cpu" else None
        self.low[case.name] = low
        ms = {who: 1000 * statistics.median(times[who]) for who in (name, "kshot")}
        rule = "reported" if least is None else f"MUST {least:g}"
        self.say(
            case,
            f"{name} / kshot = {middle:.2f} [{low:.2f}, {high:.2f}] ({ms[name]:.4g} / {ms['kshot']:.4g} ms; {rule})",
            least is not None and low < least,
        )
        if self.record:
            tasks = case.facts["tasks"] or (32 if case.facts["kind"] == "drawing" else case.facts["count"])
            doing = (
                f"forward of {tasks} inputs" if case in FORWARDS else f"whole meta-update of {tasks} tasks"
            )
            if case.facts["kind"] == "drawing":
                doing = f"{tasks} tasks drawn"
            append(
                "engine", what=case.name, peer=name, data="random numbers", regime="transductive",
                protocol=f"{self.where}, {doing}, "
                f"{self.rounds} interleaved rounds",
                value=middle, low=low, high=high, must=least, seeds=[0], n_tasks=tasks, ms=round(ms["kshot"], 3),
                peer_ms=round(ms[name], 3), executor=reason, cpu_seconds=round(sum(map(sum, times.values())), 1),
            )  # fmt: skip

    def forwards(self) -> None:
        """The MUST over encoders: both batches of two networks of three."""
        networks = {case.facts["network"] for case in FORWARDS if case.name in self.low}
        good = [
            network for network in sorted(networks)
            if all(self.low.get(c.name, 0) >= FORWARD for c in FORWARDS if c.facts["network"] == network and c.name in self.low)
        ]  # fmt: skip
        bad = len(good) < 2
        self.short += bad
        print(f"{'SHORT' if bad else 'ok   '} encoder forward, {self.threads} threads: at least {FORWARD} times as fast as eager "
              f"torch on {len(good)} of {len(networks)} networks ({', '.join(good) or 'none'}; MUST two)", flush=True)  # fmt: skip

    def memory(self) -> None:
        """Extra memory of a meta-batch of 32: kshot's loop against vmap over all."""
        found = {way: extra_memory(way, self.threads) for way in ("loop", "vmap")}
        ratio = found["vmap"] / max(found["loop"], 1e-9)
        bad = ratio < MEMORY
        self.short += bad
        print(f"{'SHORT' if bad else 'ok   '} memory of a meta-batch of 32, {self.threads} threads: vmap over all / loop = "
              f"{ratio:.1f} ({found['vmap']:.0f} / {found['loop']:.0f} MB; MUST {MEMORY})", flush=True)  # fmt: skip
        if self.record:
            append("engine", what="extra memory, MAML conv4-64 28 px 1-shot 1 step, meta-batch 32", peer="kshot's vmap over all",
                   data="random numbers", regime="transductive", protocol=f"{self.threads} threads, one update in a process of its own",
                   value=ratio, low=None, high=None, must=MEMORY, seeds=[0], n_tasks=32, ms=round(found["loop"], 1),
                   peer_ms=round(found["vmap"], 1), unit="MB", executor="loop", cpu_seconds=0)  # fmt: skip

    def close(self) -> None:
        """End all processes."""
        for worker in self.workers.values():
            worker.close()


def main() -> int:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--quick", action="store_true", help="a few cases, two threads, under 3 minutes, no rows"
    )
    parser.add_argument("--check", action="store_true", help="exit status 1 where something falls short")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--threads", type=int, nargs="*", default=None)
    parser.add_argument("--rounds", type=int, default=None, help="6 or more give an interval of 95 %%")
    parser.add_argument("--device", default="cpu", help="cpu, or a GPU: cuda, cuda:1")
    asked = parser.parse_args()
    begun, short = time.monotonic(), 0
    lacking = missing()
    if lacking:
        print(f"SHORT peers are missing: {', '.join(lacking)}; run make bench-setup")
        short += len(lacking)
    for threads in asked.threads or ([2] if asked.quick or asked.device != "cpu" else [1, 2]):
        bench = Bench(threads, asked.rounds or 9, asked.quick, asked.device)
        try:
            cases = (*CASES, *FORWARDS) if not asked.quick else (*FORWARDS, *CASES)
            if asked.device != "cpu":
                cases = tuple(case for case in (*CASES, *ON_GPU) if case.facts["kind"] != "drawing")
            for case in reversed(cases) if asked.quick else cases:  # the short ones first
                if (asked.quick and not case.quick) or asked.only not in case.name:
                    continue
                if asked.quick and time.monotonic() - begun > QUICK_SECONDS:
                    bench.say(case, "no time left to measure it", True)
                    continue
                bench.run(case)
            if asked.device == "cpu" and (not asked.only or "forward" in asked.only):
                bench.forwards()
        finally:
            bench.close()
        if asked.device == "cpu" and (not asked.only or "memory" in asked.only):
            bench.memory()  # when no other library holds any
        short += bench.short
    print(f"{short} fell short, {time.monotonic() - begun:.0f} s")
    return int(asked.check and short > 0)


if __name__ == "__main__":
    sys.exit(main())
