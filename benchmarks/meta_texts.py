"""Meta-training on other intent sets: MiniLM's last two blocks, and kshot's small encoder from scratch.

    python -m benchmarks.meta_texts train BANKING77|CLINC150     a base for judging that set; it is trained on the others
    python -m benchmarks.meta_texts judge BANKING77|CLINC150     that base on the official files, beside the untrained one
    python -m benchmarks.meta_texts small                        the small encoder, trained without BANKING77, judged on it

Sets trained on are named in every row; the judged set is never among them. Steps and rate were set by the time there was,
not chosen by any score; `choose` compares them on validation messages.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch

import kshot
from benchmarks import intent_sets
from benchmarks.refusals import others
from benchmarks.rows import ROOT
from benchmarks.text import MINILM, SETS, intents_of, lines, record, right, thinned
from kshot.data import Episodes, Mixed
from kshot.tasks import NWayKShot
from kshot.text import TextClassifier

WEIGHTS = {"banking77": 3.0, "clinc150": 3.0, "snips": 0.5, "sgd": 1.0, "multidogo": 1.0}
STEPS, RATE = 60, 1e-3


def source(judged: str, ways: int, shots: int, queries: int) -> Mixed:
    """Tasks of the sets that are not judged."""
    parts, weights = [], []
    for name in others(judged):
        own = intent_sets.pool(name)
        parts.append(Episodes(own, NWayKShot(min(ways, len(own.classes)), shots, queries)))
        weights.append(WEIGHTS[name])
    return Mixed(parts, weights)


def train(judged: str, steps: int = STEPS, rate: float = RATE) -> TextClassifier:
    """The base for a judged set; resumed where it was broken off."""
    torch.manual_seed(0)
    learner = kshot.text.opened(kshot.text.classifier(MINILM))
    folder = ROOT / "runs" / f"meta-texts-{judged}-{steps}-{rate:g}"
    run = kshot.fit(learner, source(judged, 24, 2, 2), steps=steps, rate=rate, warmup=5, folder=folder,
                    validate_every=steps, validation_tasks=5)  # fmt: skip
    return kshot.text.closed(run.learner)


def valid(judged: str) -> tuple[list[str], list[str]]:
    """What choices are made on: the valid file, or the validation split."""
    if judged == "banking77":
        rows = [r for r in lines("banking77/banking77_fewshot_splits.jsonl.gz") if r["split"] == "valid"]
    else:
        rows = [r for r in lines("clinc150/clinc150_full.jsonl.gz") if r["split"] == "val" and not r["oos"]]
    return thinned([r["text"] for r in rows], [r["intent"] for r in rows], each=8)


def choose(judged: str, steps: int, rate: float) -> None:
    """Accuracy on validation messages: as it was, meta-trained, and both tuned."""
    texts, goal = valid(judged)
    x, y = intents_of(judged, "train_5")
    for name, base in (("plain", kshot.text.classifier(MINILM)), ("meta", train(judged, steps, rate))):
        named = base.adapt(x, y, names=True)
        print(judged, name, right(named.predict(texts).labels, goal).mean(), flush=True)
        tuned = kshot.text.tune(named, trial=False)
        print(judged, name, "tuned", right(tuned.task.predict(texts).labels, goal).mean(), flush=True)


def judge(judged: str) -> None:
    """Official files and test; paired with the untrained base."""
    started = time.process_time()
    base, plain = train(judged), kshot.text.classifier(MINILM)
    spent = time.process_time() - started
    texts, goal = intents_of(judged, "test")
    for shots in (5, 10):
        x, y = intents_of(judged, f"train_{shots}")
        shared: dict[str, Any] = {
            "protocol": f"{shots}-shot, official files",
            "n_tasks": 1,
            "seeds": [0],
            "encoder": MINILM,
            "meta_trained_on": [intent_sets.NAMES[name] for name in others(judged)],
            "meta_seconds": round(spent, 1),
        }
        frozen = right(plain.adapt(x, y).predict(texts).labels, goal)
        named = base.adapt(x, y, names=True)
        own = right(named.predict(texts).labels, goal)
        record("meta-trained MiniLM with class names, kshot", SETS[judged], own, **shared)
        record("meta-trained MiniLM minus frozen", SETS[judged], own - frozen, paired=True, **shared)
        if shots != 5:
            continue
        found = kshot.text.tune(named, trial=False)
        own = right(found.task.predict(texts).labels, goal)
        more = {**shared, "cpu_seconds": round(found.cpu_seconds, 1)}
        record("meta-trained and tuned MiniLM with class names, kshot", SETS[judged], own, **more)
        record("meta-trained and tuned MiniLM minus frozen", SETS[judged], own - frozen, paired=True, **more)


def small(steps: int = 3000) -> None:
    """kshot's small encoder, from nothing, on four intent sets; BANKING77 beside hashed n-grams and a linear probe."""
    torch.manual_seed(0)
    learner = TextClassifier(kshot.text.encoder("small"))
    folder = ROOT / "runs" / f"small-texts-{steps}"
    started = time.process_time()
    run = kshot.fit(learner, source("banking77", 20, 3, 3), steps=steps, rate=2e-3, warmup=50, folder=folder,
                    average=0.99, validate_every=steps)  # fmt: skip
    spent = round(time.process_time() - started, 1)
    texts, goal = intents_of("banking77", "test")
    for shots in (5, 10):
        x, y = intents_of("banking77", f"train_{shots}")
        shared: dict[str, Any] = {
            "protocol": f"{shots}-shot, official files", "n_tasks": 1, "seeds": [0], "encoder": "small",
            "meta_trained_on": [intent_sets.NAMES[name] for name in others("banking77")], "cpu_seconds": spent,
        }  # fmt: skip
        hashed = right(kshot.text.classifier("hash:ngram").adapt(x, y).predict(texts).labels, goal)
        raw = right(
            TextClassifier(kshot.text.encoder("small")).eval().adapt(x, y).predict(texts).labels, goal
        )
        own = right(run.learner.adapt(x, y).predict(texts).labels, goal)
        record("small encoder meta-trained, kshot", "BANKING77", own, **shared)
        record("small encoder minus itself untrained", "BANKING77", own - raw, paired=True, **shared)
        record("small encoder minus hashed n-grams", "BANKING77", own - hashed, paired=True, **shared)


if __name__ == "__main__":
    torch.set_num_threads(1)
    names = {title: name for name, title in SETS.items()}
    what, *rest = sys.argv[1:] or ["judge"]
    chosen = [names[word] for word in rest if word in names] or list(names.values())
    if what == "small":
        small()
    for one in chosen if what != "small" else ():
        if what == "train":
            train(one)
        elif what == "choose":
            choose(one, *[float(w) if "e" in w else int(w) for w in rest if w not in names])
        else:
            judge(one)
