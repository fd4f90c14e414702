"""Curves and confusion as inline SVG and HTML, by hand, so that a report needs no plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 760, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 12, 48
_COLOURS = 5


@dataclass(frozen=True)
class Curve:
    """A named line through points (x, y); `half` is half an interval's width per point, drawn as a band."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    half: Sequence[float] | None = None


def curves(
    lines: Sequence[Curve], *, x: str, y: str, percent: bool = False, ticks: Sequence[float] | None = None
) -> str:
    """A chart of one or several lines with legend, grid and bands.

    Args:
        x, y: names of the axes. percent: values in 0..1 are written as per cent.
        ticks: values to mark on the x axis; they are set at equal distances.

    >>> "<svg" in curves([Curve("a", [1, 2], [0.5, 0.75])], x="step", y="accuracy")
    True
    """
    frame = _Frame.around(lines, ticks)
    parts = [_grid(frame, percent), _x_marks(frame), *(_line(line, k, frame) for k, line in enumerate(lines))]
    names = (
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 5}" text-anchor="middle">{escape(x)}</text>'
    )
    legend = "".join(
        f'<span class="k{k % _COLOURS}"><i></i>{escape(line.name)}</span>' for k, line in enumerate(lines)
    )
    return (
        f'<figure><div class="legend"><span>{escape(y)}:</span>{legend}</div>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(f"{y} against {x}")}">'
        f"{''.join(parts)}{names}</svg></figure>"
    )


@dataclass(frozen=True)
class _Frame:
    low_x: float
    high_x: float
    low_y: float
    high_y: float
    step: float
    ticks: tuple[float, ...] | None

    @classmethod
    def around(cls, lines: Sequence[Curve], ticks: Sequence[float] | None) -> _Frame:
        ys = [v for line in lines for v in _reach(line)] or [0.0, 1.0]
        xs = [v for line in lines for v in line.xs] or [0.0, 1.0]
        step = nice_step(max(ys) - min(ys))
        low, high = math.floor(min(ys) / step) * step, math.ceil(max(ys) / step) * step
        return cls(
            min(xs), max(xs), low, high if high > low else low + step, step, tuple(ticks or ()) or None
        )

    def x(self, value: float) -> float:
        width = _WIDTH - _LEFT - _RIGHT
        if self.ticks:
            return _LEFT + width * (self.ticks.index(value) + 0.5) / len(self.ticks)
        return _LEFT + width * (value - self.low_x) / ((self.high_x - self.low_x) or 1)

    def y(self, value: float) -> float:
        height = _HEIGHT - _TOP - _BOTTOM
        return _TOP + height * (1 - (value - self.low_y) / (self.high_y - self.low_y))


def _reach(line: Curve) -> list[float]:
    half = line.half or [0.0] * len(line.ys)
    return [y + sign * h for y, h in zip(line.ys, half, strict=True) for sign in (-1, 1)]


def nice_step(span: float) -> float:
    """A round distance between marks: 1, 2 or 5 times a power of ten, four to eight of them in `span`.

    >>> nice_step(0.4), nice_step(9000.0)
    (0.1, 2000.0)
    """
    rough = (span or 1.0) / 5
    power: float = 10.0 ** math.floor(math.log10(rough))
    factor = next((f for f in (1, 2, 5) if rough <= f * power * 1.0001), 10)
    return float(f"{factor * power:.6g}")


def _grid(frame: _Frame, percent: bool) -> str:
    out = []
    for k in range(round((frame.high_y - frame.low_y) / frame.step) + 1):
        value = frame.low_y + k * frame.step
        y = frame.y(value)
        name = f"{100 * value:.4g} %" if percent else f"{value:.4g}"
        out.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{name}</text>'
        )
    return "".join(out)


def _x_marks(frame: _Frame) -> str:
    values: Sequence[float] = frame.ticks or _round_values(frame.low_x, frame.high_x)
    return "".join(
        f'<text x="{frame.x(v):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{v:g}</text>'
        for v in values
    )


def _round_values(low: float, high: float) -> list[float]:
    step = nice_step(high - low)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _line(line: Curve, place: int, frame: _Frame) -> str:
    points = [(frame.x(x), frame.y(y)) for x, y in zip(line.xs, line.ys, strict=True)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points[:40])
    return f'<g class="k{place % _COLOURS}">{_band(line, frame)}<polyline class="curve" points="{path}"/>{dots}</g>'


def _band(line: Curve, frame: _Frame) -> str:
    if line.half is None:
        return ""
    rows = list(zip(line.xs, line.ys, line.half, strict=True))
    upper = [(frame.x(x), frame.y(y + h)) for x, y, h in rows]
    lower = [(frame.x(x), frame.y(y - h)) for x, y, h in reversed(rows)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*upper, *lower])
    return f'<polygon class="band" points="{path}"/>'


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix: rows are the true class, columns the answer, each row in per cent of its sum.

    >>> "100" in confusion(["a", "b"], [[3, 0], [1, 1]])
    True
    """
    head = "".join(f"<th>{escape(label)}</th>" for label in labels)
    rows = "".join(
        f"<tr><th>{escape(label)}</th>{''.join(map(_cell, _shares(row)))}</tr>"
        for label, row in zip(labels, counts, strict=True)
    )
    return f'<div class="wide k0"><table class="confusion"><tr><th></th>{head}</tr>{rows}</table></div>'


def _shares(row: Sequence[int]) -> list[float]:
    total = sum(row) or 1
    return [count / total for count in row]


def _cell(share: float) -> str:
    strong = ' class="strong"' if share > 0.55 else ""
    text = f"{100 * share:.0f}" if share >= 0.005 else ""
    return f'<td{strong} style="--share:{share:.3f}">{text}</td>'
