"""Fixtures for all tests, and one line at the end about tests that lacked real data."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Small tensors run faster on one thread, and child processes inherit it: threads of several processes
# that share two cores wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KSHOT_FEATURE_CACHE", "off")  # tests write no features into the home folder

import torch

from shapes import check_shapes

check_shapes()  # before anything of kshot is imported

_NO_DATA = "no real data"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Also where the caller's environment asks for more threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell that starts the suite in the background makes it ignore Ctrl-C, and its children too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def real_data(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """`real_data("omniglot")`: that folder of KSHOT_DATA; without it the test skips, loudly."""

    def find(name: str) -> Path:
        root = os.environ.get("KSHOT_DATA")
        folder = Path(root) / name if root else None
        if folder is None or not folder.is_dir():
            pytest.skip(f"{_NO_DATA}: KSHOT_DATA has no {name!r}")
        return folder

    return find


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Counted from the reports: they also come from the processes that `pytest -n` starts."""
    skipped = terminalreporter.stats.get("skipped", [])
    missing = sum(_NO_DATA in str(report.longrepr) for report in skipped)
    if missing:
        terminalreporter.write_line(
            f"NOTE: {missing} tests were skipped because KSHOT_DATA does not hold their data; "
            "set KSHOT_DATA to the folder of the data sets"
        )
