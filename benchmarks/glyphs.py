"""The bundled base `glyphs`: trained on kshot's own drawings, judged on handwriting it never saw.

python -m benchmarks.glyphs train       writes src/kshot/bases/glyphs.kshot (about 15 CPU minutes)
python -m benchmarks.glyphs calibrate   measures what the base knows about its own answers; weights stay as they are
python -m benchmarks.glyphs evaluate    rows for Omniglot's test characters and scikit-learn's digits
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits

import kshot
from benchmarks.rows import ROOT, append, data_folder
from kshot import trust
from kshot.data import Episodes, GlyphTasks, Mixed, Pool
from kshot.learners import Learner, ProtoNet, save_learner
from kshot.seeds import generator
from kshot.tasks import NWayKShot

BASE = ROOT / "src" / "kshot" / "bases" / "glyphs.kshot"
SETTINGS = kshot.Settings(
    steps=1200, rate=3e-3, warmup=20, average=0.99, validate_every=150, validation_tasks=200
)
CLASSES, DRAWINGS, KEPT_ASIDE = 5500, 12, 500
MORE, EACH, TASKS = 500, 20, 200
"""Calibration: characters that no training has seen, drawings of each, tasks of each size."""


def train(folder: Path, out: Path, steps: int | None) -> None:
    """Draw the characters, meta-train, save with a card."""
    settings = kshot.Settings(**{**SETTINGS.to_json(), **({"steps": steps} if steps else {})})
    tasks = GlyphTasks.draw(CLASSES, DRAWINGS, generator(settings.seed, "glyphs"))
    training, validation = tasks.split(KEPT_ASIDE)
    torch.manual_seed(settings.seed)
    run = kshot.fit(
        ProtoNet(kshot.encoders.conv4(64), rounds=True),
        training,
        validate=validation.using(ways=20, queries=5),
        folder=folder,
        settings=settings,
    )
    card = {
        "name": "glyphs",
        "task": "few-shot classification of handwritten characters, symbols and simple drawings",
        "trained on": f"{CLASSES - KEPT_ASIDE} characters x {DRAWINGS} drawings x 2 looks, drawn by kshot itself",
        "command": "python -m benchmarks.glyphs train",
        "settings": settings.to_json(),
        "cpu_seconds": round(run.history[-1]["cpu_seconds"]),
        "inputs": "one grey channel, 28 x 28, ink bright on dark; other sizes are resized",
        "not for": "photographs; dark ink on bright paper (invert it first)",
        "license": "Apache-2.0",
    }
    save_learner(run.learner, out, card)
    print(f"saved {out}")
    calibrate(out, TASKS)


def calibrate(base: Path, tasks: int) -> None:
    """Measure refusals, sets, temperature and accuracy on new characters, and store them in the base."""
    kept = kshot.load(base)
    assert isinstance(kept, Learner)
    before = kshot.learners.records.fingerprint(kept)
    trust.calibrate(kept, fresh_characters(MORE, EACH), tasks=tasks)
    card = {**kept.card, "calibrated on": f"{MORE} characters x {EACH} drawings of the same family, {tasks} tasks of "
            "each size; shares and coverage hold over such tasks, calibrate again for other inputs"}  # fmt: skip
    save_learner(kept, base, card)
    print(f"saved {base}: {before[:12]} is now {kshot.learners.records.fingerprint(kept)[:12]}")


def fresh_characters(classes: int, drawings: int) -> Mixed:
    """Tasks of characters drawn for this alone: all with a pen, all as scans, or each picture by chance."""
    drawn = GlyphTasks.draw(classes, drawings, generator(SETTINGS.seed, "glyphs", "calibrate"))
    coin = torch.rand(classes, drawings, 1, 1, generator=generator(SETTINGS.seed, "glyphs", "looks")) < 0.5
    looks = (drawn.pen, drawn.scanned, torch.where(coin, drawn.pen, drawn.scanned))
    names = [f"glyph {k // drawings}" for k in range(classes * drawings)]
    return Mixed([Episodes(Pool(look.flatten(0, 1), names, "glyphs")) for look in looks], drawn.looks)


def evaluate(base: Path, tasks: int) -> None:
    """A row per data set and protocol, with raw pixels' nearest mean on the same tasks."""
    kept = kshot.load(base)
    assert isinstance(kept, Learner)
    pixels = ProtoNet(kshot.encoders.pixels())
    digits = load_digits()
    images = torch.from_numpy((digits.images * 255 / 16).round().astype("uint8"))
    sources = {
        "omniglot test characters with rotations": kshot.vision.omniglot(data_folder() / "omniglot").test,
        "scikit-learn digits": Episodes(Pool(images, digits.target.tolist(), "digits"), NWayKShot()),
    }
    for data, source in sources.items():
        for shots in (1, 5):
            for name, learner in (("glyphs", kept), ("raw pixels, nearest mean", pixels)):
                row(name, learner, data, source.using(ways=5, shots=shots, queries=15), shots, tasks)


def row(name: str, learner: Learner, data: str, source: Episodes, shots: int, tasks: int) -> None:
    """Evaluate and keep one figure."""
    report = kshot.evaluate(learner, source, tasks=tasks)
    print(f"{name} on {data}: {report}")
    i = report.interval
    append(
        "glyphs",
        what=name,
        data=data,
        protocol=f"5w{shots}s",
        regime=report.regime,
        value=100 * i.mean,
        low=100 * i.low,
        high=100 * i.high,
        n_tasks=tasks,
        seeds=[0],
        cpu_seconds=learner.card.get("cpu_seconds", 0),
    )


def main() -> None:
    """Train or evaluate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "calibrate", "evaluate"))
    parser.add_argument("--folder", type=Path, default=Path("runs/glyphs"))
    parser.add_argument("--base", type=Path, default=BASE)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.what == "train":
        train(options.folder, options.base, options.steps)
    elif options.what == "calibrate":
        calibrate(options.base, TASKS)
    else:
        evaluate(options.base, options.tasks)


if __name__ == "__main__":
    main()
