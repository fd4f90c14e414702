"""A real browser for the page and a real PostgreSQL; where there is none its tests skip, and one line says so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import postgres as server
import pytest
from postgres import Postgres

_WITHOUT: list[str] = []
_NO_POSTGRES: list[str] = []
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip


def chromium() -> str | None:
    """The browser's program: KSHOT_CHROMIUM, or one of the system."""
    named = (os.environ.get("KSHOT_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in named if name and (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium with a fresh profile."""
    program = chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        _WITHOUT.append(request.node.name)
        pytest.skip("no browser: install Debian's chromium and the package playwright")
    profile = tmp_path_factory.mktemp("profile")
    with sync_playwright() as driver:
        opened = driver.chromium.launch_persistent_context(
            str(profile), executable_path=program, args=list(FLAGS), viewport={"width": 1280, "height": 900}
        )
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Postgres | None]:
    if server.programs() is None:
        yield None
        return
    with server.running() as started:
        yield started


@pytest.fixture
def postgres(request: pytest.FixtureRequest, _postgres: Postgres | None) -> Postgres:
    """A running PostgreSQL on loopback, in a folder of its own."""
    if _postgres is None:
        _NO_POSTGRES.append(request.node.name)
        pytest.skip("no PostgreSQL: install Debian's postgresql")
    return _postgres


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say that the page was not tried."""
    if _WITHOUT:
        terminalreporter.write_line(
            "NOTE: the page was not tried in a browser; install chromium (apt-get install chromium) and playwright"
        )
    if _NO_POSTGRES:
        terminalreporter.write_line(
            f"NOTE: {len(_NO_POSTGRES)} tests of the store on PostgreSQL were skipped; install it (apt-get install "
            "postgresql) or set KSHOT_POSTGRES to the folder of its programs"
        )
