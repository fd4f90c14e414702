"""One self-contained HTML page: no script, no outside file, light and dark by the reader's own setting."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

STYLE = """
:root{color-scheme:light dark;--paper:#fbfaf8;--card:#ffffff;--ink:#1d1f24;--soft:#6a6f7a;--line:#e4e2dc;
--c0:#1f5fd0;--c1:#c2620a;--c2:#0b7f5f;--c3:#8a3fc0;--c4:#7b7f87;--c5:#b3306b;--c6:#6f6a10;--good:#0b7f5f;--bad:#b3372f}
@media (prefers-color-scheme:dark){:root{--paper:#14161a;--card:#1c1f25;--ink:#e8e6e1;--soft:#9aa0ab;--line:#30343c;
--c0:#79a8ff;--c1:#f2a356;--c2:#4fc7a1;--c3:#c797f2;--c4:#8d929b;--c5:#f28ab5;--c6:#cfc463;--good:#4fc7a1;--bad:#f08a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:880px;margin:0 auto;padding:2.5rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.25;margin:0 0 .5rem;letter-spacing:-.01em}
h2{font-size:1.2rem;margin:0 0 .35rem}
p{margin:.35rem 0 .9rem;max-width:68ch}
.lead{font-size:1.08rem;color:var(--soft);margin-bottom:1.75rem}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1.25rem 1.4rem;margin:0 0 1.1rem}
.note,figcaption{color:var(--soft);font-size:.88rem}
.wide{overflow-x:auto}.wide table:not(.confusion){min-width:30rem}.wide table.slim{min-width:0}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.92rem}
th{font-weight:600;color:var(--soft);text-align:left;font-size:.84rem}
th,td{padding:.42rem .7rem .42rem 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}
.n{text-align:right;white-space:nowrap}
tr.own td{font-weight:650}
tr.rule td{border-top:2px solid var(--soft)}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--soft);font:12px system-ui,-apple-system,"Segoe UI",sans-serif}
svg .grid{stroke:var(--line);stroke-width:1}
svg .axis{stroke:var(--soft);stroke-width:1}
.k0{--k:var(--c0)}.k1{--k:var(--c1)}.k2{--k:var(--c2)}.k3{--k:var(--c3)}.k4{--k:var(--c4)}.k5{--k:var(--c5)}.k6{--k:var(--c6)}
svg .curve{fill:none;stroke:var(--k);stroke-width:2.25;stroke-linejoin:round;stroke-linecap:round}
svg .band{fill:var(--k);opacity:.15}
svg .dot{fill:var(--k)}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;font-size:.86rem;color:var(--soft);margin:.15rem 0 .5rem}
.legend i{display:inline-block;width:.85rem;height:.2rem;border-radius:2px;background:var(--k);vertical-align:.22rem;margin-right:.4rem}
.confusion{width:auto;font-size:.85rem}
.confusion td,.confusion th{border:0;padding:0;text-align:center;min-width:2.2rem;height:2.2rem;vertical-align:middle}
.confusion td{background:color-mix(in srgb,var(--k) calc(var(--share)*88%),transparent);border-radius:4px}
.confusion td.strong{color:var(--card)}
.pictures{display:flex;flex-wrap:wrap;gap:.8rem;margin:.5rem 0 .25rem}
.sheet{display:grid;align-items:start;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:.8rem;margin:.6rem 0}
.sheet svg{max-width:none!important}
svg.boxes{border-radius:8px}section>svg.boxes{margin-bottom:.6rem}
figure{margin:0}
figure img,.thumb{image-rendering:pixelated;border-radius:6px;border:1px solid var(--line);background:#000;display:block}
.evidence{display:grid;grid-template-columns:auto fit-content(60%) minmax(4rem,1fr) auto;gap:.4rem .8rem;align-items:center;font-size:.92rem}
.evidence .track{height:.75rem;position:relative;border-left:1px solid var(--line)}
.evidence .fill{position:absolute;top:0;bottom:0;left:0;border-radius:0 4px 4px 0;background:var(--good);width:calc(var(--share)*100%)}
.evidence .against .fill{background:var(--bad)}
pre{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:.75rem .9rem;overflow-x:auto;font-size:.86rem;line-height:1.55}
.marked{line-height:2.1;overflow-wrap:anywhere;white-space:pre-wrap}
mark{color:inherit;background:color-mix(in srgb,var(--k) 22%,transparent);border-bottom:2px solid var(--k);border-radius:4px 4px 0 0;padding:.1rem .25rem}
mark small{color:var(--soft);font-size:.72rem}mark.unknown{--k:var(--c4);background:none;border-bottom-style:dashed}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
footer{color:var(--soft);font-size:.85rem;margin-top:1.5rem}
@media (max-width:560px){main{padding:1.4rem .8rem 3rem}section{padding:1rem .95rem}h1{font-size:1.5rem}svg text{font-size:18px}
th,td{padding-right:.55rem}.confusion td,.confusion th{min-width:1.75rem;height:1.75rem}}
@media print{body{background:#fff}section{break-inside:avoid}}
"""


_SLIM = 4


def page(title: str, lead: str, sections: Sequence[str], footer: str = "") -> str:
    """A whole HTML document.

    Args:
        title, lead, footer: plain text. sections: HTML, as `section` makes it.

    >>> "<script" in page("Title", "Lead", [section("One", "text", "<p>body</p>")])
    False
    """
    body = "\n".join(sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style></head>\n"
        f'<body><main><h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n{body}\n'
        f"<footer>{escape(footer)}</footer></main></body></html>\n"
    )


def section(title: str, text: str, *parts: str) -> str:
    """A card: a heading, a paragraph of plain text (may be empty), and HTML parts."""
    paragraph = f"<p>{escape(text)}</p>" if text else ""
    return f"<section><h2>{escape(title)}</h2>{paragraph}{''.join(parts)}</section>"


def grid(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numeric: Sequence[int] = (),
    own: Sequence[int] = (),
    rules: Sequence[int] = (),
) -> str:
    """A table of plain-text cells.

    Args:
        numeric: columns set flush right. own: rows in bold. rules: rows with a thick line above.
    """

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if place in numeric else ''}>{escape(cell)}</{tag}>"
            for place, cell in enumerate(row)
        )

    def row_class(place: int) -> str:
        names = [name for name, places in (("own", own), ("rule", rules)) if place in places]
        return f' class="{" ".join(names)}"' if names else ""

    body = "".join(f"<tr{row_class(place)}>{cells('td', row)}</tr>" for place, row in enumerate(rows))
    slim = ' class="slim"' if len(head) <= _SLIM else ""  # few columns fit on a telephone
    return f'<div class="wide"><table{slim}><thead><tr>{cells("th", head)}</tr></thead><tbody>{body}</tbody></table></div>'


def code(text: str) -> str:
    """Commands or program text, as they are."""
    return f"<pre><code>{escape(text)}</code></pre>"


def note(text: str) -> str:
    """A small line of plain text."""
    return f'<p class="note">{escape(text)}</p>'
