"""Does unlabelled data help a task? The bundled base, tasks with distractors, with and without it on the same tasks.

python -m benchmarks.unlabelled                   test characters of Omniglot, and 514 kanji: two rows each
python -m benchmarks.unlabelled --validation      where the choices were made: validation characters, 200 other kanji

A task has 1 or 5 labelled examples a class, 10 unlabelled ones a class and as many of as many other classes
(distractors), and 5 queries a class. The gain is the difference of accuracies on the same task, in points.
"soft prototypes" is the paper's refinement beside a reject class, weights and all (Ren et al. 2018), for comparison.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import kshot
from benchmarks.rows import append, data_folder
from kshot.data import Pool
from kshot.evaluation import Interval, embed_all
from kshot.learners import Adapted, Learner
from kshot.learners.self_knowledge import Gauge
from kshot.seeds import generator
from kshot.trust import with_unlabelled

UNLABELLED, QUERIES = 10, 5
SIZES = ((5, 1), (5, 5), (20, 5))


@dataclass(frozen=True)
class Mixed:
    """Features of one task."""

    support: Tensor
    targets: list[int]
    unlabelled: Tensor
    query: Tensor
    answers: list[int]


def tasks(pool: Pool, ways: int, shots: int, count: int) -> Iterator[Mixed]:
    """Tasks whose unlabelled inputs are of their own classes and of as many others."""
    rng = generator(0, "unlabelled", ways, shots)
    for _ in range(count):
        chosen = torch.randperm(len(pool.classes), generator=rng)[: 2 * ways].tolist()
        parts = [pool.inputs[pool.members[c][torch.randperm(pool.sizes[c], generator=rng)]] for c in chosen]
        own, end = parts[:ways], shots + UNLABELLED
        hidden = [part[shots:end] for part in own] + [part[:UNLABELLED] for part in parts[ways:]]
        yield Mixed(
            torch.cat([part[:shots] for part in own]),
            [c for c in range(ways) for _ in range(shots)],
            torch.cat(hidden),
            torch.cat([part[end : end + QUERIES] for part in own]),
            [c for c in range(ways) for _ in range(QUERIES)],
        )


def soft_prototypes(task: Adapted, unlabelled: Tensor) -> Adapted:
    """Ren et al. (2018), equations 2 and 3, one step; the reject class scores half-way between own and others."""
    size, temperature = len(set(task.targets)), task.temperature
    targets = torch.tensor(task.targets)
    gauge = Gauge.of(task.outputs(task.embedded), targets)
    reject = torch.full((len(unlabelled), 1), gauge.others + 0.5 * gauge.span)
    shares = torch.softmax(torch.cat([task.outputs(unlabelled), reject], 1) / temperature, 1)[:, :size]
    members = torch.cat([torch.eye(size)[targets], shares.to(task.embedded)])
    means = members.T @ torch.cat([task.embedded, unlabelled]) / members.sum(0).unsqueeze(1)
    return base_on_features(task.learner).adapt(means, list(range(size)))


def base_on_features(base: Learner) -> Learner:
    """The base with all that it knows, for features that are computed already."""
    alone = copy.deepcopy(base)
    alone.encoder = kshot.encoders.identity(base.encoder.features)
    alone.seen = torch.zeros(0)  # what the encoder's inputs looked like says nothing of features
    return alone


@dataclass
class Outcome:
    """Accuracies of each task, by what was done with the unlabelled inputs."""

    without: list[float]
    gains: dict[str, list[float]]
    kept: list[bool]


def outcome(base: Learner, pool: Pool, ways: int, shots: int, count: int) -> Outcome:
    """All tasks of one size."""
    found = Outcome([], {}, [])
    for mixed in tasks(pool, ways, shots, count):
        task = base.adapt(mixed.support, mixed.targets)
        plain = accuracy(task, mixed)
        found.without.append(plain)
        gated, told = with_unlabelled(task, mixed.unlabelled)
        found.kept.append(told.kept)
        always = (
            gated
            if told.kept
            else task.add(mixed.unlabelled[list(told.places)], list(told.labels))
            if told.places
            else task
        )
        others = {
            "kept where leave-one-out improves": gated,
            "always kept": always,
            "soft prototypes": soft_prototypes(task, mixed.unlabelled),
        }
        for name, other in others.items():
            found.gains.setdefault(name, []).append(accuracy(other, mixed) - plain)
    return found


def accuracy(task: Adapted, mixed: Mixed) -> float:
    """Per cent of the queries."""
    given = task.predict(mixed.query).labels
    return 100 * float(np.mean([a == b for a, b in zip(given, mixed.answers, strict=True)]))


def pools(base: Learner, validation: bool) -> list[Pool]:
    """Features of the drawings, by data set."""
    splits = kshot.vision.omniglot(data_folder() / "omniglot")
    drawn = (splits.validation if validation else splits.test).pool
    with np.load(data_folder() / "kuzushiji_kanji" / "kkanji_32x32.npz", allow_pickle=False) as file:
        images, classes = torch.from_numpy(file["images"]), file["class_index"]
    mine = (classes < 200) == validation
    return [
        features(base, drawn.inputs, [drawn.classes[int(t)] for t in drawn.targets], "omniglot"),
        features(base, images[torch.from_numpy(mine)], classes[mine].tolist(), "kuzushiji_kanji"),
    ]


def features(base: Learner, images: Tensor, labels: list[Any], name: str) -> Pool:
    """A pool of features, made once."""
    return Pool(embed_all(base, images), labels, name)


def main() -> None:
    """Rows for both data sets, or a look at validation data."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--validation", action="store_true", help="no rows")
    parser.add_argument("--tasks", type=int, default=600)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=list(range(len(SIZES))), help=f"places in {SIZES}"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = kshot.load("glyphs")
    assert isinstance(base, Learner)
    alone = base_on_features(base)
    data = pools(base, options.validation)
    for ways, shots in [SIZES[k] for k in options.sizes]:
        for pool in data:
            start = time.process_time()
            found = outcome(alone, pool, ways, shots, options.tasks)
            cpu = time.process_time() - start
            told = f"{pool.name} {ways}w{shots}s, {Interval.of(found.without).mean:.2f} % without"
            for name, gains in found.gains.items():
                gain = Interval.of(gains)
                print(f"{told}, {name}: {gain.mean:+.2f} +- {gain.half:.2f}", flush=True)
                if not options.validation:
                    note(pool.name, ways, shots, name, gain, found, cpu)


def note(data: str, ways: int, shots: int, what: str, gain: Interval, found: Outcome, cpu: float) -> None:
    """One row: the gain, beside the accuracy that it adds to."""
    append(
        "unlabelled",
        what=what,
        data=data,
        encoder="glyphs",
        protocol=f"{ways}w{shots}s, {UNLABELLED} unlabelled a class and {ways} distractor classes: gain in points",
        regime="inductive",
        value=gain.mean,
        low=gain.low,
        high=gain.high,
        n_tasks=gain.count,
        seeds=[0],
        cpu_seconds=round(cpu),
        without=round(Interval.of(found.without).mean, 2),
        kept=round(float(np.mean(found.kept)), 3),
    )


if __name__ == "__main__":
    main()
