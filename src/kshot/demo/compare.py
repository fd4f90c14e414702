"""Act 2: real handwriting, against what works without meta-training, on the very same tasks."""

from __future__ import annotations

from collections.abc import Callable

from kshot.data import Episodes, Pool
from kshot.demo.plan import Plan
from kshot.evaluation import Row, Sweep, against_shots, evaluate
from kshot.evaluation.baselines import from_scratch, logistic_regression, nearest_mean
from kshot.learners import Learner
from kshot.tasks import NWayKShot

OURS = "kshot"
SLOW = "fine-tuning from scratch"
SHOTS = (1, 5)
CURVE = (1, 2, 3, 5, 10)
WAYS = 5


def contestants(base: Learner, seed: int) -> dict[str, Learner]:
    """The meta-trained base and the three baselines, by name."""
    return {
        OURS: base,
        "raw pixels, nearest mean": nearest_mean(),
        "raw pixels, logistic regression": logistic_regression(),
        SLOW: from_scratch(seed=seed),
    }


def compare(
    base: Learner, pools: list[Pool], chosen: Plan, seed: int, on_row: Callable[[Row], None]
) -> list[Row]:
    """5-way tasks with 1 and 5 examples a class, every learner on the same tasks of every pool.

    The slow baseline answers the first of these tasks only; its row says how many.
    """
    learners = contestants(base, seed)
    rows = []
    for pool in pools:
        for shots in SHOTS:
            source = Episodes(pool, NWayKShot(WAYS, shots, 10))
            for name, learner in learners.items():
                rows.append(_row(name, learner, source, chosen, seed))
                on_row(rows[-1])
    return rows


def _row(name: str, learner: Learner, source: Episodes, chosen: Plan, seed: int) -> Row:
    slow = name == SLOW
    tasks = chosen.slow_tasks if slow else chosen.tasks
    report = evaluate(learner, source, tasks=tasks, seed=seed, timed=5 if slow else 20)
    return Row(name, source.pool.name, report, own=name == OURS)


def shots_of(row: Row) -> str:
    """How many examples of each class a row's tasks show: "1" of "digits 5-way 1-shot, ..."."""
    return row.report.protocol.split("-way ")[1].split("-shot")[0]


def sweeps(base: Learner, pool: Pool, chosen: Plan, seed: int) -> list[Sweep]:
    """Accuracy against examples per class, for all but the slow baseline."""
    source = Episodes(pool, NWayKShot(WAYS, 1, 10))
    return [
        against_shots(learner, source, shots=CURVE, tasks=chosen.tasks // 2, seed=seed, name=name)
        for name, learner in contestants(base, seed).items()
        if name != SLOW
    ]


KEYS = {
    OURS: "kshot",
    "raw pixels, nearest mean": "nearest_mean",
    "raw pixels, logistic regression": "logistic_regression",
    SLOW: "fine_tuning",
}


def figures(rows: list[Row]) -> dict[str, float]:
    """Flat figures, accuracies in per cent: the first data at one shot under plain names, all under long ones."""
    out: dict[str, float] = {}
    for row in rows:
        out.setdefault(KEYS[row.learner], round(100 * row.report.mean, 2))
    for row in rows:
        name, i = KEYS[row.learner], row.report.interval
        key = f"{name}_{row.data.lower()}_{WAYS}w{shots_of(row)}s"
        out[key] = round(100 * i.mean, 2)
        out[f"{key}_half"] = round(100 * i.half, 2)
        out[f"{key}_tasks"] = i.count
        out[f"{key}_ms"] = round(row.report.adapt_ms, 3)
    return out
