"""Few-shot classification on Omniglot, split 1028 / 172 / 423 with rotations.

python -m benchmarks.omniglot protonet        one training for 5/20-way 1/5-shot
python -m benchmarks.omniglot kernel_ridge --frozen --start runs/omniglot-protonet-0/learner.kshot
                                              a closed-form head on ProtoNet's encoder as it is: only the head's
                                              scalars are learned, on tasks of the validation classes
python -m benchmarks.omniglot lda --start runs/omniglot-protonet-0/learner.kshot
                                              a closed-form head, the encoder trained on
python -m benchmarks.omniglot maml            5-way 1-shot, the paper's transductive regime
python -m benchmarks.omniglot maml --start glyphs --steps 3000
                                              a warm start from the encoder that comes with kshot; what a
                                              closed-form head makes of the same encoder is glyphs' own row
python -m benchmarks.omniglot prototype --start glyphs --steps 200
                                              that encoder trained on under a closed-form head
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import kshot
from benchmarks.rows import append, data_folder
from kshot.data import Affine, Episodes, Mixed, Pool
from kshot.evaluation import embed_all
from kshot.learners import ClosedForm, Learner, ProtoNet, anil, fomaml, maml, meta_sgd, reptile

DATA = {
    "vinyals": "omniglot 1028/172/423 with rotations",
    "background": "omniglot, original background and evaluation sets with rotations",
}
FOUR = ((5, 1), (5, 5), (20, 1), (20, 5))
METRIC = {
    "steps": 3600,
    "validate_every": 400,
    "validation_tasks": 200,
    "rate": 3e-3,
    "warmup": 20,
    "average": 0.995,
}
HEAD = {**METRIC, "steps": 800, "rate": 5e-4, "validate_every": 200}
GRADIENT = {"meta_batch": 4, "validate_every": 500, "validation_tasks": 100, "average": 0.99, "clip": 10.0}


def metric_task(train: Episodes) -> Episodes:
    """90-way tasks of 4 examples a class that take turns as the one shot; small turns, shifts, scales."""
    return Episodes(train.pool, kshot.tasks.NWayKShot(90, 1, 3), Affine())


def head_task(train: Episodes) -> Mixed:
    """1-shot and 5-shot tasks in turn: scalars of a closed-form head must serve both."""
    few = Episodes(train.pool, kshot.tasks.NWayKShot(60, 1, 5), Affine())
    return Mixed([few, Episodes(train.pool, kshot.tasks.NWayKShot(36, 5, 5), Affine())])


def reptile_task(train: Episodes) -> Episodes:
    """5-way tasks of 10 examples a class, dealt out to the inner steps: Nichol et al. (2018), appendix A."""
    return Episodes(train.pool, kshot.tasks.NWayKShot(5, 1, 9))


def gradient_task(train: Episodes) -> Episodes:
    """5-way 1-shot tasks with 3 queries a class."""
    return Episodes(train.pool, kshot.tasks.NWayKShot(5, 1, 3))


def encoder() -> kshot.encoders.Conv4:
    """The field's conv4-64 on 28 x 28 images."""
    return kshot.encoders.conv4(64)


Make = Callable[[], Learner]
LEARNERS: dict[str, tuple[Make, dict[str, Any]]] = {
    "protonet": (lambda: ProtoNet(encoder(), rounds=True), METRIC),
    "prototype": (lambda: ClosedForm(encoder(), "prototype", rounds=True), HEAD),
    "ridge": (lambda: ClosedForm(encoder(), "ridge", rounds=True), HEAD),
    "kernel_ridge": (lambda: ClosedForm(encoder(), "kernel_ridge", rounds=True), HEAD),
    "lda": (lambda: ClosedForm(encoder(), "lda", rounds=True), HEAD),
    "maml": (lambda: maml(encoder(), regime="transductive"), {**GRADIENT, "steps": 7500}),
    "fomaml": (lambda: fomaml(encoder(), regime="transductive"), {**GRADIENT, "steps": 25_000}),
    "anil": (lambda: anil(encoder(), regime="transductive"), {**GRADIENT, "steps": 10_500}),
    "meta_sgd": (lambda: meta_sgd(encoder(), regime="transductive"), {**GRADIENT, "steps": 14_000}),
    "reptile": (lambda: reptile(encoder(), regime="transductive"), {**GRADIENT, "steps": 6_200}),
}


