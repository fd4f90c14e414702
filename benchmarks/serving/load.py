"""An open-loop HTTP load driver: requests leave at a constant rate, whatever the server does.

A latency counts from the moment a request was due, not from when a connection was free, so a server that stalls
cannot hide it (coordinated omission). It runs in a process of its own; its share of the processor is told.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Request = bytes


def post(path: str, body: Any, *, key: str = "") -> Request:
    """The bytes of a POST of JSON."""
    data = json.dumps(body).encode()
    auth = f"authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{auth}"
        f"content-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


@dataclass
class Outcome:
    """What one run of the driver saw. Latencies in seconds, from when each was due."""

    rate: float
    seconds: float
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    broken: int = 0
    resets: int = 0
    refused: int = 0
    busy_seconds: float = 0.0
    bodies: list[bytes] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """In milliseconds; NaN without any answer."""
        if not self.latencies:
            return float("nan")
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def good(self) -> int:
        return sum(count for status, count in self.statuses.items() if status < 400)

    @property
    def achieved(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds

    def told(self) -> str:
        p50, p95, p99 = (self.percentile(p) for p in (0.5, 0.95, 0.99))
        wrong = sum(n for s, n in self.statuses.items() if s >= 400) + self.broken
        return (
            f"{self.rate:7.0f}/s offered {self.achieved:7.0f}/s answered  p50 {p50:7.2f}  p95 {p95:7.2f}  "
            f"p99 {p99:8.2f} ms  {wrong} wrong  driver {100 * self.busy_seconds / self.seconds:.0f} % of a core"
        )


class Pool:
    """Keep-alive connections to one server."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.host, self.port = host, port
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def ask(self, request: Request) -> tuple[int, bytes]:
        """Status and body. A connection that the server closed while it lay idle is replaced once."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                break
            writer.close()
        else:
            reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lowered = head.lower()
            at = lowered.find(b"content-length: ")
            size = int(lowered[at + 16 : lowered.index(b"\r\n", at)]) if at >= 0 else 0
            body = await reader.readexactly(size)
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in lowered:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head[9:12]), body

    def close(self) -> None:
        """Close what is idle."""
        for _, writer in self._idle:
            writer.close()


async def drive(
    port: int,
    make: Callable[[int], Request],
    *,
    rate: float,
    seconds: float,
    warm: float = 0.0,
    keep: int = 0,
) -> Outcome:
    """Send make(0), make(1), ... `rate` times a second; the first `warm` seconds are left out."""
    pool, outcome = Pool(port), Outcome(rate, seconds)
    count, skipped = int(rate * (warm + seconds)), int(rate * warm)
    start = time.perf_counter() + 0.05
    tasks: set[asyncio.Task[None]] = set()
    busy = time.process_time()

    async def one(place: int) -> None:
        due = start + place / rate
        try:
            status, body = await pool.ask(make(place))
        except (ConnectionResetError, BrokenPipeError, asyncio.IncompleteReadError):
            outcome.broken += 1
            outcome.resets += 1
            return
        except OSError:
            outcome.broken += 1
            outcome.refused += 1
            return
        if place >= skipped:
            outcome.latencies.append(time.perf_counter() - due)
            outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
            if len(outcome.bodies) < keep:
                outcome.bodies.append(body)

    for place in range(count):
        wait = start + place / rate - time.perf_counter()
        if wait > 0 or place % 50 == 0:
            await asyncio.sleep(max(0.0, wait))
        task = asyncio.create_task(one(place))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    outcome.broken += await _finish(list(tasks))
    outcome.seconds = max(seconds, time.perf_counter() - start - warm)
    outcome.busy_seconds = time.process_time() - busy
    pool.close()
    return outcome


async def _finish(left: list[asyncio.Task[None]]) -> int:
    """Wait for what is under way; how many had to be given up."""
    if left:
        await asyncio.wait(left, timeout=30)
    late = [task for task in left if not task.done()]
    for task in late:
        task.cancel()
    return len(late)


def ramp(
    port: int, make: Callable[[int], Request], rates: list[float], *, seconds: float, warm: float = 1.0
) -> list[Outcome]:
    """One run at each rate, rising, until the knee: answers come at less than 95 % of what is offered, or wrong."""
    found = []
    for rate in rates:
        outcome = asyncio.run(drive(port, make, rate=rate, seconds=seconds, warm=warm))
        found.append(outcome)
        sys.stdout.write(outcome.told() + "\n")
        sys.stdout.flush()
        if past_knee(outcome):
            break
    return found


def past_knee(outcome: Outcome) -> bool:
    """More is offered than the server can do."""
    return outcome.achieved < 0.95 * outcome.rate or outcome.broken > 0


def knee(outcomes: list[Outcome]) -> float:
    """The highest rate that the server kept up with; where it kept up with none, what it did."""
    kept = [o.rate for o in outcomes if not past_knee(o)]
    return max(kept, default=max(o.achieved for o in outcomes))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@contextmanager
def running(
    command: list[str], port: int, *, path: str = "/readyz", patience: float = 60.0
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that is ready; `ready_seconds` of it tells how long that took."""
    log = tempfile.NamedTemporaryFile(prefix=f"kshot-served-{port}-", suffix=".log")  # noqa: SIM115
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        while not answers(port, path):
            if process.poll() is not None or time.perf_counter() - began > patience:
                raise RuntimeError(f"the server did not start: {Path(log.name).read_text()[-2000:]}")
            time.sleep(0.05)
        process.ready_seconds = time.perf_counter() - began  # type: ignore[attr-defined]
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        log.close()


def answers(port: int, path: str) -> bool:
    """Does it answer 200?"""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def resident(pid: int) -> float:
    """Memory of a process that is its own or mapped in, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def processor_seconds(pid: int) -> float:
    """What a process has used of the processor so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def zipf(count: int, generator: random.Random, exponent: float = 1.1) -> Callable[[], int]:
    """Draws places 0..count-1, the k-th in proportion to 1 / k^exponent."""
    total, sums = 0.0, []
    for k in range(1, count + 1):
        total += k**-exponent
        sums.append(total)
    return lambda: min(count - 1, bisect(sums, generator.random() * total))


def bisect(sums: list[float], value: float) -> int:
    """The first place whose sum reaches the value."""
    low, high = 0, len(sums)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if sums[middle] < value else (low, middle)
    return low


def middle(values: list[float]) -> tuple[float, float, float]:
    """Median, least and most of repeats."""
    return statistics.median(values), min(values), max(values)


def many_files() -> None:
    """Let this process hold as many connections as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
