"""The store and the service core, without HTTP.

python -m benchmarks.serving.core FOLDER adapt       durable when answered: teaching 25 texts, above the encoder
python -m benchmarks.serving.core FOLDER density     bytes and memory of the tasks in FOLDER/many
python -m benchmarks.serving.core FOLDER cliff       uniform traffic over FOLDER/many against FOLDER/few, pages cold;
python -m benchmarks.serving.capped 768 python -m benchmarks.serving.core FOLDER cliff        or under a cap of memory
python -m benchmarks.serving.core FOLDER processor   what an answer takes of the processor, task in memory or not
python -m benchmarks.serving.core FOLDER start       seconds from nothing to the first answer

Fill first: python -m benchmarks.serving.fill FOLDER/many --tasks 100000, and FOLDER/few --tasks 10.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.rows import append
from benchmarks.serving import capped
from benchmarks.serving.fill import BASE, EXAMPLES, SHOTS, SPEC, WAYS, base, inputs, model_name, sentences
from kshot.learners import Learner
from kshot.seeds import generator
from kshot.serving.service import Asked, Service
from kshot.serving.store import Store

DATA = f"{WAYS} classes of {SHOTS} synthetic sentences, 384 features"
QUERIES, ROUNDS = 3000, 5
_ASKED = itertools.count()


def open_service(folder: Path, learner: Learner) -> Service:
    """A service on a filled folder."""
    return Service(Store.at(folder), {BASE: learner})


def chill(folder: Path) -> None:
    """Let the system forget the pages of a database, so that reading it reads the disk."""
    for path in folder.iterdir():
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def timed(ask: Callable[[int], Any], count: int) -> list[float]:
    """Milliseconds of each call."""
    found = []
    for n in range(count):
        start = time.perf_counter()
        ask(n)
        found.append(1000 * (time.perf_counter() - start))
    return found


def percentile(values: list[float], share: float) -> float:
    """The value under which that share lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def row(what: str, protocol: str, values: list[float], unit: str, **more: Any) -> None:
    """One row: the median of repeats, with the lowest and the highest."""
    low, high = (min(values), max(values)) if len(values) > 1 else (None, None)
    full = {"data": DATA, "regime": "inductive", "n_tasks": len(values), "seeds": [0], "unit": unit, **more}
    append("store", what=what, protocol=protocol, value=statistics.median(values), low=low, high=high, **full)
    print(f"{what}, {protocol}: {statistics.median(values):.3f} {unit} ({low}, {high})")


def adapt(spec: str) -> None:
    """Teaching through the service, minus encoding the same texts the same way."""
    learner, texts = base(spec), sentences(EXAMPLES * 40, seed=3)
    sets = [texts[k : k + EXAMPLES] for k in range(0, len(texts), EXAMPLES)]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        service = open_service(Path(folder), learner)

        def teach(n: int) -> None:
            examples = [
                {"input": t, "label": f"intent {k % WAYS}"} for k, t in enumerate(sets[n % len(sets)])
            ]
            service.teach("local", BASE, examples)

        def encode(n: int) -> None:
            service.batcher.embed(learner, learner.encoder.read(sets[n % len(sets)]))

        turns = 100 if spec == SPEC else 20
        timed(teach, 5)
        middle, late = [], []
        for _ in range(ROUNDS):
            whole, alone = timed(teach, turns), timed(encode, turns)
            over = [w - a for w, a in zip(whole, alone, strict=True)]
            middle.append(percentile(over, 0.5))
            late.append(percentile(over, 0.99))
        service.close()
    row("adapt overhead, core, p50", f"{spec}, 25 examples, durable", middle, "ms")
    row("adapt overhead, core, p99", f"{spec}, 25 examples, durable", late, "ms")


