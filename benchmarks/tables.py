"""Writes the tables of README.md and README.zh.md from the rows of results/*.jsonl.

python -m benchmarks.tables            write
python -m benchmarks.tables --check    only say whether the pages are up to date
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.rows import RESULTS, ROOT

Row = dict[str, Any]
PAGES = ("README.md", "README.zh.md")


def rows(file: str) -> list[Row]:
    """All rows of a file of results."""
    path = RESULTS / f"{file}.jsonl"
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def figure(row: Row) -> str:
    """Mean and half interval, in the row's own units; "diverges" where there is no finite mean."""
    if row["value"] is None:
        return "diverges"
    return f"{row['value']:.2f} ± {(row['high'] - row['low']) / 2:.2f}"


def omniglot() -> list[str]:
    """Learners by protocol."""
    lines = ["| learner | regime | 5w1s | 5w5s | 20w1s | 20w5s | CPU min |", "|---|---|---|---|---|---|---|"]
    names = dict.fromkeys(row["what"] for row in rows("omniglot"))
    for name in names:
        own = {row["protocol"]: row for row in rows("omniglot") if row["what"] == name}
        first = next(iter(own.values()))
        cells = [figure(own[p]) if p in own else "" for p in ("5w1s", "5w5s", "20w1s", "20w5s")]
        lines.append(
            f"| {name} | {first['regime']} | {' | '.join(cells)} | {first['cpu_seconds'] / 60:.0f} |"
        )
    return lines


def simple(file: str) -> Callable[[], list[str]]:
    """One line a row."""

    def table() -> list[str]:
        lines = ["| what | data | protocol | regime | value |", "|---|---|---|---|---|"]
        for r in rows(file):
            lines.append(f"| {r['what']} | {r['data']} | {r['protocol']} | {r['regime']} | {figure(r)} |")
        return lines

    return table


def sinusoid() -> list[str]:
    """Error by learner and number of inner steps; a learner that diverges there has no figure."""
    steps = sorted({row["steps"] for row in rows("sinusoid")})
    lines = [f"| learner | {' | '.join(f'{s} steps' for s in steps)} |", "|---|" + "---|" * len(steps)]
    for name in dict.fromkeys(row["what"] for row in rows("sinusoid")):
        own = {row["steps"]: row for row in rows("sinusoid") if row["what"] == name}
        cells = [figure(own[s]) if s in own else "" for s in steps]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


TABLES: dict[str, Callable[[], list[str]]] = {
    "omniglot": omniglot,
    "glyphs": simple("glyphs"),
    "sinusoid": sinusoid,
    "one_shot_runs": simple("one_shot_runs"),
}


def filled(text: str) -> str:
    """A page with its tables renewed, each between `<!-- table NAME -->` and `<!-- end -->`."""

    def replace(match: re.Match[str]) -> str:
        return "\n".join([f"<!-- table {match[1]} -->", *TABLES[match[1]](), "<!-- end -->"])

    return re.sub(r"<!-- table (\w+) -->.*?<!-- end -->", replace, text, flags=re.S)


def main() -> int:
    """Write or check the pages."""
    stale = []
    for name in PAGES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        if filled(text) != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(filled(text), encoding="utf-8")
    print(f"{'stale' if '--check' in sys.argv else 'written'}: {stale or 'nothing'}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
