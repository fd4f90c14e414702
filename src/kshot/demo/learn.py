"""Act 1: draw characters nobody has ever seen and meta-train on them."""

from __future__ import annotations

from pathlib import Path

import torch

from kshot.data import Episodes, GlyphFamily, Pool, rotations
from kshot.demo.plan import Plan
from kshot.encoders import conv4
from kshot.learners import ProtoNet, save_learner
from kshot.seeds import drawing, generator
from kshot.tasks import NWayKShot
from kshot.training import Run, Settings, fit

FAMILY = GlyphFamily()


def invent(chosen: Plan, seed: int) -> tuple[Pool, Pool]:
    """Drawings of invented characters: a pool to train on and a pool of other characters to validate on."""
    images = FAMILY.draw(chosen.classes, chosen.drawings, generator(seed, "demo", "glyphs"))
    labels = [f"glyph {number}" for number in range(chosen.classes) for _ in range(chosen.drawings)]
    train, other = Pool(images.flatten(0, 1), labels, "invented characters").split(0.88, 0.12, seed=seed)
    return rotations(train), other


def meta_train(chosen: Plan, train: Pool, other: Pool, seed: int, *, progress: bool) -> Run:
    """Prototypical networks on one-shot tasks of invented characters."""
    with drawing(torch.device("cpu"), seed, "demo", "weights"):
        learner = ProtoNet(conv4(chosen.width))
    ways = min(20, len(other.classes))
    return fit(
        learner,
        Episodes(train, NWayKShot(chosen.ways, 1, 5)),
        validate=Episodes(other, NWayKShot(ways, 1, 5)),
        progress=progress,
        settings=Settings(
            steps=chosen.steps,
            rate=2e-3,
            average=0.98,
            validate_every=chosen.validate_every,
            validation_tasks=100,
            seed=seed,
        ),
    )


def keep_base(run: Run, chosen: Plan, seed: int, path: Path) -> Path:
    """Save the meta-trained learner with a card that says how it was made."""
    card = {
        "trained on": "characters drawn by kshot itself (no outside data)",
        "settings": {"characters": chosen.classes, "drawings": chosen.drawings, "steps": chosen.steps},
        "seed": seed,
        "inputs": "grey pictures of single characters, bright on dark",
    }
    return save_learner(run.learner, path, card)