def memory() -> float:
    """MiB that this process holds for itself; pages of files are the system's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return float(line.split()[1]) / 1024
    raise OSError("no RssAnon in /proc/self/status")


def density(folder: Path, spec: str) -> None:
    """Bytes on disk per byte of features, and memory after uniform traffic."""
    learner = base(spec)
    service = open_service(folder / "many", learner)
    tasks = service.store.count()
    size = sum(path.stat().st_size for path in (folder / "many").rglob("*") if path.is_file())
    ask = asking(service, tasks)
    timed(ask, 20)
    before = memory()
    timed(ask, 5_000)
    grown = memory() - before
    service.close()
    row(
        "bytes per byte of float16 features",
        f"SQLite, {tasks} tasks",
        [size / (tasks * EXAMPLES * 384 * 2)],
        "x",
    )
    row("memory after 5,000 uniform questions", f"{tasks} tasks, beyond the first 20", [grown], "MiB")


def asking(service: Service, tasks: int, seed: int = 0) -> Callable[[int], Any]:
    """Questions to tasks drawn uniformly."""
    model, said = drawn(service, tasks, seed)

    def ask(n: int) -> Any:
        return service.predict("local", model(n), [said(n)])

    return ask


def drawn(service: Service, tasks: int, seed: int) -> tuple[Callable[[int], str], Callable[[int], str]]:
    """The model and the input of the n-th question. Texts are sentences that nobody asked before: their encoders keep
    what they encoded."""
    rng = generator(seed, "serving", "traffic")
    places = torch.randint(tasks, (200_000,), generator=rng).tolist()
    learner = service.bases[BASE]
    known, text = inputs(learner, 2000, seed=7), learner.encoder.modality == "text"

    def said(n: int) -> str:
        return f"{known[n % len(known)]} {next(_ASKED)}" if text else known[n % len(known)]

    return lambda n: model_name(places[n % len(places)]), said


TOGETHER = 8
"""Questions that the server's line answers together."""


def together(service: Service, tasks: int, seed: int = 0) -> Callable[[int], Any]:
    """As `asking`, eight questions to eight tasks at a time, as the server takes them from its line."""
    model, said = drawn(service, tasks, seed)

    def ask(n: int) -> Any:
        batch = [Asked("local", model(k), [said(k)]) for k in range(TOGETHER * n, TOGETHER * (n + 1))]
        for told in service.predict_many(batch):
            if isinstance(told, Exception):
                raise told

    return ask


WARM, SETTLE = 3_000, 150_000
"""Questions before measuring under a cap, and how many more are only looked up and read, so that the system keeps what it
would keep."""


def settle(service: Service, tasks: int) -> None:
    """Read what questions would have the system read, without encoding them."""
    model, _ = drawn(service, tasks, seed=98)
    service.warming.wait()
    for n in range(SETTLE):
        [coming] = service.tasks.coming([("local", model(n), None)])
        for found in coming.rows or ():
            service.store.beside(found)


def cliff(folder: Path, spec: str, queries: int, callers_: list[int]) -> None:
    """One caller after the other, two at once, and eight questions together; few and many in turn, so that both see the
    same machine. Under a cap of memory (see `capped`) pages of files come and go as they would; without one the
    system is made to forget them all before each turn.
    """
    learner, most = base(spec), capped.cap()
    kind = "synthetic sentences" if learner.encoder.modality == "text" else "pictures of random strokes"
    data = f"{WAYS} classes of {SHOTS} {kind}, {learner.encoder.features} features"
    for name in ("few", "many"):
        chill(folder / name)
    services = {name: open_service(folder / name, learner) for name in ("few", "many")}
    counts = {name: service.store.count() for name, service in services.items()}
    for name, service in services.items():
        timed(asking(service, counts[name], seed=99), WARM if most and name == "many" else 50)
        if most and name == "many":
            settle(service, counts[name])
    for callers in callers_:
        found: dict[str, list[tuple[float, ...]]] = {"few": [], "many": []}
        for round_ in range(ROUNDS):
            for name, service in services.items():
                if most is None:
                    chill(folder / name)
                make, before = together if callers == TOGETHER else asking, capped.disk_bytes()
                asks = make(service, counts[name], seed=ROUNDS * callers + round_)
                burst = _burst(asks, queries, callers)
                found[name].append((*burst, (capped.disk_bytes() - before) / queries / 1024))
        _told(spec, data, counts["many"], callers, most, found)
    for service in services.values():
        service.close()


