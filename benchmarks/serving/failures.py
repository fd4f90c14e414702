"""The long failure tests, as rows: what was tried and what broke.

python -m benchmarks.serving.failures kill      200 rounds of kill -9 while eight clients teach (F1)
python -m benchmarks.serving.failures fuzz      ten minutes of generated requests (F9)
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time

from benchmarks.rows import append

TESTS = {
    "kill": "tests/serving/test_failures.py::test_kill_9_while_8_clients_teach_200_rounds",
    "fuzz": "tests/serving/http/test_fuzz.py::test_no_request_breaks_the_server",
}


def told_by(test: str) -> tuple[bool, str, float]:
    """Whether a test passed, what it printed, and its seconds."""
    began = time.perf_counter()
    words = [sys.executable, "-m", "pytest", "-q", "-s", "-m", "slow", "-p", "no:cacheprovider", test]
    done = subprocess.run(words, capture_output=True, text=True)
    sys.stdout.write(done.stdout[-4000:])
    return done.returncode == 0, done.stdout, time.perf_counter() - began


def kill(passed: bool, said: str, seconds: float) -> None:
    """F1."""
    found = re.search(r"(\d+) acknowledged models in 200 rounds", said)
    if not passed or found is None:
        sys.exit("the test failed; it says above what was lost")
    count = int(found[1])
    where = f"SQLite, 200 rounds, 8 clients, {count} acknowledged models"
    for what in ("acknowledged models lost", "models changed or damaged"):
        row(f"kill -9 while teaching: {what}", where, 0.0, count, seconds)


def fuzz(passed: bool, said: str, seconds: float) -> None:
    """F9."""
    found = re.search(r"requests by status: \{([^}]*)\}", said)
    if not passed or found is None:
        sys.exit("the test failed; it says above which request broke the server")
    counts = {code: float(n) for code, n in re.findall(r"'(\d+)': ([\d.]+)", found[1])}
    total = int(sum(counts.values()))
    wrong = sum(n for code, n in counts.items() if code.startswith("5"))
    where = f"schemathesis over the OpenAPI for 10 minutes, {total} requests"
    row("generated requests answered 5xx", where, wrong, total, seconds)


def row(what: str, protocol: str, value: float, count: int, seconds: float) -> None:
    """One row."""
    append(
        "serving", what=what, data="rows of two numbers", protocol=protocol, regime="inductive", value=value,
        low=None, high=None, n_tasks=count, seeds=[], unit="", cpu_seconds=None, wall_seconds=round(seconds),
    )  # fmt: skip


def main() -> None:
    """Run one of the tests and keep what it counted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=sorted(TESTS))
    asked = parser.parse_args()
    {"kill": kill, "fuzz": fuzz}[asked.what](*told_by(TESTS[asked.what]))


if __name__ == "__main__":
    main()
