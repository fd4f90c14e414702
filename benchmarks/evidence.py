"""Evidence, removal and retuning: how exact, how fast, what they bring.

python -m benchmarks.evidence time        explain, add and remove in processor time, beside scikit-learn fitted again
python -m benchmarks.evidence exact       contributions against really adapting without each example, in float64
python -m benchmarks.evidence retune      accuracy and log-loss on new inputs before and after retuning
python -m benchmarks.evidence influence   rank correlation of influence and leave-one-out for gradient learners
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression

import kshot
from benchmarks.rows import append, data_folder
from benchmarks.six_sets import features, glyphs
from kshot.data import Episodes, Pool
from kshot.explanation.influence import influences, rank_correlation
from kshot.learners import Adapted, ClosedForm, Learner, fine_tuning, maml
from kshot.seeds import generator
from kshot.tasks import NWayKShot

HEADS = ("prototype", "ridge", "kernel_ridge", "lda")
REPEATS = 7
_UNIT = 20.0
"""Text features have length 1; heads were made for features of a trained network."""


def spent(call: Callable[[], Any], repeats: int = REPEATS) -> list[float]:
    """Processor milliseconds of each of several calls, after one to warm up."""
    call()
    out = []
    for _ in range(repeats):
        start = time.thread_time()
        call()
        out.append(1000 * (time.thread_time() - start))
    return out


def mean_interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and its 95 % interval."""
    middle = statistics.fmean(values)
    half = 1.96 * statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return middle, middle - half, middle + half


def spread(values: list[float], scale: float = 1.0) -> dict[str, float]:
    """Median with the fastest and slowest of the repeats."""
    ordered = sorted(scale * value for value in values)
    return {"value": statistics.median(ordered), "low": ordered[0], "high": ordered[-1]}


def clinc(ways: int, shots: int, seed: int = 0) -> tuple[torch.Tensor, list[str], torch.Tensor]:
    """Support features, labels and queries of one CLINC150 task, 384 features."""
    source = Episodes(features("clinc150"), NWayKShot(ways, shots, 5))
    task = source.sample(generator(seed, "evidence"))
    assert task.support is not None
    assert task.query is not None
    return _UNIT * task.support.inputs, [str(t) for t in task.support.targets], _UNIT * task.query.inputs


def closed(head: str, width: int, double: bool = False) -> Learner:
    """A closed-form head on features as they are."""
    learner = ClosedForm(kshot.encoders.identity(width), head).eval()
    return learner.double() if double else learner


def time_rows() -> None:
    """Explaining 64 queries at once, and adding and removing one example."""
    x, y, queries = clinc(50, 10)
    queries = queries[:64]
    common = {"data": "clinc150, n-gram features", "regime": "inductive", "n_tasks": 1, "seeds": [0]}
    peers = refitted(x, y, queries)
    for head in HEADS:
        start = time.process_time()
        task = closed(head, x.shape[1]).adapt(x, y)
        told = spread(spent(lambda task=task: task.explain_many(queries)), 1 / len(queries))
        ratios = {f"times_faster_than_{name}": value / told["value"] for name, value in peers.items()}
        row = {
            "what": f"explain, {head}",
            "protocol": "50w10s, 384 features, 64 queries at once",
            "unit": "ms per query",
        }
        save({**common, **row, **told, **ratios, **{f"{k}_ms": v for k, v in peers.items()}}, start)
    for count, ways, shots in ((100, 20, 5), (770, 77, 10)):
        x, y, queries = clinc(ways, shots)
        peer = statistics.median(spent(lambda x=x, y=y: KernelRidge(kernel="rbf").fit(x.numpy(), one_hot(y))))
        for head in HEADS:
            start = time.process_time()
            task = closed(head, x.shape[1]).adapt(x, y)
            for what, call in (
                ("add", lambda task=task, q=queries, y=y: task.add(q[:1], y[:1])),
                ("remove", lambda task=task: task.remove("e3")),
            ):
                found = spread(spent(call))
                row = {
                    "what": f"{what}, {head}",
                    "protocol": f"{ways}w{shots}s, {count} examples, 384 features",
                }
                times = {"sklearn_kernel_ridge_fit_ms": peer, "times_sklearn_fit": found["value"] / peer}
                save({**common, **row, "unit": "ms", **found, **times}, start)


