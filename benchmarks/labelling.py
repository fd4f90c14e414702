"""What to label next: how many labels it takes to be as good as with labels chosen at random.

python -m benchmarks.labelling                    BANKING77, 10 seeds: rows, one per way to choose
python -m benchmarks.labelling --data clinc150    where the choices were made: 77 of its intents, 25 to 100 inputs each
python -m benchmarks.labelling stop               where `settled` as it comes says to stop, and what the rest would bring
python -m benchmarks.labelling picture            draws docs/labelling.svg from the rows

Features: hashed word and character n-grams, weighted by rarity in the pool and reduced to 256 numbers by an SVD
of the pool, which needs no label. Head: kernel ridge; its scalars and the temperature were chosen on CLINC150.
It starts with 77 labels drawn at random, so many classes have none; every batch adds 77. Accuracy is on the
test set.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import kshot
from benchmarks.rows import ROOT, append, data_folder
from benchmarks.tables import rows
from kshot.learners import Adapted, ClosedForm
from kshot.trust import next_to_label, settled

START, BATCH, BATCHES = 77, 77, 7
FEATURES, SCALE, WIDTH, GAIN, TEMPERATURE = 256, 1.5, 0.5, 3.0, 0.4


@dataclass(frozen=True)
class Texts:
    """Features of a pool and of a test set, with their labels."""

    name: str
    pool: Tensor
    labels: list[str]
    test: Tensor
    answers: list[str]


def banking77() -> Texts:
    """Its training texts are the pool, its test texts the test."""
    found = _lines("banking77/banking77.jsonl.gz")
    parts = [[(r["text"], r["intent"]) for r in found if r["split"] == part] for part in ("train", "test")]
    return embedded("BANKING77", *parts)


def clinc150(seed: int = 0) -> Texts:
    """77 of its intents with 25 to 100 texts each, so that classes are as unequal as in use."""
    found = [r for r in _lines("clinc150/clinc150_full.jsonl.gz") if not r["oos"]]
    rng = np.random.default_rng(seed)
    kept = set(rng.permutation(sorted({r["intent"] for r in found}))[:77])
    left = {intent: int(rng.integers(25, 101)) for intent in sorted(kept)}
    pool, test = [], []
    for r in found:
        if r["intent"] not in kept:
            continue
        if r["split"] != "train":
            test.append((r["text"], r["intent"]))
        elif left[r["intent"]]:
            left[r["intent"]] -= 1
            pool.append((r["text"], r["intent"]))
    return embedded("CLINC150, 77 intents", pool, test)


def _lines(file: str) -> list[dict[str, Any]]:
    with gzip.open(data_folder() / file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def embedded(name: str, pool: list[tuple[str, str]], test: list[tuple[str, str]]) -> Texts:
    """Texts as rows of length sqrt(256), so that distances do not depend on the number of features."""
    from scipy.sparse import hstack
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.preprocessing import normalize

    found = []
    for analyzer, grams in (("word", (1, 2)), ("char_wb", (3, 5))):
        hashing = HashingVectorizer(
            analyzer=analyzer,
            ngram_range=grams,
            n_features=2**16,
            alternate_sign=False,
            norm=None,
            binary=True,
        )
        counts = [hashing.transform([text for text, _ in part]) for part in (pool, test)]
        rarity = TfidfTransformer().fit(counts[0])
        found.append([rarity.transform(part) for part in counts])
    known, asked = (hstack(parts).tocsr() for parts in zip(*found, strict=True))
    reduce = TruncatedSVD(FEATURES, random_state=0).fit(known)
    x, y = (
        torch.from_numpy(math.sqrt(FEATURES) * normalize(reduce.transform(part))).float()
        for part in (known, asked)
    )
    return Texts(name, x, [label for _, label in pool], y, [label for _, label in test])


def base() -> ClosedForm:
    """Kernel ridge on the features as they are."""
    learner = ClosedForm(kshot.encoders.identity(FEATURES), "kernel_ridge").eval()
    head = learner.head
    with torch.no_grad():
        for scalar, value in ((head.log_scale, SCALE), (head.log_width, WIDTH), (head.log_gain, GAIN)):
            scalar.fill_(math.log(value))
    learner.temperature.fill_(TEMPERATURE)
    return learner


Choose = Callable[[Adapted, Tensor, int], list[int]]
"""A task, the unlabelled inputs, a seed: places of the next batch."""


def at_random(task: Adapted, pool: Tensor, seed: int) -> list[int]:
    """Without looking."""
    return np.random.default_rng([seed, len(task)]).choice(len(pool), BATCH, replace=False).tolist()


def least_margin(task: Adapted, pool: Tensor, seed: int) -> list[int]:
    """The textbook's: the smallest difference between the two best answers, whatever they have in common."""
    two = np.sort(task.predict(pool).probabilities, 1)[:, -2:]
    return np.argsort(two[:, 1] - two[:, 0], kind="stable")[:BATCH].tolist()


