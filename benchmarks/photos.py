"""`kshot train` on a folder of real JPEGs with a large network: accuracy on unseen classes before and after.

python -m benchmarks.photos                                   resnet50 at 224 pixels from random weights
python -m benchmarks.photos --encoder resnet18 --size 64      a smaller one

The pictures are CIFAR-10's as JPEG files, ten classes, in a folder with one subfolder per class. The command line
itself trains on six of them (random resized crops, mirroring, ImageNet's normalisation, Adam, streamed from disk by
worker processes), chooses its weights on two others and never sees the last two. "before" is the same network
untrained, on the same tasks. Which classes are where depends on the seed alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import torch

import kshot
from benchmarks.rows import append, data_folder
from kshot.commandline import recipes, sources
from kshot.commandline.prepare import task_source
from kshot.data import Episodes, Pool
from kshot.evaluation import Interval, evaluate
from kshot.learners import Learner
from kshot.tasks import NWayKShot


def photos(folder: Path, each: int) -> Path:
    """A folder per class with `each` JPEGs of CIFAR-10's training part."""
    with zipfile.ZipFile(next((data_folder() / "cifar10_jpg").glob("*.zip"))) as archive:
        for name in archive.namelist():
            part, label, file = name.split("/")
            target = folder / label / file
            if part == "train" and int(file[:4]) < each and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    return folder


def untrained(options: argparse.Namespace, train: Pool, ways: int) -> Learner:
    """The learner as the command starts from it."""
    net = recipes.make_encoder(options.encoder, train, size=options.size, channels=3, seed=options.seed)
    return recipes.make_learner("protonet", net, ways, len(train.classes)).eval()


def command(options: argparse.Namespace, folder: Path, out: Path) -> list[str]:
    """What a user would type."""
    words = ["--data", str(folder), "--encoder", options.encoder, "--size", str(options.size)]
    more = ["--steps", str(options.steps), "--shots", str(options.shots), "--seed", str(options.seed)]
    return [sys.executable, "-m", "kshot.cli", "train", *words, *more, "-o", str(out), "--json"]


def judge(learner: Learner, pool: Pool, shots: int, tasks: int) -> Interval:
    """Accuracy on tasks of all classes of a pool, each picture cut as for validation."""
    queries = min(15, min(pool.sizes) - shots)
    source = task_source(pool, NWayKShot(len(pool.classes), shots, queries), learner.encoder)
    assert isinstance(source, Episodes)
    return evaluate(learner, source, tasks=tasks, timed=0).interval


def cpu_seconds(run: Path) -> float:
    """Of the training, from its log."""
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return float(json.loads(lines[-1])["cpu_seconds"])


def main() -> None:
    """Judge, train by the command line, judge again, and write a row for each figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--each", type=int, default=40, help="pictures per class")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="pictures, checkpoint and log")
    parser.add_argument("--dry", action="store_true", help="write no rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    place = options.folder / f"photos-{options.encoder}-{options.size}-{options.each}-{options.seed}"
    folder = photos(options.folder / f"photos-{options.each}", options.each)
    pools = sources.parts(str(folder), seed=options.seed)
    unseen = [*pools.validation.classes, *pools.test.classes]
    _, together = sources.pool(str(folder)).split_by(pools.train.classes, unseen)
    parts = {"validation": pools.validation, "test": pools.test, "all unseen": together}
    start = untrained(options, pools.train, len(pools.validation.classes))
    before = {name: judge(start, pool, options.shots, options.tasks) for name, pool in parts.items()}
    print("before:", before, flush=True)
    words = command(options, folder, place.with_suffix(".kshot"))
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    print(done, flush=True)
    spent = cpu_seconds(place.with_suffix(".run"))
    trained = kshot.load(place.with_suffix(".kshot"))
    assert isinstance(trained, Learner)
    after = {name: judge(trained, pool, options.shots, options.tasks) for name, pool in parts.items()}
    print("after:", after, flush=True)
    best = json.loads(done.strip().splitlines()[-1])
    for name, pool in parts.items():
        for when, found in (("before", before[name]), ("after", after[name])):
            row = {
                "what": f"{options.encoder} at {options.size}, {when} {options.steps} steps",
                "data": f"CIFAR-10 as JPEG files, {options.each} pictures a class",
                "protocol": f"{name} classes {', '.join(map(str, pool.classes))}: {len(pool.classes)}-way "
                f"{options.shots}-shot",
                "regime": "inductive",
                "metric": "accuracy",
                "value": 100 * found.mean,
                "low": 100 * found.low,
                "high": 100 * found.high,
                "n_tasks": found.count,
                "seeds": [options.seed],
                "cpu_seconds": round(spent) if when == "after" else None,
                "train_command": "kshot " + " ".join(words[3:]),
                "best_validation_in_training": best["kshot"],
            }
            if not options.dry:
                append("photos", **row)


if __name__ == "__main__":
    main()
