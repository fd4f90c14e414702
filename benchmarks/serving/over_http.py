"""What the service costs over HTTP, by an open-loop driver in a process of its own on the same two cores.

python -m benchmarks.serving.over_http FOLDER adapt      teaching 25 texts, durable when answered
python -m benchmarks.serving.over_http FOLDER predict    up to the knee, then at half of it
python -m benchmarks.serving.over_http FOLDER beside     beside a plain FastAPI service with the same encoder and head
python -m benchmarks.serving.over_http FOLDER cliff      identical, uniform and Zipf traffic over stored tasks
python -m benchmarks.serving.over_http FOLDER mixed      requests of different tasks together against one by one
python -m benchmarks.serving.over_http FOLDER odd        a thousand clients that send nothing, or half of a body
python -m benchmarks.serving.over_http FOLDER start      from the command to ready, and from SIGTERM under load to gone

FOLDER/few, FOLDER/thousand and FOLDER/many are filled by benchmarks.serving.fill with 10, 1,000 and 100,000 tasks.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.rows import append
from benchmarks.serving import capped, load
from benchmarks.serving.core import chill
from benchmarks.serving.fill import BASE, EXAMPLES, SHOTS, SPEC, WAYS, base, model_name, sentences

DATA = f"{WAYS} classes of {SHOTS} synthetic sentences, 384 features"
REPEATS = 3
TASKS = {"few": 10, "thousand": 1000, "many": 100_000}


def row(what: str, protocol: str, values: list[float], unit: str, **more: Any) -> None:
    """One row: the median of repeats, with the lowest and the highest."""
    value, low, high = load.middle(values)
    full = {"data": DATA, "regime": "inductive", "n_tasks": len(values), "seeds": [0], "unit": unit}
    append("serving", what=what, protocol=protocol, value=value, low=low, high=high, **full, **more)
    sys.stdout.write(f"{what}, {protocol}: {value:.3f} {unit} ({low:.3f} to {high:.3f})\n")
    sys.stdout.flush()


@contextmanager
def server(folder: Path) -> Iterator[tuple[int, Any]]:
    """`kshot serve` on a folder: its port and process."""
    port = load.free_port()
    program = "from kshot.cli import main; main()"
    words = ["serve", "--base", f"{BASE}={SPEC}", "--port", str(port), "--data-dir", str(folder)]
    with load.running([sys.executable, "-c", program, *words], port) as process:
        yield port, process


def questions(draw: Callable[[], int]) -> Callable[[int], bytes]:
    """Requests to predict one sentence with a drawn task."""
    texts = sentences(2000, seed=7)
    drawn = [draw() for _ in range(50_000)]
    return lambda n: load.post(
        f"/v1/models/{model_name(drawn[n % len(drawn)])}/predict", {"inputs": [texts[n % len(texts)]]}
    )


def shapes(tasks: int, seed: int = 0) -> dict[str, Callable[[], int]]:
    """The three kinds of traffic."""
    generator = random.Random(seed)
    return {
        "identical": lambda: 0,
        "uniform": lambda: generator.randrange(tasks),
        "Zipf 1.1": load.zipf(tasks, generator),
    }


def forward(count: int) -> float:
    """Milliseconds (median) that the encoder alone takes for `count` sentences, in this process, one thread."""
    torch.set_num_threads(1)
    learner, texts = base(SPEC), sentences(3000, seed=5)
    found = []
    with torch.no_grad():
        for k in range(0, len(texts) - count, count):
            began = time.perf_counter()
            learner.embed(learner.prepared(learner.encoder.read(texts[k : k + count])))
            found.append(1000 * (time.perf_counter() - began))
    return statistics.median(found[5:])


def steady(port: int, make: Callable[[int], bytes], rate: float, seconds: float) -> load.Outcome:
    """One run at a rate, told."""
    outcome = asyncio.run(load.drive(port, make, rate=rate, seconds=seconds, warm=2.0))
    sys.stdout.write(outcome.told() + "\n")
    sys.stdout.flush()
    return outcome


def adapt(folder: Path, seconds: float) -> None:
    """P1."""
    alone = forward(EXAMPLES)
    texts = sentences(EXAMPLES * 100, seed=3)
    bodies = [
        load.post("/v1/models", {"base": BASE, "examples": [
            {"input": t, "label": f"intent {k % WAYS}"} for k, t in enumerate(texts[n : n + EXAMPLES])]})
        for n in range(0, len(texts), EXAMPLES)
    ]  # fmt: skip
    runs, disk = [], []
    with tempfile.TemporaryDirectory(dir=folder) as own, server(Path(own)) as (port, _):
        for _ in range(REPEATS):
            disk.append(on_disk(Path(own) / "disk", 25))
            runs.append(steady(port, lambda n: bodies[n % len(bodies)], 10, seconds))
    where = f"{SPEC}, {EXAMPLES} examples, durable, open loop at 10 a second"
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        over = [o.percentile(share) - alone for o in runs]
        row(f"adapt overhead, HTTP, {name}", where, over, "ms", forward_ms=alone)
    row("the disk alone, p50", f"{COMMIT} bytes appended to a file, until they are on disk", disk, "ms")


COMMIT = 10 * 4120
"""Bytes that SQLite appends to its log for a model of 25 texts."""


def on_disk(file: Path, count: int) -> float:
    """Milliseconds (median) until as many bytes as a commit writes are on disk, with no database and no Python between."""
    found, data = [], os.urandom(COMMIT)
    with file.open("wb", buffering=0) as held:
        for _ in range(count):
            time.sleep(0.05)
            began = time.perf_counter()
            held.write(data)
            os.fdatasync(held.fileno())
            found.append(1000 * (time.perf_counter() - began))
    return statistics.median(found)


RATES = [100.0, 150.0, 200.0, 250.0, 300.0, 350.0, 400.0, 450.0, 500.0, 600.0, 700.0, 800.0]


def predict(folder: Path, seconds: float, known: float | None) -> None:
    """P2, and the knee of a plain service beside ours; at half of a `known` knee, where it was measured before."""
    alone = forward(1)
    with server(folder / "few") as (port, process):
        make = questions(shapes(10)["uniform"])
        knee = load.knee(load.ramp(port, make, RATES, seconds=3)) if known is None else known
        asyncio.run(load.drive(port, make, rate=10, seconds=1))
        ours = [steady(port, make, knee / 2, seconds) for _ in range(REPEATS)]
        memory = load.resident(process.pid)
        waited = queue_seconds(port)
    where = f"{SPEC}, 10 tasks uniform, open loop at {knee / 2:.0f} a second, half of the knee"
    extra = {
        "forward_ms": alone,
        "resident_mb": memory,
        "queue_ms": 1000 * waited,
        "wrong": sum(o.broken for o in ours),
    }
    for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
        row(
            f"predict overhead, HTTP, {name}",
            where,
            [o.percentile(share) - alone for o in ours],
            "ms",
            **extra,
        )
        row(f"predict, HTTP, {name}", where, [o.percentile(share) for o in ours], "ms")
    if known is not None:
        return
    port = load.free_port()
    with load.running([sys.executable, "-m", "benchmarks.serving.plain", str(port)], port):
        other = load.knee(load.ramp(port, bare(), RATES, seconds=3))
    row("predict, HTTP, knee", f"{SPEC}, 10 tasks uniform", [knee], "per s")
    row("predict, HTTP, plain FastAPI service, knee", f"{SPEC}, one task", [other], "per s")


def bare() -> Callable[[int], bytes]:
    """The same questions to a plain service."""
    texts = sentences(2000, seed=7)
    return lambda n: load.post("/predict", {"inputs": [texts[n % len(texts)]]})


def beside(folder: Path, rate: float) -> None:
    """What tenants, versions and durability cost: ours and a plain service in turn, at a rate that both sustain."""
    plain = load.free_port()
    with server(folder / "few") as (port, _), load.running([sys.executable, "-m", "benchmarks.serving.plain", str(plain)], plain):  # fmt: skip
        make, found = questions(shapes(10)["uniform"]), [(load.Outcome(0, 0), load.Outcome(0, 0))][:0]
        for _ in range(REPEATS):
            found.append((steady(port, make, rate, 6), steady(plain, bare(), rate, 6)))
    where = f"{SPEC}, open loop at {rate:.0f} a second"
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        row(
            f"predict, HTTP, plain FastAPI service, {name}",
            where,
            [p.percentile(share) for _, p in found],
            "ms",
        )
        over = [o.percentile(share) - p.percentile(share) for o, p in found]
        row(f"predict, HTTP, over a plain FastAPI service, {name}", where, over, "ms")


def queue_seconds(port: int) -> float:
    """Mean time that inputs waited for the encoder, from /metrics."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[:1] != "#")
    return float(lines["kshot_queue_seconds_sum"]) / float(lines["kshot_queue_seconds_count"])


