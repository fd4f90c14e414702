"""FewShotClassifier against scikit-learn's LogisticRegressionCV, on the same tasks and the same features.

python -m benchmarks.estimators baseline    accuracies of logistic regression on every task, kept in runs/estimators
python -m benchmarks.estimators compare     rows: paired differences per set and shots, and over all
python -m benchmarks.estimators speed       rows: milliseconds of fit, 20-way 5-shot on 384 features

Nine sets: the six of `benchmarks.six_sets`, and scikit-learn's wine, breast_cancer and digits as they are. Tasks have
5 classes, or all where there are fewer, and 10 queries a class. At one shot LogisticRegressionCV cannot cross-validate,
so LogisticRegression with its default C stands there. "scaled" has a StandardScaler in front.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import six_sets
from benchmarks.rows import ROOT, append
from kshot.data import Pool
from kshot.estimators import FewShotClassifier
from kshot.seeds import generator
from kshot.tasks import NWayKShot

SETS = (*six_sets.PICTURES, *six_sets.TEXTS, "wine", "breast_cancer", "digits")
SHOTS = (1, 5, 10)
QUERIES, WAYS = 10, 5
FOLDER = ROOT / "runs" / "estimators"
Array = np.ndarray


def pool(name: str) -> Pool:
    """Features [n, d] and labels of one of the nine sets, kept in runs/ once made."""
    if name in ("wine", "breast_cancer", "digits"):
        from sklearn import datasets

        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        return Pool(torch.from_numpy(x), y.tolist(), name)
    file = FOLDER / f"{name}.npz"
    if not file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        made = six_sets.features(name)
        np.savez(file, x=made.inputs.numpy(), y=made.targets.numpy())
    with np.load(file, allow_pickle=False) as found:
        return Pool(torch.from_numpy(found["x"]), found["y"].tolist(), name)


def tasks(name: str, shots: int, count: int) -> Iterator[tuple[Array, Array, Array, Array]]:
    """`count` tasks, the same for everybody: support [n, d], its labels [n], queries and their labels."""
    whole = pool(name)
    sampler = NWayKShot(min(WAYS, len(whole.classes)), shots, QUERIES)
    rng = generator(0, "estimators", name, shots)
    for _ in range(count):
        plan = sampler.draw(whole.sizes, rng)
        yield (*_part(whole, plan, "support"), *_part(whole, plan, "query"))


def _part(whole: Pool, plan: Any, part: str) -> tuple[Array, Array]:
    places = torch.cat([whole.members[draw.index][list(getattr(draw, part))] for draw in plan])
    return whole.inputs[places].numpy().astype(float), whole.targets[places].numpy()


def logistic(shots: int, scaled: bool) -> Any:
    """The baseline; five folds, or as many as there are shots."""
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = LogisticRegression()
    if shots > 1:
        model = LogisticRegressionCV(cv=min(5, shots))
    return make_pipeline(StandardScaler(), model) if scaled else model


def accuracies(make: Any, name: str, shots: int, count: int) -> list[float]:
    """Accuracy in % of a fresh model on each task."""
    found = []
    for x, y, queries, expected in tasks(name, shots, count):
        found.append(100 * float((make().fit(x, y).predict(queries) == expected).mean()))
    return found


def _kept(name: str, shots: int, scaled: bool) -> Path:
    return FOLDER / f"{name}-{shots}{'-scaled' if scaled else ''}.txt"


def baseline(count: int, names: list[str]) -> None:
    """Logistic regression is the slow part, so what it reached is kept."""
    for scaled in (False, True):
        for shots in SHOTS:
            for name in names:
                file = _kept(name, shots, scaled)
                if not file.exists():
                    reached = accuracies(lambda: logistic(shots, scaled), name, shots, count)  # noqa: B023
                    file.write_text("\n".join(map(str, reached)))
                    print(f"{file.stem} {statistics.fmean(reached):.2f}", flush=True)


def compare(count: int, names: list[str]) -> None:
    """A row per set and shots with the paired difference, and one over all cells."""
    everything: dict[bool, list[list[float]]] = {False: [], True: []}
    for shots in SHOTS:
        for name in names:
            ours = accuracies(FewShotClassifier, name, shots, count)
            for scaled, differences in everything.items():
                theirs = [float(line) for line in _kept(name, shots, scaled).read_text().splitlines()]
                differences.append([a - b for a, b in zip(ours, theirs, strict=True)])
                _row(name, shots, scaled, ours, theirs, differences[-1])
    for scaled, differences in everything.items():
        _overall(scaled, differences, names)


def _against(shots: int, scaled: bool) -> str:
    model = "LogisticRegression" if shots == 1 else "LogisticRegressionCV"
    return f"StandardScaler + {model}" if scaled else model


def _row(name: str, shots: int, scaled: bool, ours: list[float], theirs: list[float], d: list[float]) -> None:
    against, mean, half = _against(shots, scaled), *_interval(d)
    print(
        f"{name:16s}{shots:3d} shots: {statistics.fmean(ours):6.2f} against {statistics.fmean(theirs):6.2f} "
        f"({against}), difference {mean:+.2f} +- {half:.2f}",
        flush=True,
    )
    append(
        "estimators",
        what=f"FewShotClassifier minus {against}",
        data=name,
        protocol=f"{_ways(name)}w{shots}s",
        regime="inductive",
        value=mean,
        low=mean - half,
        high=mean + half,
        n_tasks=len(d),
        seeds=[0],
        cpu_seconds=round(time.process_time()),
        ours=statistics.fmean(ours),
        theirs=statistics.fmean(theirs),
    )


def _ways(name: str) -> int:
    return {"wine": 3, "breast_cancer": 2}.get(name, WAYS)


def _overall(scaled: bool, differences: list[list[float]], names: list[str]) -> None:
    """The mean over cells; its interval from the cells' own, for the tasks of different cells are independent."""
    means = [statistics.fmean(d) for d in differences]
    mean = statistics.fmean(means)
    half = 1.96 * sum(statistics.variance(d) / len(d) for d in differences) ** 0.5 / len(differences)
    against = _against(5, scaled)
    print(
        f"all: {mean:+.2f} +- {half:.2f} against {against}; {sum(m >= 0 for m in means)} of {len(means)} cells not below"
    )
    append(
        "estimators",
        what=f"FewShotClassifier minus {against}",
        data=f"mean of {len(names)} sets",
        protocol="1, 5 and 10 shots",
        regime="inductive",
        value=mean,
        low=mean - half,
        high=mean + half,
        n_tasks=sum(map(len, differences)),
        seeds=[0],
        cpu_seconds=round(time.process_time()),
        cells_not_below=sum(m >= 0 for m in means),
        cells=len(means),
    )


