"""The base learns on: glyphs, from 80 saved tasks of 5 kanji with 6 pictures each.

python -m benchmarks.learning_on            three seeds, without and with drawn characters besides
python -m benchmarks.learning_on --seeds 0

300 of the 714 kanji are kept out for the end: 5-way 1-shot and 20-way 1-shot tasks of these, before and after, on
the very same tasks. The gathered tasks are made of the other classes, are saved by the glyphs base, and lie in
a folder; a part of them is held back by `learn_on` itself. Omniglot's test characters say what is forgotten.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import kshot
from benchmarks.rows import append, data_folder
from kshot.data import Episodes, GlyphTasks, Pool
from kshot.evaluation import Interval, evaluate
from kshot.learners import Learner
from kshot.seeds import generator
from kshot.tasks import NWayKShot, TaskSource
from kshot.training import SavedTasks, learn_on

TASKS, WAYS, SHOTS, UNSEEN = 80, 5, 6, 300


def kanji() -> Pool:
    """All 714 classes, 20 pictures each."""
    found = np.load(data_folder() / "kuzushiji_kanji" / "kkanji_32x32.npz")
    names = [str(c) for c in found["class_codepoint"]]
    return Pool(torch.from_numpy(found["images"]), [names[c] for c in found["class_index"].tolist()], "kanji")


def gather(base: Learner, pool: Pool, folder: Path, rng: torch.Generator) -> None:
    """Teach `base` tasks of classes that occur in one task each, and save them."""
    order = torch.randperm(len(pool.classes), generator=rng)[: TASKS * WAYS].tolist()
    for number in range(TASKS):
        places, labels = [], []
        for c in order[WAYS * number : WAYS * (number + 1)]:
            chosen = pool.members[c][torch.randperm(len(pool.members[c]), generator=rng)[:SHOTS]]
            places += chosen.tolist()
            labels += [pool.classes[c]] * SHOTS
        base.adapt(pool.inputs[places], labels).save(folder / f"{number:03}.kshot")


def compare(name: str, old: Learner, new: Learner, source: TaskSource, data: str, protocol: str, tasks: int, seed: int,
            start: float) -> None:  # fmt: skip
    """Rows of both bases on the very same tasks, and of the paired gain."""
    reports = [evaluate(learner, source, tasks=tasks, seed=0) for learner in (old, new)]
    gains = [100 * (b - a) for a, b in zip(reports[0].values, reports[1].values, strict=True)]
    for what, values in (
        ("glyphs", [100 * v for v in reports[0].values]),
        (name, [100 * v for v in reports[1].values]),
        (f"gain of {name}", gains),
    ):
        row(what, values, data, protocol, seed, start)


def row(
    what: str, values: list[float], data: str, protocol: str, seed: int, start: float, **more: object
) -> None:
    """Print and keep one figure."""
    i = Interval.of(values)
    print(f"seed {seed} {data} {protocol}: {what} {i.mean:.2f} +- {i.half:.2f} ({i.count})", flush=True)
    append(
        "learning_on", what=what, data=data, protocol=protocol, regime="inductive", value=i.mean, low=i.low,
        high=i.high, n_tasks=i.count, seeds=[seed], cpu_seconds=round(time.process_time() - start), **more,
    )  # fmt: skip


def once(seed: int, tasks: int, besides: bool) -> None:
    """Gather, learn on, measure."""
    start = time.process_time()
    base = kshot.load("glyphs")
    assert isinstance(base, Learner)
    rng = generator(seed, "learning on")
    pool = kanji()
    order = torch.randperm(len(pool.classes), generator=rng).tolist()
    unseen, seen = pool.only(order[:UNSEEN]), pool.only(order[UNSEEN:])
    drawn = GlyphTasks.draw(400, 8, rng, ways=20, queries=5) if besides else None
    with tempfile.TemporaryDirectory() as folder:
        gather(base, seen, Path(folder), rng)
        found = learn_on(base, SavedTasks.read(folder, base=base), besides=drawn, seed=seed, progress=False)
    name = "learned on" + (" with drawn characters besides" if besides else "")
    print(
        f"seed {seed} {name}: {found.why}; {len(found.better())} better, {len(found.worse())} worse",
        flush=True,
    )
    held = [m for m in found.moves if m.part == "held back"]
    more = {
        "better": sum(m.gain > 0 for m in held),
        "worse": sum(m.gain < 0 for m in held),
        "adopted": found.adopted,
    }
    protocol = f"leave one out on held-back saved tasks, {WAYS} classes x {SHOTS}"
    row("glyphs", [100 * m.before for m in held], "saved kanji tasks", protocol, seed, start)
    row(name, [100 * m.after for m in held], "saved kanji tasks", protocol, seed, start)
    row(f"gain of {name}", [100 * m.gain for m in held], "saved kanji tasks", protocol, seed, start, **more)
    for ways, shots in ((5, 1), (20, 1)):
        source = Episodes(unseen, NWayKShot(ways, shots, 10))
        compare(
            name,
            base,
            found.candidate,
            source,
            f"{UNSEEN} unseen kanji",
            f"{ways}w{shots}s",
            tasks,
            seed,
            start,
        )
    omniglot = kshot.vision.omniglot(data_folder() / "omniglot").test.using(ways=20, shots=1, queries=10)
    compare(name, base, found.candidate, omniglot, "omniglot test characters", "20w1s", tasks, seed, start)


def main() -> None:
    """All seeds, without and with drawn characters besides."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", type=int, default=600)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        for besides in (False, True):
            once(seed, options.tasks, besides)


if __name__ == "__main__":
    main()
