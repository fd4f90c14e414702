"""Act 1: draw characters nobody has ever seen and meta-train on them."""

from __future__ import annotations

from pathlib import Path

import torch

from kshot.data import GlyphTasks
from kshot.demo.plan import Plan
from kshot.encoders import conv4
from kshot.learners import ProtoNet, save_learner
from kshot.seeds import drawing, generator
from kshot.training import Run, Settings, fit


def invent(chosen: Plan, seed: int) -> tuple[GlyphTasks, GlyphTasks]:
    """Tasks of invented characters to train on, and of other characters to validate on."""
    drawn = GlyphTasks.draw(
        chosen.classes, chosen.drawings, generator(seed, "demo", "glyphs"), ways=chosen.ways
    )
    train, other = drawn.split(max(chosen.classes // 10, 5))
    return train, other.using(ways=min(20, other.ways), queries=min(5, chosen.drawings - 1))


def meta_train(chosen: Plan, train: GlyphTasks, other: GlyphTasks, seed: int, *, progress: bool) -> Run:
    """Prototypical networks on one-shot tasks of invented characters."""
    with drawing(torch.device("cpu"), seed, "demo", "weights"):
        learner = ProtoNet(conv4(chosen.width), rounds=True)
    return fit(
        learner,
        train,
        validate=other,
        progress=progress,
        settings=Settings(
            steps=chosen.steps,
            rate=3e-3,
            warmup=min(20, chosen.steps),
            average=0.99,
            validate_every=chosen.validate_every,
            validation_tasks=100,
            seed=seed,
            executor="loop:channels_last",  # named, so that a seed tells the same story on another day
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