def _interval(values: list[float]) -> tuple[float, float]:
    return statistics.fmean(values), 1.96 * statistics.stdev(values) / len(values) ** 0.5


def speed(repeats: int = 60) -> None:
    """Milliseconds of one `fit`, ours and LogisticRegression's in turn, on text features of one 20-way 5-shot task.

    In CPU time, because a shared machine's clock also counts the others; the clock's least time is kept beside it.
    """
    whole = pool("clinc150")
    plan = NWayKShot(20, 5, 1).draw(whole.sizes, generator(0, "speed"))
    x, y = _part(whole, plan, "support")
    taken: dict[str, list[tuple[float, float]]] = {"FewShotClassifier": [], "LogisticRegression": []}
    for _ in range(repeats):
        for name, make in (
            ("FewShotClassifier", FewShotClassifier),
            ("LogisticRegression", lambda: logistic(1, False)),
        ):
            busy, clock = time.process_time(), time.perf_counter()
            make().fit(x, y)
            taken[name].append((1000 * (time.process_time() - busy), 1000 * (time.perf_counter() - clock)))
    ours, theirs = (np.array(taken[name]) for name in taken)
    ratios = ours[:, 0] / theirs[:, 0]
    low, high = np.quantile(ratios, [0.025, 0.975])
    print(
        f"fit, CPU milliseconds: median {np.median(ours[:, 0]):.1f}, least {ours[:, 0].min():.1f}; by the clock least "
        f"{ours[:, 1].min():.1f}; LogisticRegression median {np.median(theirs[:, 0]):.1f}, least {theirs[:, 0].min():.1f}, "
        f"clock {theirs[:, 1].min():.1f}; ratio {np.median(ratios):.2f} ({low:.2f} to {high:.2f})"
    )
    append(
        "estimators",
        what="CPU time of fit, FewShotClassifier / LogisticRegression",
        data="clinc150, 384 features",
        protocol="20w5s",
        regime="inductive",
        value=float(np.median(ratios)),
        low=float(low),
        high=float(high),
        n_tasks=repeats,
        seeds=[0],
        cpu_seconds=round(time.process_time()),
        ours_cpu_ms=float(np.median(ours[:, 0])),
        ours_least_cpu_ms=float(ours[:, 0].min()),
        ours_least_clock_ms=float(ours[:, 1].min()),
        theirs_cpu_ms=float(np.median(theirs[:, 0])),
    )


def main() -> None:
    """Baseline, comparison or speed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("baseline", "compare", "speed"))
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--tasks", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings(
        "ignore", module="sklearn"
    )  # raw tables do not converge in the default 100 iterations
    if options.what == "speed":
        speed()
    else:
        {"baseline": baseline, "compare": compare}[options.what](options.tasks, options.sets)


if __name__ == "__main__":
    main()
