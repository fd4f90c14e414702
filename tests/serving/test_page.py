"""The page in a real headless Chromium against a real server: drawn, written, photographed, by keyboard alone."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import kshot
from kshot.serving.http import create_app, make_key
from kshot.serving.service import Service
from kshot.serving.store import Store

STATIC = Path(str(resources.files("kshot.serving"))) / "static"
CARD = ["where is my new card", "my card did not arrive", "when will the card be delivered", "track my card"]
RATE = ["what is the exchange rate", "which rate do I get for dollars", "euro rate today", "interbank rate"]
EVIL = "<img src=x onerror=alert(1)>"


class Site:
    """A server on a free port of this machine."""

    def __init__(self, folder: Path, keys: bool) -> None:
        base = kshot.load("glyphs")
        assert isinstance(base, kshot.Learner)
        bases = {"glyphs": base, "texts": kshot.text.classifier("hash:ngram")}
        self.service = Service(Store.at(folder), bases)
        app = create_app(self.service, keys=keys)
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="on"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}/"

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.service.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"), keys=False)
    yield made
    made.close()


@pytest.fixture
def page(browser: Any, site: Site) -> Iterator[Any]:
    """A page whose outside requests, errors and dialogs fail the test."""
    yield from watched(browser, site.url)


def watched(browser: Any, url: str) -> Iterator[Any]:
    opened = browser.new_page()
    trouble: list[str] = []
    opened.on("request", lambda r: r.url.startswith((url, "data:", "blob:")) or trouble.append(r.url))
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("dialog", lambda dialog: (trouble.append("a dialog"), dialog.dismiss()))
    opened.on("console", lambda m: "Security Policy" in m.text and trouble.append(m.text))
    opened.set_default_timeout(60_000)
    opened.goto(url)
    yield opened
    opened.close()
    assert not trouble


def circle(n: int) -> list[tuple[float, float]]:
    turns = [t / 16 * 2 * math.pi + n for t in range(18)]
    return [(0.5 + (0.28 + 0.01 * n) * math.cos(t), 0.5 + (0.3 - 0.01 * n) * math.sin(t)) for t in turns]


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


def examples(page: Any, count: int) -> None:
    """Wait until the open class shows so many examples."""
    page.wait_for_function(
        "n => document.querySelectorAll('.class.active .thumbs li').length === n", arg=count
    )


def named(page: Any, place: int, name: str) -> None:
    page.get_by_label("Name of this class").nth(place).fill(name)
    page.keyboard.press("Enter")


def teach(
    page: Any, place: int, name: str, shape: Callable[[int], list[tuple[float, float]]], count: int
) -> None:
    named(page, place, name)
    for n in range(count):
        draw(page, ".class.active", shape(n))
        page.get_by_role("button", name=f"Add to {name}", exact=True).click()
        examples(page, n + 1)


def verdict(page: Any, name: str) -> None:
    page.locator(".verdict", has_text=re.compile(f"^{re.escape(name)}")).wait_for()


def test_from_load_to_a_right_answer(page: Any, site: Site) -> None:
    """How long it takes is measured by `python -m benchmarks.page`, on a quiet machine."""
    teach(page, 0, "circle", circle, 5)
    teach(page, 1, "zigzag", zigzag, 5)
    draw(page, "#try", circle(7))
    verdict(page, "circle")
    page.locator("#try").get_by_role("button", name="Clear").click()
    draw(page, "#try", zigzag(3))
    verdict(page, "zigzag")
    assert page.locator("#quality .figure").all_inner_texts() == ["5 of 5", "5 of 5"]
    assert page.locator("#try .why img").count() == 3
    assert page.get_by_role("button", name="Download .onnx").is_visible()

    model = page.url.split("#")[1]
    shown = site.service.show("local", model)
    assert (shown["classes"], shown["n_examples"]) == (["circle", "zigzag"], 10)
    page.reload()
    page.locator(".class.active .thumbs li").nth(4).wait_for()
    draw(page, "#try", circle(6))
    verdict(page, "circle")


def test_undo_forget_rename_and_correct(page: Any, site: Site) -> None:
    teach(page, 0, "circle", circle, 2)
    teach(page, 1, "zigzag", zigzag, 2)
    page.get_by_role("button", name="Remove example 1 of zigzag").click()
    examples(page, 1)
    page.get_by_role("button", name="Forget for good").click()
    page.get_by_text("Nothing of it is kept").wait_for()
    model = page.url.split("#")[1]
    assert site.service.show("local", model)["n_examples"] == 3
    assert all(
        len(site.service.task("local", model, v)[0].ids) < 4
        for v in site.service.show("local", model)["versions"]
    )

    page.get_by_role("button", name="Remove class circle").click()
    page.locator("#try-empty").wait_for()  # one class tells nothing apart
    page.locator("#toast").get_by_role("button", name="Undo").click()
    page.locator("#try-input").wait_for()
    named(page, 1, "ring")
    page.wait_for_function("() => document.querySelector('#quality').textContent.includes('ring')")
    model = page.url.split("#")[1]
    assert site.service.show("local", model)["classes"] == ["ring", "zigzag"]
    draw(page, "#try", circle(5))
    verdict(page, "ring")
    page.get_by_role("button", name="It is ring: add it as an example").click()
    page.get_by_text("Learned: that was ring").wait_for()
    assert site.service.show("local", model)["n_examples"] == 4


def test_texts_and_labels_that_try_to_be_markup(page: Any) -> None:
    page.select_option("#base", "texts")
    named(page, 0, EVIL)
    page.locator(".class.active textarea").fill("\n".join(CARD))
    page.keyboard.press("Enter")
    examples(page, len(CARD))
    named(page, 1, "rate")
    page.locator(".class.active textarea").fill("\n".join([*RATE, "<b>bold</b> & <script>alert(2)</script>"]))
    page.keyboard.press("Enter")
    examples(page, len(RATE) + 1)
    page.locator("#try textarea").fill("my bank card never arrived")
    verdict(page, EVIL)
    assert page.get_by_role("button", name="Download .kshot").is_visible()
    assert not page.get_by_role("button", name="Download .onnx").is_visible()  # n-grams have no graph
    page.reload()
    page.get_by_text("<script>alert(2)</script>").wait_for()
    assert page.locator("main img[src='x'], main script, main b:has-text('bold')").count() == 0


def test_by_keyboard_alone(page: Any) -> None:
    def press(*keys: str) -> None:
        for one in keys:
            page.keyboard.press(one)

    def reach(script: str) -> None:
        for _ in range(60):
            if page.evaluate(f"() => {{ const e = document.activeElement; return {script}; }}"):
                return
            press("Tab")
        raise AssertionError(f"Tab never reached {script}")

    page.locator(".class.active .pad").wait_for()
    pad = "e.matches('.class.active .pad')"
    for name, way in (("line", "ArrowRight"), ("bar", "ArrowDown")):
        reach(f"e.matches('.class-head input') && e.value === 'Class {1 if name == 'line' else 2}'")
        press("Control+A")
        page.keyboard.type(name)
        press("Enter")
        reach(pad)
        press("Space", *[way] * 5, "Enter")
        examples(page, 1)
    reach("e.matches('#try .pad')")
    press("Space", *["ArrowDown"] * 6)
    verdict(page, "bar")
    assert page.evaluate("document.querySelector('#spoken').getAttribute('aria-live')") == "polite"
    page.wait_for_function("() => document.querySelector('#spoken').textContent.startsWith('bar, ')")
    press("Control+z")
    page.locator("#try-empty").wait_for()


def test_everything_has_a_name(page: Any) -> None:
    teach(page, 0, "circle", circle, 1)
    teach(page, 1, "zigzag", zigzag, 1)
    draw(page, "#try", circle(1))
    verdict(page, "circle")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea, canvas, img:not([alt=""]), [role=meter]')]
            .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.alt || e.labels?.length))
            .map(e => e.outerHTML)"""
    )
    assert nameless == []
    for title in ("Examples", "What it learned", "Try it"):
        assert page.get_by_role("heading", level=2, name=title, exact=True).count() == 1
        assert page.get_by_role("region", name=title, exact=True).count() == 1


