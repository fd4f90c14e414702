"""The official one-shot runs of Omniglot: error in 20 runs of 20-way one-shot within an alphabet.

python -m benchmarks.one_shot_runs                    modified Hausdorff distance: 38.8 %, a check of the loader
python -m benchmarks.one_shot_runs --learner PATH     a saved learner, by learner.adapt and task.predict
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import kshot
from benchmarks.rows import append, data_folder
from kshot.evaluation.report import Interval
from kshot.vision import OneShotRuns, hausdorff
from kshot.vision.one_shot_runs import Answer


def main() -> None:
    """Measure one method on the runs and write its row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--learner",
        type=Path,
        default=None,
        help="a .kshot file with a learner that has not seen the evaluation alphabets",
    )
    parser.add_argument("--name", default=None, help="what the row calls it")
    options = parser.parse_args()
    start = time.process_time()
    name, regime, answer = method(options.learner)
    runs = OneShotRuns(data_folder() / "omniglot")
    found = Interval.of([100 * error for error in runs.errors(answer)])
    print(
        f"{name}: {found.mean:.2f} % error, 95 % interval {found.low:.2f} .. {found.high:.2f}, {len(runs)} runs"
    )
    append(
        "one_shot_runs",
        what=options.name or name,
        data="omniglot all_runs, within alphabet",
        protocol="20w1s, official runs, error in %",
        regime=regime,
        value=found.mean,
        low=found.low,
        high=found.high,
        n_tasks=len(runs),
        seeds=[],
        cpu_seconds=round(time.process_time() - start, 1),
    )


def method(path: Path | None) -> tuple[str, str, Answer]:
    """Name, regime and how it answers."""
    if path is None:
        return "modified Hausdorff distance", "inductive", hausdorff
    learner = kshot.load(path)
    if not isinstance(learner, kshot.Learner):
        sys.exit(f"{path} holds an adapted task; give a learner")
    return learner.kind, learner.regime, lambda support, images: learner.adapt(support).predict(images).labels


if __name__ == "__main__":
    main()
