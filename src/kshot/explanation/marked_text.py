"""Texts with what was found in them, marked: for pages and for terminals."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

_COLOURS = (0, 1, 2, 3, 5, 6)
"""Colours of a page that labels have, in turn; number 4 is for what is unknown."""
_MOST = 4000


def marked_html(
    text: str, spans: Sequence[Sequence[Any]], labels: Sequence[Any], unknown: Sequence[Sequence[Any]] = ()
) -> str:
    """A text with its spans marked and named, in one colour for each label; unknown ones have a dashed line.

    Args:
        spans, unknown: (start, end, label, ...), none overlapping. labels: all labels, which decide the colours.

    >>> marked_html("Ada wrote", [(0, 3, "person")], ["person"])
    '<p class="marked" dir="auto"><mark class="k0"><bdi>Ada</bdi> <small>person</small></mark> wrote</p>'
    """
    pieces = [(s, e, _mark(label, labels)) for s, e, label, *_ in spans]
    pieces += [(s, e, ('<mark class="unknown">', "unknown")) for s, e, *_ in unknown]
    out, at = [], 0
    for start, end, (tag, name) in sorted(pieces):
        if start > _MOST:
            break
        out.append(
            f"{escape(text[at:start])}{tag}<bdi>{escape(text[start:end])}</bdi> <small>{escape(name)}</small></mark>"
        )
        at = end
    rest = text[at:] if len(text) <= _MOST else text[at : max(at, _MOST)] + " …"
    return f'<p class="marked" dir="auto">{"".join(out)}{escape(rest)}</p>'


def _mark(label: Any, labels: Sequence[Any]) -> tuple[str, str]:
    place = list(labels).index(label) if label in labels else 0
    return f'<mark class="k{_COLOURS[place % len(_COLOURS)]}">', str(label)


def marked_line(text: str, spans: Sequence[Sequence[Any]], unknown: Sequence[Sequence[Any]] = ()) -> str:
    """A text with its spans in brackets, their labels behind a bar; unknown ones with a question mark.

    >>> marked_line("Ada wrote", [(0, 3, "person")])
    '[Ada|person] wrote'
    """
    pieces = [(s, e, str(label)) for s, e, label, *_ in spans] + [(s, e, "?") for s, e, *_ in unknown]
    out, at = [], 0
    for start, end, name in sorted(pieces):
        out.append(f"{text[at:start]}[{text[start:end]}|{name}]")
        at = end
    return "".join(out) + text[at:]
