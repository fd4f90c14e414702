"""Five intent sets as task sources: what is learned on some of them is judged on another.

BANKING77 and CLINC150 (training parts), SNIPS, SGD (each dialogue's message that opens a new intent), and MultiDoGO
(messages with one intent of its four domains; "contentonly" and "outofdomain" are no intents).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from benchmarks.text import Labelled, intents_of, lines, thinned
from kshot.data import Episodes, Mixed, Pool
from kshot.tasks import NWayKShot

NAMES = {
    "banking77": "BANKING77",
    "clinc150": "CLINC150",
    "snips": "SNIPS",
    "sgd": "SGD",
    "multidogo": "MultiDoGO",
}
_LEAST = 30
"""Examples of an intent at least."""


@cache
def labelled(name: str, each: int = 30) -> Labelled:
    """At most `each` different texts of every intent of a set's training part."""
    texts, labels = _all(name)
    first = dict(reversed(list(zip(texts, labels, strict=True))))
    texts, labels = list(first), list(first.values())
    counts = {label: labels.count(label) for label in set(labels)}
    kept = [place for place, label in enumerate(labels) if counts[label] >= _LEAST]
    return thinned([texts[p] for p in kept], [labels[p] for p in kept], each=each)


def _all(name: str) -> Labelled:
    if name in ("banking77", "clinc150"):
        return intents_of(name, "train")
    if name == "snips":
        rows = [r for r in lines("snips/snips_intents_slots.jsonl.gz") if r["split"] == "train"]
        return [r["text"] for r in rows], [r["intent"] for r in rows]
    if name == "sgd":
        return _opening_messages()
    rows = [r for r in lines("multidogo/multidogo_turns_4domains.jsonl.gz") if r["split"] == "train"]
    kept = [r for r in rows if r["intent"] not in ("contentonly", "outofdomain") and "|" not in r["intent"]]
    return [r["text"] for r in kept], [f"{r['domain']} {r['intent']}" for r in kept]


def _opening_messages() -> Labelled:
    texts, labels = [], []
    for dialogue in lines("sgd/sgd_dev_dialogues.jsonl.gz"):
        seen: set[str] = set()
        for turn in dialogue["turns"]:
            own = [i for i in turn.get("intents", []) if not i.endswith("/NONE")]
            if turn["who"] == "U" and len(own) == 1 and own[0] not in seen:
                texts.append(turn["text"])
                labels.append(own[0])
            seen.update(own)
    return texts, labels


@cache
def pool(name: str, each: int = 30) -> Pool:
    """A set as a pool of texts."""
    return Pool(*labelled(name, each), name)


def source(names: tuple[str, ...], ways: int, shots: int, queries: int = 5) -> Mixed:
    """Tasks of these sets, each task within one of them; a set with fewer intents gives all it has."""
    parts = [pool(name) for name in names]
    return Mixed([Episodes(p, NWayKShot(min(ways, len(p.classes)), shots, queries)) for p in parts])


def large(names: tuple[str, ...], ways: int) -> tuple[str, ...]:
    """Those of the sets that have so many intents."""
    return tuple(name for name in names if len(pool(name).classes) >= ways)


def sizes() -> dict[str, tuple[int, int]]:
    """Intents and texts of each set."""
    return {name: (len(pool(name).classes), int(np.sum(pool(name).sizes))) for name in NAMES}