def refitted(x: torch.Tensor, y: list[str], queries: torch.Tensor, fits: int = 10) -> dict[str, float]:
    """Processor milliseconds per query of scikit-learn fitted again without each example (`fits` timed, scaled)."""
    a, q, out = x.numpy(), queries.numpy(), {}
    for name, make, goal in (
        ("sklearn_kernel_ridge", lambda: KernelRidge(kernel="rbf", alpha=0.1), one_hot(y)),
        ("sklearn_logistic_regression", lambda: LogisticRegression(max_iter=200), np.array(y)),
    ):
        start = time.thread_time()
        for place in range(fits):
            keep = np.arange(len(a)) != place
            make().fit(a[keep], goal[keep]).predict(q)
        out[name] = 1000 * (time.thread_time() - start) * len(a) / fits / len(q)
    return out


def one_hot(labels: list[str]) -> np.ndarray:
    """[n, classes]."""
    names = sorted(set(labels))
    return np.eye(len(names))[[names.index(label) for label in labels]]


def exact_rows() -> None:
    """The largest difference between told and real contributions, in float64."""
    x, y, queries = (part.double() if isinstance(part, torch.Tensor) else part for part in clinc(50, 10))
    for head in HEADS:
        start = time.process_time()
        task = closed(head, x.shape[1], double=True).adapt(x, y)
        told = task.explain_many(queries[:20])
        gaps = [gap(task, told, queries[:20], place) for place in range(0, len(task), 5)]
        save(
            {
                "what": f"largest error of a contribution, {head}", "data": "clinc150, n-gram features",
                "protocol": f"50w10s, 384 features, {len(gaps)} examples left out, 20 queries", "regime": "inductive",
                "value": max(gaps), "low": min(gaps), "high": max(gaps), "n_tasks": 1, "seeds": [0],
                "unit": "probability",
            },
            start,
        )  # fmt: skip


def gap(task: Adapted, told: list[Any], queries: torch.Tensor, place: int) -> float:
    """The largest error over queries of the contribution of one example."""
    keep = [k for k in range(len(task)) if k != place]
    rest = task.learner.adapt(task.inputs[keep], [task.targets[k] for k in keep]).predict(queries)
    errors = []
    for q, one in enumerate(told):
        item = next(e for e in one.evidence if e.id == task.ids[place])
        left = rest.probabilities[q, rest.classes.index(one.label)]
        errors.append(abs(item.contribution - (one.probability - left)))
    return float(max(errors))


def retune_rows(tasks: int) -> None:
    """New inputs of the same tasks, answered at the base's scalars and at the task's own."""
    base = glyphs()
    for name in ("omniglot", "kuzushiji_kanji", "mnist_test", "cifar10_jpg", "clinc150", "banking77"):
        pool = features(name)
        for shots in (5, 10):
            start = time.process_time()
            ways = min(20, len([m for m in pool.members if len(m) >= shots + 5]))
            source = Episodes(pool, NWayKShot(ways, shots, 5))
            pairs = [retuned(source.sample(generator(k, "retune")), base, pool) for k in range(tasks)]
            for figure, index in (("accuracy points", 0), ("log-loss", 2)):
                before = [pair[index] for pair in pairs]
                after = [pair[index + 1] for pair in pairs]
                value, low, high = mean_interval([b - a for a, b in zip(before, after, strict=True)])
                save(
                    {
                        "what": f"retune, change of {figure}", "data": name, "protocol": f"{ways}w{shots}s, kernel_ridge",
                        "regime": "inductive", "value": value, "low": low, "high": high, "n_tasks": tasks, "seeds": [0],
                        "before": statistics.fmean(before), "after": statistics.fmean(after), "unit": figure,
                        "changed": statistics.fmean([pair[4] for pair in pairs]),
                    },
                    start,
                )  # fmt: skip


