"""Draws docs/engine.svg: how many times as long as kshot each peer takes, from the rows of results/engine.jsonl.

python -m benchmarks.ratios
"""

from __future__ import annotations

from benchmarks.engine import PEAK
from benchmarks.rows import ROOT
from benchmarks.tables import rows


def main() -> None:
    """One line a case on the larger number of threads, a mark a peer with its interval; 1 is kshot."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "kshot"
    from matplotlib import pyplot

    own = [row for row in rows("engine") if row["low"] is not None and row["peer"] != PEAK]
    threads = max((row["protocol"] for row in own), key=lambda text: int(text.split()[0])).split()[0]
    own = [row for row in own if row["protocol"].split()[0] == threads]
    cases, peers = (list(dict.fromkeys(row[name] for row in own)) for name in ("what", "peer"))
    figure, axes = pyplot.subplots(figsize=(8.5, 0.42 * len(cases) + 1.4))
    for number, peer in enumerate(peers):
        here = [row for row in own if row["peer"] == peer]
        places = [cases.index(row["what"]) + 0.1 * (number - len(peers) / 2) for row in here]
        spans = [[row["value"] - row["low"] for row in here], [row["high"] - row["value"] for row in here]]
        axes.errorbar([row["value"] for row in here], places, xerr=spans, fmt="o", markersize=4, label=peer)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
    axes.set_yticks(range(len(cases)), cases, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"peer's time over kshot's, {threads} threads (right of the line kshot is faster)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "engine.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