def test_dark_and_small_screens(page: Any) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 740})
    teach(page, 0, "a label that is rather long, as people write them", circle, 1)
    teach(page, 1, "zigzag", zigzag, 1)
    draw(page, "#try", circle(1))
    page.locator(".verdict").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= 360")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 21, 23)"


def test_camera_and_picture_files(page: Any, tmp_path: Path) -> None:
    from PIL import Image, ImageDraw

    paper = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(paper).line([(60, 60), (240, 140)], fill="black", width=16)
    paper.save(tmp_path / "line.png")
    page.locator(".class.active").get_by_role("radio", name="Pictures").check()
    page.locator(".class.active input[type=file]").set_input_files(tmp_path / "line.png")
    examples(page, 1)
    ink = page.evaluate(
        """async () => { const i = document.querySelector('.class.active .thumbs img'); await i.decode();
            const c = new OffscreenCanvas(i.naturalWidth, i.naturalHeight).getContext('2d'); c.drawImage(i, 0, 0);
            return c.getImageData(0, 0, 1, 1).data[0]; }"""
    )
    assert ink == 0  # the paper is dark, as the base was trained
    (tmp_path / "notes.png").write_text("no picture")
    page.locator(".class.active input[type=file]").set_input_files(tmp_path / "notes.png")
    page.get_by_role("alert").get_by_text("cannot be read as a picture").wait_for()
    page.get_by_role("button", name="Add examples to Class 2").click()
    page.locator(".class.active").get_by_role("radio", name="Camera").check()
    page.locator(".class.active").get_by_role("button", name="Turn the camera on").click()
    page.get_by_role("button", name="Take a picture").click()
    examples(page, 1)
    page.locator(".class.active").get_by_role("button", name="Turn it off").click()
    page.locator("#try").get_by_role("radio", name="Pictures").check()
    page.locator("#try input[type=file]").set_input_files(tmp_path / "line.png")
    page.locator(".verdict").wait_for()