def retuned(drawn: Any, base: Learner, pool: Pool) -> tuple[float, float, float, float, float]:
    """Accuracy before, after, log-loss before, after, and whether scalars changed, of one task."""
    width = pool.inputs.shape[1]
    learner = closed("kernel_ridge", width)
    scale = 1.0 if width == base.encoder.features else _UNIT
    task = learner.adapt(scale * drawn.support.inputs, list(drawn.support.targets))
    told = task.retune()
    out: list[float] = []
    labels = list(drawn.query.targets)
    answers = [one.predict(scale * drawn.query.inputs) for one in (task, told.task)]
    for found in answers:
        out.append(100 * statistics.fmean([float(a == b) for a, b in zip(found.labels, labels, strict=True)]))
    for found in answers:
        right = [found.probabilities[i, found.classes.index(label)] for i, label in enumerate(labels)]
        out.append(float(-np.log(np.clip(right, 1e-12, None)).mean()))
    return out[0], out[1], out[2], out[3], float(told.changed)


def influence_rows(tasks: int, queries: int) -> None:
    """Spearman's correlation per query, on 5-way 5-shot tasks of unseen Omniglot characters."""
    splits = kshot.vision.omniglot(data_folder() / "omniglot", ways=5, shots=5)
    torch.manual_seed(0)
    small = kshot.fit(
        maml(kshot.encoders.conv4(16)),
        splits.train.using(ways=5, shots=1),
        settings=kshot.Settings(steps=600, meta_batch=4, seed=0),
    ).learner
    learners = {
        "MAML, conv4-16, 600 meta-steps, 1 inner step": small,
        "fine-tuning of glyphs, 10 steps of 0.05": fine_tuning(copy.deepcopy(glyphs().encoder), steps=10),
    }
    for name, learner in learners.items():
        start = time.process_time()
        found = [one for k in range(tasks) for one in correlated(learner, splits.test, k, queries)]
        rhos = [statistics.fmean(found[k : k + queries]) for k in range(0, len(found), queries)]
        value, low, high = mean_interval(rhos)
        save(
            {
                "what": f"influence, {name}", "data": "omniglot 1028/172/423 with rotations",
                "protocol": f"5w5s, {queries} queries a task", "regime": learner.regime, "value": value, "low": low,
                "high": high, "n_tasks": tasks, "seeds": [0], "unit": "rank correlation with leave-one-out",
                "share_evidence": statistics.fmean([float(rho >= 0.7) for rho in found]),
            },
            start,
        )  # fmt: skip


def correlated(learner: Learner, source: Episodes, seed: int, queries: int) -> list[float]:
    """Rank correlation for each of the first queries of one task."""
    drawn = source.sample(generator(seed, "influence"))
    assert drawn.support is not None
    assert drawn.query is not None
    task = learner.adapt(drawn.support)
    shown = drawn.query.inputs[:: max(len(drawn.query) // queries, 1)][:queries]
    embedded = task.embed(task.learner.encoder.read(shown))
    out = []
    for row, told in zip(embedded, task.explain_many(shown), strict=True):
        real = {e.id: e.contribution for e in told.evidence}
        guess = influences(task, row.unsqueeze(0), task.space.labels.index(told.label))  # type: ignore[attr-defined]
        out.append(rank_correlation(guess, np.array([real[name] for name in task.ids])))
    return out


def save(row: dict[str, Any], start: float) -> None:
    """Append and show a row."""
    row = {**row, "cpu_seconds": round(time.process_time() - start, 1)}
    append("evidence", **row)
    print(
        f"{row['what']}: {row['value']:.4g} [{row['low']:.4g}, {row['high']:.4g}] {row.get('unit', '')}",
        flush=True,
    )


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("time", "exact", "retune", "influence"))
    parser.add_argument("--tasks", type=int, default=None, help="default 100 for retune, 20 for influence")
    parser.add_argument("--queries", type=int, default=3, help="queries a task for influence")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.part == "time":
        time_rows()
    elif options.part == "exact":
        exact_rows()
    elif options.part == "retune":
        retune_rows(options.tasks or 100)
    else:
        influence_rows(options.tasks or 20, options.queries)


if __name__ == "__main__":
    main()