def ours(task: Adapted, pool: Tensor, seed: int) -> list[int]:
    """`kshot.trust.next_to_label` as it comes."""
    return next_to_label(task, pool, count=BATCH, seed=seed).places


WAYS: dict[str, Choose] = {
    "random": at_random,
    "least margin": least_margin,
    "next_to_label": ours,
}


@dataclass(frozen=True)
class Course:
    """One run: accuracy on the test set, classes with an example, flips after each batch, and where
    `settled(..., flips=0.1)` says to stop."""

    accuracy: list[float]
    classes: list[int]
    flips: tuple[float, ...]
    stopped: int | None


def course(texts: Texts, choose: Choose, seed: int) -> Course:
    """Label in batches, with labels looked up in the data."""
    chosen = np.random.default_rng(seed).permutation(len(texts.pool))[:START].tolist()
    task = base().adapt(texts.pool[chosen], [texts.labels[i] for i in chosen])
    tasks, stopped = [task], None
    for _ in range(BATCHES):
        rest = np.setdiff1d(np.arange(len(texts.pool)), chosen)
        new = rest[choose(task, texts.pool[rest], seed)].tolist()
        chosen += new
        task = task.add(texts.pool[new], [texts.labels[i] for i in new])
        tasks.append(task)
        if stopped is None and settled(tasks[-3:], texts.pool, flips=0.1).stop:
            stopped = len(chosen)
    flips = settled(tasks, texts.pool).flips
    return Course([right(t, texts) for t in tasks], [t.space.size for t in tasks], flips, stopped)


def labels_needed(accuracy: list[float], goal: float) -> float:
    """Labels at which a course first reaches the goal, between batches by interpolation; infinite if never."""
    for k in range(1, len(accuracy)):
        if accuracy[k] >= goal:
            low, high = accuracy[k - 1], accuracy[k]
            share = (goal - low) / (high - low) if high > low else 1.0
            return START + BATCH * (k - 1 + max(share, 0.0))
    return math.inf


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval over seeds, by Student's t."""
    from scipy.stats import t as student

    mean, half = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    quantile = float(student.ppf(0.975, len(values) - 1))
    return mean, mean - quantile * half, mean + quantile * half


def measure(texts: Texts, seeds: int) -> None:
    """All ways to choose, from the same first labels; two rows each."""
    final: list[float] = []
    for name, choose in WAYS.items():
        start = time.process_time()
        runs = [course(texts, choose, seed) for seed in range(seeds)]
        cpu = time.process_time() - start
        last = [run.accuracy[-1] for run in runs]
        final = final or last
        counts = [START + BATCH * k for k in range(BATCHES + 1)]
        mean, low, high = interval(last)
        note(
            texts, name, f"accuracy with {counts[-1]} labels", mean, low, high, seeds, cpu,
            labels=counts,
            curve=[round(float(v), 2) for v in np.mean([run.accuracy for run in runs], 0)],
            half=[round(interval([run.accuracy[k] for run in runs])[2] - float(np.mean([run.accuracy[k] for run in runs])), 2) for k in range(BATCHES + 1)],
            classes=[round(float(v), 1) for v in np.mean([run.classes for run in runs], 0)],
            flips=[round(float(v), 3) for v in np.mean([run.flips for run in runs], 0)],
            stopped=[run.stopped for run in runs],
        )  # fmt: skip
        shares = [
            100 * labels_needed(run.accuracy, goal) / counts[-1]
            for run, goal in zip(runs, final, strict=True)
        ]
        if name != "random":
            note(texts, name, "share of random's labels for its accuracy", *interval(shares), seeds, cpu)


