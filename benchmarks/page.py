"""How long it takes on the page from loading it to a right live answer: two classes of five drawings, by script.

python -m benchmarks.page [--times 5]        needs chromium and playwright; writes a row of results/page.jsonl
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import sync_playwright

import kshot
from benchmarks.rows import append
from kshot.serving.http import create_app
from kshot.serving.service import Service
from kshot.serving.store import Store

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


def ring(n: int) -> list[tuple[float, float]]:
    turns = [t / 24 * 2 * math.pi for t in range(25)]
    return [(0.5 + (0.26 + 0.01 * n) * math.cos(t), 0.5 + (0.3 - 0.01 * n) * math.sin(t)) for t in turns]


def zigzag(n: int) -> list[tuple[float, float]]:
    return [(0.25 + 0.02 * n, 0.25), (0.7, 0.27 + 0.01 * n), (0.3, 0.7), (0.75 - 0.01 * n, 0.74)]


def draw(page: Any, where: str, points: list[tuple[float, float]]) -> None:
    pad = page.locator(f"{where} .pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for place in at[1:]:
        page.mouse.move(*place)
    page.mouse.up()


def lesson(page: Any, url: str) -> float:
    """Seconds from asking for the page to the right answer about a new drawing."""
    start = time.monotonic()
    page.goto(url)
    for place, (name, shape) in enumerate({"ring": ring, "zigzag": zigzag}.items()):
        page.get_by_label("Name of this class").nth(place).fill(name)
        page.keyboard.press("Enter")
        for n in range(5):
            draw(page, ".class.active", shape(n))
            page.get_by_role("button", name=f"Add to {name}", exact=True).click()
            page.wait_for_function(
                "n => document.querySelectorAll('.class.active li').length === n", arg=n + 1
            )
    draw(page, "#try", zigzag(3))
    page.locator(".verdict", has_text="zigzag").wait_for()
    return time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    base = kshot.load("glyphs")
    assert isinstance(base, kshot.Learner)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        service = Service(Store.at(Path(folder) / "store"), {"glyphs": base})
        server = uvicorn.Server(uvicorn.Config(create_app(service, keys=False), port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
        opened = driver.chromium.launch_persistent_context(
            f"{folder}/profile", executable_path=shutil.which("chromium"), args=FLAGS
        )
        seconds = []
        for _ in range(times):
            page = opened.new_page()
            seconds.append(lesson(page, url))
            page.close()
        opened.close()
        server.should_exit = True
        thread.join()
        service.close()
    append(
        "page", what="from load to a right live answer, by script", data="two drawn classes, 5 drawings each",
        regime="inductive", protocol=f"headless Chromium, seconds, min to max of {times} runs", seeds=[], n_tasks=times,
        value=round(statistics.mean(seconds), 2), low=round(min(seconds), 2), high=round(max(seconds), 2),
    )  # fmt: skip
    print([round(s, 2) for s in seconds])


if __name__ == "__main__":
    main()