def test_a_server_with_keys_asks_for_one(browser: Any, tmp_path: Path) -> None:
    site = Site(tmp_path, keys=True)
    try:
        key = make_key(site.service, "acme")
        for page in watched(browser, site.url):
            page.get_by_label("Key", exact=True).fill("ks_wrong")
            page.get_by_role("button", name="Use this key").click()
            page.get_by_label("Key", exact=True).fill(key)
            page.get_by_role("button", name="Use this key").click()
            page.locator(".class.active .pad").wait_for()
            teach(page, 0, "circle", circle, 1)
            teach(page, 1, "zigzag", zigzag, 1)
            page.locator("#try-input").wait_for()
            assert site.service.models("acme")["models"]
            assert "$KSHOT_KEY" in page.locator("#snippet").inner_text()
            assert key not in page.content()
    finally:
        site.close()


def test_a_server_that_is_gone_is_told_in_words(page: Any) -> None:
    teach(page, 0, "circle", circle, 1)
    page.route("**/v1/models", lambda route: route.abort())
    named(page, 1, "zigzag")
    draw(page, ".class.active", zigzag(1))
    page.get_by_role("button", name="Add to zigzag").click()
    page.get_by_role("alert").get_by_text("Is kshot serve still running?").wait_for()
    page.unroute("**/v1/models")
    page.get_by_role("button", name="Add to zigzag").click()  # the drawing is still there
    page.locator("#try-input").wait_for()


# without a browser


def test_nothing_inline_and_nothing_from_outside() -> None:
    for file in STATIC.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://", text.replace("over https", "")), file.name
        if file.suffix == ".html":
            assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*src=)", text)
        if file.suffix == ".mjs":
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function", text
            )


def test_all_text_has_enough_contrast() -> None:
    """WCAG AA, 4.5 to 1, for every colour that text or its ground takes, light and dark."""
    css = (STATIC / "page.css").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.S)
    ]
    assert len(themes) == 2
    pairs = [
        ("ink", "paper"), ("ink", "card"), ("soft", "paper"), ("soft", "card"), ("accent", "card"),
        ("accent-ink", "accent"), ("accent", "accent-soft"), ("ink", "accent-soft"), ("warn", "warn-soft"),
    ]  # fmt: skip
    for theme in themes:
        for text, ground in pairs:
            light, dark = sorted((luminance(theme[text]), luminance(theme[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground, theme[text], theme[ground])


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, as WCAG defines it."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
