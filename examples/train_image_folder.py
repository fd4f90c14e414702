"""Meta-train any torchvision network on a folder of photographs, streamed from disk.

The folder has one subfolder per class. Training tasks are drawn by worker processes with random resized
crops and flips, as ImageNet models are trained; the network normalises; Adam does the steps. Classes kept
aside judge it.

    python examples/train_image_folder.py photos/ --encoder resnet50 --size 224 --out run/

Ctrl-C stops after the running step and saves; the same command goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import kshot
from kshot.data import Episodes, Pool, Streamed, folder
from kshot.tasks import NWayKShot
from kshot.vision import CentreCrop, TrainingCrop


def judged(pool: Pool, sampler: NWayKShot, size: int, each: int) -> Episodes:
    """Tasks of `each` pictures a class, kept in memory, so that a validation encodes every picture once."""
    places = [int(place) for members in pool.members for place in members[:each]]
    pictures = CentreCrop(size)([pool.inputs[place] for place in places])
    return Episodes(Pool(pictures, [pool.classes[int(pool.targets[p])] for p in places], pool.name), sampler)


def train(options: argparse.Namespace) -> tuple[kshot.Report, kshot.Run]:
    """The report before training, and the run."""
    pool = folder(options.data)
    if options.validation:
        unseen = options.validation
        rest = [label for label in pool.classes if label not in unseen]
        training, validation = pool.split_by(rest, unseen)
    else:
        training, validation = pool.split(3, 1, seed=options.seed)
    ways = min(options.ways, len(training.classes))
    crop = TrainingCrop(options.size, scale=(options.least_crop, 1.0))
    episodes = Episodes(training, NWayKShot(ways, options.shots, options.queries), crop)
    sampler = NWayKShot(min(5, len(validation.classes)), options.shots, options.queries)
    unseen_tasks = judged(validation, sampler, options.size, options.pictures)

    torch.manual_seed(options.seed)
    learner = kshot.learners.ProtoNet(kshot.encoders.torchvision(options.encoder, size=options.size))
    learner = learner.to(options.device)  # fit trains where the learner is
    before = kshot.evaluate(learner, unseen_tasks, tasks=options.tasks, seed=options.seed)
    print(f"before: {before}")
    run = kshot.fit(
        learner, Streamed(episodes, workers=options.workers), validate=unseen_tasks, folder=options.out,
        steps=options.steps, rate=options.rate, validate_every=options.every, validation_tasks=options.tasks,
        average=options.average, precision=options.precision, seed=options.seed,
    )  # fmt: skip
    print(f"after:  {run.best}")
    return before, run


def parser() -> argparse.ArgumentParser:
    """The options; all but the folder have defaults."""
    make = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    make.add_argument("data", type=Path, help="folder with one subfolder of pictures per class")
    make.add_argument("--validation", nargs="*", help="classes to judge on (default: a quarter, by seed)")
    make.add_argument("--out", type=Path, help="folder for log, checkpoint and the trained base")
    make.add_argument("--encoder", default="resnet50", help="any torchvision classification model")
    make.add_argument("--size", type=int, default=224, help="pixels a side")
    make.add_argument("--least-crop", type=float, default=0.08, help="smallest share of a picture to crop")
    make.add_argument("--ways", type=int, default=20)
    make.add_argument("--shots", type=int, default=1)
    make.add_argument("--queries", type=int, default=4)
    make.add_argument("--steps", type=int, default=2000)
    make.add_argument("--every", type=int, default=200, help="steps between validations")
    make.add_argument("--tasks", type=int, default=200, help="tasks per validation")
    make.add_argument("--pictures", type=int, default=50, help="pictures per validation class")
    make.add_argument("--rate", type=float, default=1e-3)
    make.add_argument("--average", type=float, default=0.0, help="decay of the running mean of weights")
    make.add_argument("--precision", default="float32", help="float32 or bfloat16")
    make.add_argument("--workers", type=int, default=2, help="processes that read pictures")
    make.add_argument("--device", default="cpu")
    make.add_argument("--seed", type=int, default=0)
    return make


def main(arguments: list[str] | None = None) -> tuple[kshot.Report, kshot.Run]:
    return train(parser().parse_args(arguments))


if __name__ == "__main__":
    main()
