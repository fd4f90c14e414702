"""Refusals settled anew: names by other pictures fit better, and only the scalars move."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch.nn import functional as F

from kshot.seeds import generator
from kshot.vision import Crops
from kshot.vision.detection import untrained
from kshot.vision.marked_crops import MarkedCrops
from kshot.vision.settled_refusals import _asked, _looks, _taught, settle_refusals

sys.path.insert(0, str(Path(__file__).parent.parent / "contracts"))

from members import SCENES

DRAWN = SCENES.using(size=48, shots=3, queries=1, sides=(12, 18)).sample(generator(0, "refusals"))


def test_crops_are_named_better_by_the_other_pictures() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = untrained(48, features=8, tower=8, vector=8).eval()
    assert DRAWN.support is not None
    task = learner.adapt(DRAWN.support)
    rows, items = task.space.encode(task.targets), list(task.embedded)

    def crops() -> MarkedCrops:
        return MarkedCrops(learner.encoder, task.inputs, rows, Crops(48), generator(0, "crops"))  # type: ignore[arg-type]

    def loss() -> float:
        """Of the names of crops by the pictures of the other fifths."""
        drawn, folds, found = crops(), [place % 5 for place in range(len(items))], []
        for fold in range(5):
            vectors, goal = _asked(learner, drawn, fold, folds)
            rest = [place for place, own in enumerate(folds) if own != fold]
            state = _taught(learner, task.space, rows, _looks(learner, items, rows), rest)
            assert state is not None
            with torch.no_grad():
                keep = torch.isin(goal, torch.cat([state["present"] + 1, torch.zeros(1)]))
                found.append(F.nll_loss(learner.names(state, vectors[keep], task.space), goal[keep]))
        return float(torch.stack(found).mean())

    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    first = loss()
    settle_refusals(learner, task.space, crops(), items)
    assert loss() < 0.97 * first
    moved = {name for name, p in learner.named_parameters() if not torch.equal(p, before[name])}
    assert moved
    assert not any(name.startswith(("encoder.", "localiser.")) for name in moved)
