"""SGD's dialogues as a service desk: canned replies out of past dialogues, and a stream of new ones.

A canned reply is a group of system turns that say the same: the same slots (their values are replaced by names), and
sentence features whose cosine with the first of the group is at least `ALIKE`. A turn is answerable where the true next
turn belongs to a canned reply; that group is then the one right answer.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.rows import data_folder
from kshot.text import TextEncoder
from kshot.text.answer_bank import unit
from kshot.text.entries import Entry

ALIKE = 0.8
LEAST = 3
"""System turns of the history that make a canned reply."""
MOST = 5
"""Past messages that stand beside a canned reply as its questions."""


@dataclass(frozen=True)
class Turn:
    """A message, what the system truly said next, and the dialogue it is from."""

    message: str
    reply: str
    dialogue: str

    @property
    def slots(self) -> frozenset[str]:
        """Names of the slots in the reply."""
        return frozenset(re.findall(r"\[(\w+)\]", self.reply))


@dataclass(frozen=True)
class Desk:
    """Entries out of the history; of the stream the turns, and the place of each one's right entry (-1: none)."""

    entries: list[Entry]
    stream: list[Turn]
    right: np.ndarray


def dialogues(first: int, last: int) -> list[list[Turn]]:
    """Dialogues by the order of a hash of their names, which has nothing to do with what is said."""
    with gzip.open(data_folder() / "sgd" / "sgd_dev_dialogues.jsonl.gz", "rt", encoding="utf-8") as lines:
        found = sorted(map(json.loads, lines), key=lambda d: hashlib.sha256(d["id"].encode()).hexdigest())
    return [_turns(dialogue) for dialogue in found[first:last]]


def _turns(dialogue: dict[str, Any]) -> list[Turn]:
    found, before, asked = [], "", ""
    for turn in dialogue["turns"]:
        if turn["who"] == "U":
            asked = turn["text"]
        else:
            found.append(Turn(f"{before} {asked}".strip(), _without_values(turn), dialogue["id"]))
            before = turn["text"]
    return found


def _without_values(turn: dict[str, Any]) -> str:
    text: str = turn["text"]
    for slot, start, end in sorted(turn.get("spans", []), key=lambda span: -span[1]):
        text = f"{text[:start]}[{slot}]{text[end:]}"
    return text


def desk(encoder: TextEncoder, parts: list[list[Turn]]) -> Desk:
    """The first third of the dialogues is the history, the rest the stream."""
    cut = len(parts) // 3
    past = [turn for dialogue in parts[:cut] for turn in dialogue]
    stream = [turn for dialogue in parts[cut:] for turn in dialogue]
    texts = sorted({turn.reply for turn in past + stream})
    features = dict(zip(texts, unit(encoder, texts), strict=True))
    leaders: list[Turn] = []
    for reply, _ in Counter(turn.reply for turn in past).most_common():
        turn = Turn("", reply, "")
        if _group(turn, leaders, features) < 0:
            leaders.append(turn)
    own = np.array([_group(turn, leaders, features) for turn in past])
    kept = [place for place in range(len(leaders)) if (own == place).sum() >= LEAST]
    entries = []
    for place in kept:
        messages = dict.fromkeys(past[n].message for n in np.flatnonzero(own == place))
        entries.append(Entry(f"r{place}", leaders[place].reply, tuple(messages)[:MOST]))
    chosen = [leaders[place] for place in kept]
    return Desk(entries, stream, np.array([_group(turn, chosen, features) for turn in stream]))


def _group(turn: Turn, leaders: list[Turn], features: dict[str, np.ndarray]) -> int:
    """Place of the nearest leader that says the same, -1: none."""
    like = [place for place, leader in enumerate(leaders) if leader.slots == turn.slots]
    if not like:
        return -1
    close = np.array([features[leaders[place].reply] @ features[turn.reply] for place in like])
    return like[int(close.argmax())] if close.max() >= ALIKE else -1