async def crowd(port: int, make: Callable[[int], bytes], clients: int, seconds: float) -> float:
    """Answers a second to clients that each ask one question after the other: what the server can do."""
    pool, done, place = load.Pool(port), 0, 0
    end = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal done, place
        while time.perf_counter() < end:
            place += 1
            status, _ = await pool.ask(make(place))
            if status != 200:
                raise RuntimeError(f"status {status}")
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    pool.close()
    return done / (time.perf_counter() - began)


def cliff(folder: Path, rate: float, kinds: list[str]) -> None:
    """P3: two servers stand side by side and are asked in turn, so that both see the same machine."""
    if capped.cap() is not None:
        for name in TASKS:
            chill(folder / name)
    with server(folder / "few") as (few, _), server(folder / "thousand") as (some, _), server(folder / "many") as (many, process):  # fmt: skip
        ports = {"few": few, "thousand": some, "many": many}
        if capped.cap() is not None:  # pages of files come and go as they would, from the first figure on
            for name, port in ports.items():
                make = questions(shapes(TASKS[name], 99)["uniform"])
                asyncio.run(crowd(port, make, 4, 10.0 if name == "many" else 0.5))
        for kind in kinds:
            speed: dict[str, list[float]] = {name: [] for name in ports}
            tails: dict[str, list[float]] = {name: [] for name in ports}
            read: list[float] = []
            for seed in range(REPEATS):
                for name, port in ports.items():
                    make = questions(shapes(TASKS[name], seed)[kind])
                    asyncio.run(crowd(port, make, 4, 0.5))
                    before = capped.disk_bytes(process.pid)
                    speed[name].append(asyncio.run(crowd(port, make, 4, 2.0)))
                    if name == "many":
                        read.append(
                            (capped.disk_bytes(process.pid) - before) / (2.0 * speed[name][-1]) / 1024
                        )
                    tails[name].append(steady(port, make, rate, 3).percentile(0.99))
            cliff_rows(kind, rate, speed, tails, load.resident(process.pid))
            if capped.cap() is not None:
                where = f"{SPEC}, {kind} traffic, {TASKS['many']} tasks, memory capped at {capped.cap()} MiB"
                row("predict, HTTP, read from the disk", where, read, "KiB")


