"""The figures of the service desk: accuracy against baselines, refusal, milliseconds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from kshot.demo.service_data import DeskData
from kshot.text import Router, TextEncoder, router
from kshot.text.bm25 import Bm25


class Score(NamedTuple):
    """Accuracy in percent with half its 95 % interval, and milliseconds to learn from cached features."""

    name: str
    accuracy: float
    half: float
    adapt_ms: float


class Refusals(NamedTuple):
    """Shares in percent of messages that are passed on: of known intents, of intents that were left out of another
    desk (near), and of sentences about other things (far)."""

    known: float
    near: float
    far: float


def taught_router(data: DeskData, encoder: TextEncoder, intents: list[str] | None = None) -> Router:
    """A router of these intents, or of all."""
    wanted = data.intents if intents is None else intents
    found = router({name: [text for text, own in data.taught if own == name] for name in wanted}, encoder)
    return Router(found.task, data.answers, found.refused)


def scores(data: DeskData, encoder: TextEncoder, desk: Router, adapt_ms: float) -> list[Score]:
    """kshot and three baselines on the same sentences and the same features."""
    texts, labels = map(list, zip(*data.asked, strict=True))
    own = np.array(desk.task.predict(texts).labels) == np.array(labels)
    known, goal = map(list, zip(*data.taught, strict=True))
    x, q = encoder.encode(known).numpy(), encoder.encode(texts).numpy()
    rows = [_score("kshot", own, adapt_ms)]
    import_module("sklearn.linear_model")  # before anything is timed
    for name, answer in (
        ("logistic regression", lambda: _logistic(x, goal, q)),
        ("nearest mean", lambda: _nearest_mean(x, goal, q)),
        ("BM25, nearest sentence", lambda: _bm25(known, goal, texts)),
    ):
        found, ms = _timed(answer)
        rows.append(_score(name, np.array(found) == np.array(labels), ms))
    return rows


def refusals(data: DeskData, encoder: TextEncoder, desk: Router) -> Refusals:
    """What the desk passes on; near unknowns are asked of a desk that lacks every fourth intent."""
    missing = data.intents[::4]
    smaller = taught_router(data, encoder, [name for name in data.intents if name not in missing])
    near = [text for text, own in data.asked if own in missing]
    parts = ((desk, [text for text, _ in data.asked]), (smaller, near), (desk, data.strangers))
    return Refusals(*(_passed_on(gate, texts) for gate, texts in parts))


def _passed_on(gate: Router, texts: list[str]) -> float:
    return 100 * float(np.mean([routed.name is None for routed in gate.route_many(texts)]))


def _score(name: str, right: np.ndarray, ms: float) -> Score:
    mean = float(right.mean())
    return Score(name, 100 * mean, 196 * math.sqrt(mean * (1 - mean) / len(right)), ms)


def _timed(answer: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return answer(), 1000 * (time.perf_counter() - started)


def _logistic(x: np.ndarray, labels: list[str], q: np.ndarray) -> list[str]:
    from sklearn.linear_model import LogisticRegression

    # C = 30 is the best of those tried on BANKING77's validation file
    return list(LogisticRegression(C=30, max_iter=1000).fit(x, labels).predict(q))


def _nearest_mean(x: np.ndarray, labels: list[str], q: np.ndarray) -> list[str]:
    names = sorted(set(labels))
    means = np.stack([x[[label == name for label in labels]].mean(0) for name in names])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return [names[place] for place in (q @ means.T).argmax(1)]


def _bm25(known: list[str], labels: list[str], texts: list[str]) -> list[str]:
    return [labels[place] for place in Bm25.of(known).scores(texts).argmax(1)]
