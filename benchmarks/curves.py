"""Draws docs/omniglot_curves.svg: accuracy on validation tasks against CPU minutes, a line per learner.

python -m benchmarks.curves
"""

from __future__ import annotations

from benchmarks.rows import ROOT
from benchmarks.tables import rows


def main() -> None:
    """Draw one chart per protocol of the rows in results/omniglot_curves.jsonl."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "kshot"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.2, 4.0))
    for row in rows("omniglot_curves"):
        axes.plot(
            row["minutes"],
            row["accuracy"],
            marker=".",
            label=f"{row['what']} ({row['protocol']}, {row['regime']})",
        )
    axes.set_xlabel("CPU minutes of training")
    axes.set_ylabel("validation accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "omniglot_curves.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