def main() -> None:
    """Train one learner and evaluate it on the test characters."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("learner", choices=LEARNERS)
    parser.add_argument(
        "--folder", type=Path, default=None, help="checkpoint and log; default runs/LEARNER-SEED"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--start", default=None, help="a saved learner whose encoder is the start, or glyphs")
    parser.add_argument("--frozen", action="store_true", help="learn the head's scalars only")
    parser.add_argument("--split", choices=("vinyals", "background"), default="vinyals")
    parser.add_argument("--steps", type=int, default=None)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    make, settings = LEARNERS[options.learner]
    settings = {**settings, "seed": options.seed, **({"steps": options.steps} if options.steps else {})}
    splits = kshot.vision.omniglot(data_folder() / "omniglot", split=options.split)
    metric = "meta_batch" not in settings
    folder = options.folder or Path("runs") / f"omniglot-{label(options)}-{options.seed}"
    learner = started(make(), options.start)
    if options.frozen:
        run = fit_head(learner, splits.validation, options.seed)
    else:
        run = kshot.fit(
            learner,
            training_tasks(options.learner, splits.train),
            validate=splits.validation.using(ways=20) if metric else splits.validation,
            folder=folder,
            settings=kshot.Settings(**settings),
        )
    record(options, run, splits, FOUR if metric else FOUR[:1])


def fit_head(learner: Learner, source: Episodes, seed: int) -> kshot.Run:
    """Learn the scalars of a closed-form head on kept features, for all four protocols at once."""
    assert isinstance(learner, ClosedForm)
    learner.eval()
    labels = [source.pool.classes[int(t)] for t in source.pool.targets]
    features = Pool(embed_all(learner, source.pool.inputs), labels, source.pool.name)
    tasks = Mixed([Episodes(features, kshot.tasks.NWayKShot(ways, shots, 10)) for ways, shots in FOUR])
    alone = ClosedForm(kshot.encoders.identity(learner.encoder.features), learner.head)
    settings = kshot.Settings(steps=300, meta_batch=4, rate=0.05, validate_every=300, seed=seed)
    run = kshot.fit(alone, tasks, validate=tasks, settings=settings)
    learner.head.load_state_dict(run.learner.head.state_dict())
    return dataclasses.replace(run, learner=learner)


def label(options: argparse.Namespace) -> str:
    """What a row calls the learner: another split is another row."""
    start = ", glyphs" if options.start == "glyphs" else ""
    frozen = f"{start}, encoder frozen" if options.frozen else f"{start}, trained on" if options.start else ""
    return str(options.learner) + ("" if options.split == "vinyals" else f"-{options.split}") + frozen


def training_tasks(name: str, train: Episodes) -> kshot.tasks.TaskSource:
    """What a learner is trained on."""
    if name == "protonet":
        return metric_task(train)
    if name == "reptile":
        return reptile_task(train)
    return head_task(train) if LEARNERS[name][1] is HEAD else gradient_task(train)


def started(learner: Learner, path: str | None) -> Learner:
    """The learner, its encoder taken from a saved one where a path is given."""
    if path is not None:
        kept = kshot.load(path)
        assert isinstance(kept, Learner)
        learner.encoder.load_state_dict(kept.encoder.state_dict())
    return learner


def record(
    options: argparse.Namespace, run: kshot.Run, splits: Any, protocols: tuple[tuple[int, int], ...]
) -> None:
    """A row for each protocol, and one with the curve."""
    cpu = run.history[-1]["cpu_seconds"] + (cpu_of(options.start) if options.start else 0)
    for ways, shots in protocols:
        start = time.process_time()
        report = kshot.evaluate(run.learner, splits.test.using(ways=ways, shots=shots), tasks=options.tasks)
        print(f"{options.learner}: {report}  ({time.process_time() - start:.0f} s of CPU)")
        append(
            "omniglot",
            what=label(options),
            data=DATA[options.split],
            encoder="conv4-64",
            protocol=f"{ways}w{shots}s",
            regime=report.regime,
            value=100 * report.mean,
            low=100 * report.interval.low,
            high=100 * report.interval.high,
            n_tasks=len(report.values),
            seeds=[options.seed],
            cpu_seconds=round(cpu),
        )
    append(
        "omniglot_curves",
        what=label(options),
        regime=run.learner.regime,
        seeds=[options.seed],
        minutes=[round(h["cpu_seconds"] / 60, 2) for h in run.history],
        accuracy=[round(100 * h["validation_accuracy"], 2) for h in run.history],
        protocol="20w1s" if len(protocols) > 1 else "5w1s",
    )


def cpu_of(start: str) -> float:
    """CPU seconds that a saved run has cost, from the log beside it or from the base's own card."""
    if start == "glyphs":
        return float(kshot.load(start).card["cpu_seconds"])
    lines = (Path(start).parent / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return float(json.loads(lines[-1])["cpu_seconds"])


if __name__ == "__main__":
    main()