def _burst(ask: Callable[[int], Any], queries: int, callers: int) -> tuple[float, float, float]:
    """Questions a second, p50 and p99 in milliseconds; callers ask one question after the other, but eight are one
    caller with eight questions at a time."""
    parts: list[list[float]] = []
    threads_, weight = (1, TOGETHER) if callers == TOGETHER else (callers, 1)
    each = queries // callers
    threads = [
        threading.Thread(target=lambda k=k: parts.append(timed(lambda n: ask(k * each + n), each))) for k in range(threads_)
    ]  # fmt: skip
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - start
    every = [value for part in parts for value in part]
    return each * threads_ * weight / taken, percentile(every, 0.5), percentile(every, 0.99)


def _told(
    spec: str,
    data: str,
    tasks: int,
    callers: int,
    most: int | None,
    found: dict[str, list[tuple[float, ...]]],
) -> None:
    who = {1: "1 caller", TOGETHER: f"{TOGETHER} questions together"}.get(callers, f"{callers} callers")
    where = f"{spec}, {who}, " + ("pages cold" if most is None else f"memory capped at {most} MiB")
    for place, (what, unit) in enumerate((("throughput", "per s"), ("p50", "ms"), ("p99", "ms"))):
        few, many = ([one[place] for one in found[name]] for name in ("few", "many"))
        row(f"predict, core, {what}", f"{where}, 10 tasks", few, unit, data=data)
        row(f"predict, core, {what}", f"{where}, {tasks} tasks uniform", many, unit, data=data)
        row(
            f"predict, core, {what}, ratio",
            f"{where}, {tasks} to 10",
            [m / f for m, f in zip(many, few, strict=True)],
            "x",
            data=data,
        )
    row(
        "predict, core, read from the disk",
        f"{where}, {tasks} tasks uniform",
        [one[3] for one in found["many"]],
        "KiB",
        data=data,
    )


def processor(folder: Path, spec: str) -> None:
    """Processor time of an answer by a task in memory, and by one that is not; question by question in turn, so it can be
    measured beside other programs. The system has the files in memory: what reading the disk takes is not in it.
    """
    learner = base(spec)
    asks = {}
    for name in ("few", "many"):
        service = open_service(folder / name, learner)
        asks[name] = (asking(service, service.store.count()), service)
    found: dict[str, list[float]] = {"few": [], "many": []}
    for round_ in range(ROUNDS + 1):
        taken: dict[str, list[float]] = {"few": [], "many": []}
        for n in range(600):
            for name, (ask, _) in asks.items():
                begun = time.thread_time()
                ask(600 * round_ + n)
                taken[name].append(1e6 * (time.thread_time() - begun))
        if round_:  # the first is for warming up
            for name, each in taken.items():
                found[name].append(statistics.median(each))
    for _, service in asks.values():
        service.close()
    row("predict, core, processor time of an answer", f"{spec}, task in memory", found["few"], "us")
    row("predict, core, processor time of an answer", f"{spec}, task not in memory", found["many"], "us")


def start(folder: Path, spec: str) -> None:
    """From the opening of the store to the first answer, pages cold; the base is loaded before."""
    learner = base(spec)
    seconds = []
    for _ in range(ROUNDS):
        chill(folder / "many")
        begun = time.perf_counter()
        service = open_service(folder / "many", learner)
        asking(service, service.store.count())(0)
        seconds.append(time.perf_counter() - begun)
        service.close()
    row("open a store and answer, core", "SQLite, 100000 tasks, pages cold", seconds, "s")


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=("adapt", "density", "cliff", "processor", "start"))
    parser.add_argument("--base", default=SPEC)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--callers", type=int, action="append", choices=(1, 2, TOGETHER), help="for cliff")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.what == "adapt":
        adapt(asked.base)
    elif asked.what == "cliff":
        cliff(asked.folder, asked.base, asked.queries, asked.callers or [1, 2, TOGETHER])
    else:
        {"density": density, "processor": processor, "start": start}[asked.what](asked.folder, asked.base)


if __name__ == "__main__":
    main()