def stop(texts: Texts, seeds: int) -> None:
    """Label until the answers have settled: a row with the labels spent, one with the accuracy then reached."""
    start = time.process_time()
    spent, reached = zip(*(until_settled(texts, seed) for seed in range(seeds)), strict=True)
    everything = right(base().adapt(texts.pool, texts.labels), texts)
    cpu = time.process_time() - start
    note(texts, "next_to_label until settled", "labels", *interval(list(spent)), seeds, cpu)
    more = {"with_all_labels": round(everything, 2), "pool": len(texts.pool)}
    note(texts, "next_to_label until settled", "accuracy", *interval(list(reached)), seeds, cpu, **more)


def until_settled(texts: Texts, seed: int) -> tuple[float, float]:
    """Labels spent, and accuracy on the test set."""
    chosen = np.random.default_rng(seed).permutation(len(texts.pool))[:START].tolist()
    tasks = [base().adapt(texts.pool[chosen], [texts.labels[i] for i in chosen])]
    while not settled(tasks[-3:], texts.pool).stop:
        rest = np.setdiff1d(np.arange(len(texts.pool)), chosen)
        new = rest[ours(tasks[-1], texts.pool[rest], seed)].tolist()
        chosen += new
        tasks.append(tasks[-1].add(texts.pool[new], [texts.labels[i] for i in new]))
    return float(len(chosen)), right(tasks[-1], texts)


def right(task: Adapted, texts: Texts) -> float:
    """Per cent of the test set."""
    given = task.predict(texts.test).labels
    return 100 * float(np.mean([a == b for a, b in zip(given, texts.answers, strict=True)]))


def note(
    texts: Texts,
    what: str,
    protocol: str,
    value: float,
    low: float,
    high: float,
    seeds: int,
    cpu: float,
    **more: Any,
) -> None:
    """One row, and a line on the screen."""
    print(f"{texts.name}, {what}: {protocol} {value:.2f} ({low:.2f} to {high:.2f}) {more or ''}", flush=True)
    append(
        "labelling",
        what=what,
        data=texts.name,
        protocol=f"from {START} random labels in batches of {BATCH}: {protocol}",
        regime="inductive",
        value=value,
        low=low,
        high=high,
        n_tasks=seeds,
        seeds=list(range(seeds)),
        cpu_seconds=round(cpu),
        **more,
    )


def picture() -> None:
    """Accuracy against labels, a line with its interval for each way to choose."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "kshot"
    from matplotlib import pyplot

    kept = {row["what"]: row for row in rows("labelling") if row["data"] == "BANKING77" and "curve" in row}
    figure, axes = pyplot.subplots(figsize=(7.2, 4.0))
    for name, row in kept.items():
        mean, half = np.array(row["curve"]), np.array(row["half"])
        (line,) = axes.plot(row["labels"], mean, marker="o", markersize=3.5, label=name)
        axes.fill_between(row["labels"], mean - half, mean + half, color=line.get_color(), alpha=0.18, lw=0)
    goal = kept["random"]["curve"][-1]
    axes.axhline(goal, color="0.5", lw=0.8, ls=":")
    axes.annotate(
        f"random with 616 labels: {goal:.1f} %",
        (77, goal),
        xytext=(0, 4),
        textcoords="offset points",
        fontsize=8,
    )
    axes.set_xlabel("labels (10 seeds, bands: 95 % interval)")
    axes.set_ylabel("accuracy on BANKING77's test set, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, loc="lower right")
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "labelling.svg", metadata={"Date": None})


def main() -> None:
    """Measure or draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("measure", "stop", "picture"), default="measure")
    parser.add_argument("--data", choices=("banking77", "clinc150"), default="banking77")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "picture":
        picture()
    else:
        texts = banking77() if options.data == "banking77" else clinc150()
        {"measure": measure, "stop": stop}[options.what](texts, options.seeds)


if __name__ == "__main__":
    main()
