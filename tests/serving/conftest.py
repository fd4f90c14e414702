"""A real browser for the page; where there is none its tests skip, and one line at the end says so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

_WITHOUT: list[str] = []
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say that the page was not tried."""
    if _WITHOUT:
        terminalreporter.write_line(
            "NOTE: the page was not tried in a browser; install chromium (apt-get install chromium) and playwright"
        )
