"""Tables, Markdown, HTML, JSON files."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kshot.errors import SettingError
from kshot.evaluation import Report, Row, write_report
from kshot.evaluation.charts import Curve, confusion, curves, nice_step
from kshot.evaluation.markdown import hardest, table
from kshot.evaluation.page import grid, page, section


def row(name: str = "ProtoNet", regime: str = "inductive", data: str = "digits") -> Row:
    """A row with two tasks and two classes."""
    report = Report(
        "accuracy", (0.9, 0.7), regime, f"{data} 5-way 1-shot", per_class={"b": 0.5, "a": 0.75}, adapt_ms=1.5
    )
    return Row(name, data, report, own=True)


class Tags(HTMLParser):
    """Counts opening and closing tags, so that an unclosed one is seen."""

    VOID = frozenset(["meta", "img", "br", "line", "circle", "polyline", "polygon"])

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def well_formed(text: str) -> set[str]:
    """The tags of a page; fails where one is not closed."""
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags.seen


@pytest.mark.parametrize("suffix", [".json", ".md", ".html"])
def test_a_report_names_regime_interval_and_tasks_in_every_form(tmp_path: Path, suffix: str) -> None:
    rows = [row(), row("MAML", "transductive")]
    text = write_report(rows, tmp_path / f"report{suffix}").read_text(encoding="utf-8")
    assert "inductive" in text
    assert "transductive" in text
    if suffix == ".json":
        first = json.loads(text)["rows"][0]
        assert first["value"] == pytest.approx(0.8)
        assert first["high"] - first["value"] == pytest.approx(1.96 * 0.1)
        assert first["per_class"] == {"b": 0.5, "a": 0.75}
    else:
        assert "80.0 ± 19.6 %" in text
        assert "2 x 5-way 1-shot" in text


def test_an_unknown_form_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"\.pdf.*\.json, \.md, \.html"):
        write_report([row()], tmp_path / "report.pdf")
    assert list(tmp_path.iterdir()) == []


def test_the_html_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    text = write_report([row()], tmp_path / "r.html").read_text(encoding="utf-8")
    seen = well_formed(text)
    assert "script" not in seen
    assert "link" not in seen
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "prefers-color-scheme:dark" in text


def test_text_from_outside_cannot_become_html() -> None:
    bad = "<img src=x onerror=alert(1)>"
    text = page(bad, bad, [section(bad, bad, grid([bad], [[bad]]), curves([Curve(bad, [1], [1])], x=bad, y=bad),
                                   confusion([bad], [[1]]))], bad)  # fmt: skip
    assert "<img" not in text
    assert well_formed(text) >= {"table", "svg"}


def test_markdown_cells_cannot_break_the_table() -> None:
    lines = table(["a"], [["x|y\nz"]]).splitlines()
    assert lines[-1] == "| x\\|y z |"


def test_the_hardest_classes_come_first() -> None:
    assert hardest(row().report, 1) == [("b", 0.5)]


def test_curves_stay_inside_their_frame() -> None:
    text = curves(
        [Curve("a", [0, 5, 9], [0.2, 0.9, 0.4], [0.1, 0.2, 0.1])], x="step", y="accuracy", percent=True
    )
    points = [float(v) for group in re.findall(r'points="([^"]+)"', text) for v in re.split("[ ,]", group)]
    assert all(0 <= x <= 760 for x in points[::2])
    assert all(0 <= y <= 280 for y in points[1::2])
    assert "100 %" in text


@pytest.mark.parametrize("ys", [[0.5], [0.5, 0.5], [3.0, 3.0]])
def test_flat_and_single_curves_are_drawn(ys: list[float]) -> None:
    assert "polyline" in curves([Curve("a", list(range(len(ys))), ys)], x="x", y="y")


@pytest.mark.parametrize("span", [1e-6, 0.013, 0.4, 1.0, 77.0, 9e5])
def test_marks_are_few_and_round(span: float) -> None:
    step = nice_step(span)
    assert 2 <= span / step <= 8
    assert f"{step:e}"[0] in "125"


def test_confusion_rows_are_shares() -> None:
    text = confusion(["a", "b"], [[3, 1], [0, 0]])
    assert re.findall(r"--share:([\d.]+)", text) == ["0.750", "0.250", "0.000", "0.000"]