def cliff_rows(
    kind: str, rate: float, speed: dict[str, list[float]], tails: dict[str, list[float]], memory: float
) -> None:
    """Figures of one kind of traffic, and how many tasks stand to ten. A cap holds for servers and driver together."""
    most = capped.cap()
    for name, tasks in TASKS.items():
        where = f"{SPEC}, {kind} traffic, {tasks} tasks" + (
            "" if most is None else f", memory capped at {most} MiB"
        )
        row("predict, HTTP, throughput", f"{where}, 4 clients", speed[name], "per s", resident_mb=memory)
        row("predict, HTTP, p99", f"{where}, open loop at {rate:.0f} a second", tails[name], "ms")
        if name != "few":
            pairs = zip(speed[name], speed["few"], strict=True)
            row("predict, HTTP, throughput, ratio", f"{where} to 10", [m / f for m, f in pairs], "x")
            pairs = zip(tails[name], tails["few"], strict=True)
            row(
                "predict, HTTP, p99, ratio",
                f"{where} to 10, at {rate:.0f} a second",
                [m / f for m, f in pairs],
                "x",
            )


def mixed() -> None:
    """P5, at the service core: requests of eight tasks, eight together and one by one, in turn."""
    from kshot.commandline.sources import base_of
    from kshot.serving.service import Service
    from kshot.serving.store import Store

    torch.set_num_threads(1)
    words = sentences(2000, seed=7)
    drawn = torch.rand(200, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    glyphs = base_of("glyphs")
    pictures = [glyphs.encoder.to_json(image) for image in drawn]
    kinds: dict[str, tuple[Any, list[Any]]] = {
        SPEC: (base(SPEC), words),
        "glyphs (Conv4, 28 x 28)": (glyphs, pictures),
    }
    for name, (learner, inputs) in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            service = Service(Store.at(Path(folder)), {"it": learner})
            tasks = [
                service.teach("local", "it", [{"input": x, "label": f"c{k % 5}"} for k, x in enumerate(inputs[n : n + 25])])["id"]
                for n in range(8)
            ]  # fmt: skip
            found: dict[int, list[float]] = {1: [], 8: []}
            together(service, tasks, inputs, 8, 0.5)
            for _ in range(2 * REPEATS):
                for most in found:
                    found[most].append(together(service, tasks, inputs, most, 2.0))
            service.close()
        ratios = [m / o for m, o in zip(found[8], found[1], strict=True)]
        row(
            "predict, core, throughput of 8 requests together to one by one",
            f"{name}, requests of 8 tasks in turn",
            ratios,
            "x",
        )


def together(service: Any, tasks: list[str], inputs: list[Any], most: int, seconds: float) -> float:
    """Answers a second to requests of eight tasks in turn, `most` of them at a time, as the server's line takes them."""
    from kshot.serving.service import Asked

    begun, done = time.perf_counter(), 0
    while time.perf_counter() < begun + seconds:
        batch = [
            Asked("local", tasks[n % len(tasks)], [inputs[n % len(inputs)]]) for n in range(done, done + most)
        ]
        if any(isinstance(one, Exception) for one in service.predict_many(batch)):
            raise RuntimeError("a question was not answered")
        done += most
    return done / (time.perf_counter() - begun)


ODD = 1000
"""Clients that open a connection and send nothing, or half of a body."""


def odd(folder: Path, rate: float, note: str) -> None:
    """F8: what others wait while a thousand clients sit there, idle or with half a body, in turn with nobody there. They
    are let sit for longer than a server does that was not told to."""
    os.environ["KSHOT_SILENCE_SECONDS"] = "120"
    halves = [b"", b"POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n{"]  # fmt: skip
    alone, among = [], []
    with server(folder / "few") as (port, process):
        make = questions(shapes(10)["uniform"])
        steady(port, make, rate, 2)
        for _ in range(2 * REPEATS):
            alone.append(steady(port, make, rate, 4))
            sitting = [socket.create_connection(("127.0.0.1", port)) for _ in range(ODD)]
            for n, one in enumerate(sitting):
                one.sendall(halves[n % 2])
            time.sleep(5)
            among.append(steady(port, make, rate, 4))
            for one in sitting:
                one.close()
        memory = load.resident(process.pid)
    where = f"{SPEC}, open loop at {rate:.0f} a second, {ODD} clients idle or with half a body{note}"
    pairs = list(zip(among, alone, strict=True))
    row("predict, HTTP, p99, ratio to nobody else there", where, [a.percentile(0.99) / b.percentile(0.99) for a, b in pairs], "x", resident_mb=memory)  # fmt: skip
    row("predict, HTTP, wrong answers", where, [float(a.broken) for a in among], "")


def start(folder: Path, rate: float, note: str) -> None:
    """P10."""
    ready, gone, resets, lost = [], [], [], []
    for _ in range(REPEATS):
        with server(folder / "many") as (port, process):
            ready.append(process.ready_seconds)
            make = questions(shapes(100_000)["uniform"])

            def stop(process: Any = process) -> None:
                time.sleep(2.0)
                began = time.perf_counter()
                process.send_signal(signal.SIGTERM)
                process.wait()
                gone.append(time.perf_counter() - began)

            stopper = threading.Thread(target=stop)
            stopper.start()
            outcome = asyncio.run(load.drive(port, make, rate=rate, seconds=8))
            stopper.join()
            resets.append(float(outcome.resets))
            lost.append(float(outcome.statuses.get(500, 0) + outcome.statuses.get(503, 0)))
    where = f"SQLite, 100000 tasks, {rate:.0f} requests a second go on meanwhile{note}"
    row("from the command to ready, with importing torch", f"SQLite, 100000 tasks{note}", ready, "s")
    row("from SIGTERM to the end of the process", where, gone, "s")
    row("connections reset while draining", where, resets, "")
    row("answers 5xx while draining", where, lost, "")


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=("adapt", "predict", "beside", "cliff", "mixed", "odd", "start"))
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--kind", action="append", choices=("identical", "uniform", "Zipf 1.1"))
    parser.add_argument("--note", default="", help="for odd and start: what else the machine did")
    parser.add_argument("--seconds", type=float, help="of each run of adapt (15) and predict (8)")
    parser.add_argument("--knee", type=float, help="for predict: questions a second, as measured before")
    asked = parser.parse_args()
    load.many_files()
    if asked.what == "adapt":
        adapt(asked.folder, asked.seconds or 15)
    elif asked.what == "predict":
        predict(asked.folder, asked.seconds or 8, asked.knee)
    elif asked.what == "mixed":
        mixed()
    elif asked.what == "cliff":
        cliff(asked.folder, asked.rate, asked.kind or ["identical", "uniform", "Zipf 1.1"])
    elif asked.what == "beside":
        beside(asked.folder, asked.rate)
    else:
        {"odd": odd, "start": start}[asked.what](asked.folder, asked.rate, asked.note and f", {asked.note}")


if __name__ == "__main__":
    main()
