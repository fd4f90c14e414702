"""Tuning the last blocks of a text model on one task's examples, kept only where held-out examples gain by it.

The loss asks each example of its class mean without it, among all means (Snell et al. 2017, with the example left out):
a contrast against every class at once, so there are no pairs to list, as in SetFit (Tunstall et al. 2022), and memory
grows with the examples only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kshot.encoders.sizes import whole
from kshot.errors import SettingError, UnsupportedError
from kshot.learners import Adapted
from kshot.seeds import generator
from kshot.tasks.spaces import Classes
from kshot.text.classifier import TextClassifier
from kshot.text.folder import TextModel
from kshot.text.windows import pool
from kshot.trust.calibration import best_temperature

_SHARPNESS = 20.0  # of cosines before the softmax
_DECAY = 0.01
_TOGETHER = 16


@dataclass(frozen=True)
class Tuned:
    """What tuning did.

    Attributes:
        task: adapted on the tuned encoder, or as it was.
        kept: whether the tuned encoder was kept.
        before, after: mean log-loss on examples held out of a trial, without and with tuning; NaN where it was not tried.
        right_before, right_after: share of them answered right.
        steps: gradient steps. cpu_seconds: the processor's time for all of it.
    """

    task: Adapted
    kept: bool
    before: float
    after: float
    right_before: float
    right_after: float
    steps: int
    cpu_seconds: float


def tune(
    task: Adapted,
    *,
    rank: int = 16,
    blocks: int = 2,
    steps: int = 20,
    rate: float = 2e-3,
    batch: int = 256,
    trial: bool = True,
    seed: int = 0,
) -> Tuned:
    """Learn low-rank changes of the encoder's last blocks on the task's examples; the task's base does not change.

    A trial comes first: a fifth of each class (at least one example) is held out, and tuning is kept only where the
    log-loss on them falls (at the temperature that suits each best) and no fewer are answered right. All examples are then encoded anew, and so is every later question: the tuned encoder has a
    fingerprint of its own, and features of the old one are of no use to it.

    Args:
        rank, blocks: size of the change, and how many blocks change.
        steps, rate, batch: gradient steps, their size (AdamW), and texts in one.
        trial: False keeps the result untried.

    Raises:
        UnsupportedError: the task's base is no `TextClassifier` on a `TextModel`, or it answers with no classes.
        SettingError: a setting outside its range.
    """
    _checked(task, rate)
    sizes = {"rank": whole("rank", rank), "blocks": whole("blocks", blocks)}
    start = time.process_time()
    figures = (float("nan"), float("nan"), float("nan"), float("nan"))
    labels = list(task.targets)
    if trial:
        held = _held_out(labels, seed)
        figures = _try(task, held, sizes, steps, rate, batch, seed) if held else figures
    kept = not trial or gains(figures)
    after = task
    if kept:
        after = task.rebase(_tuned(task, list(task.inputs), labels, sizes, steps, rate, batch, seed)).task
    return Tuned(after, kept, *figures, steps, time.process_time() - start)


def _checked(task: Adapted, rate: float) -> None:
    learner = task.learner
    if not isinstance(learner, TextClassifier) or not isinstance(learner.encoder, TextModel):
        raise UnsupportedError(
            f"the task's base is a {type(learner).__name__} on a {type(learner.encoder).__name__}; what is tuned are "
            "the blocks of a text model: kshot.text.classifier('path:DIR'), or pkg:, hf:, st:"
        )
    if not isinstance(task.space, Classes):
        raise UnsupportedError(f"tuning is for classes; this task answers with {task.space.kind}")
    if not rate > 0:
        raise SettingError(f"rate is {rate}; give a number above 0, for example 0.002")


def _held_out(labels: Sequence[object], seed: int) -> list[int]:
    """Places of a fifth of each class that has three examples or more."""
    draw, held = generator(seed, "tune", "held out"), []
    for label in dict.fromkeys(labels):
        own = [place for place, other in enumerate(labels) if other == label]
        if len(own) >= 3:
            order = torch.randperm(len(own), generator=draw).tolist()
            held += [own[place] for place in order[: max(1, len(own) // 5)]]
    return held


def _try(
    task: Adapted, held: list[int], sizes: dict[str, int], steps: int, rate: float, batch: int, seed: int
) -> tuple[float, float, float, float]:
    """Log-losses without and with tuning, then shares answered right, on the held-out examples."""
    out = set(held)
    rest = [place for place in range(len(task)) if place not in out]
    texts, labels = [task.inputs[p] for p in rest], [task.targets[p] for p in rest]
    asked, right = [task.inputs[p] for p in held], [task.targets[p] for p in held]
    tuned = _tuned(task, texts, labels, sizes, steps, rate, batch, seed)
    losses, shares = [], []
    for base in (task.learner, tuned):
        small = base.adapt(texts, labels)
        found = small.outputs(small.embed(asked)).double()
        goal = Classes.of(labels).encode(right)
        losses.append(log_loss([found], [goal]))
        shares.append(float((found.argmax(1) == goal).double().mean()))
    return losses[0], losses[1], shares[0], shares[1]


def gains(figures: tuple[float, float, float, float]) -> bool:
    """Whether log-losses without and with say yes, and shares answered right do not say no; never with NaN."""
    before, after, right_before, right_after = figures
    return after < before and right_after >= right_before


def log_loss(outputs: list[Tensor], goals: list[Tensor]) -> float:
    """Mean log-loss of scores [n, classes] at the temperature that suits them best; mere sharpness counts for nothing."""
    heat = best_temperature(outputs, goals)
    each = [F.cross_entropy(o / heat, g, reduction="sum") for o, g in zip(outputs, goals, strict=True)]
    return float(torch.stack(each).sum()) / sum(map(len, goals))


def _tuned(
    task: Adapted, texts: list[str], labels: list[object], sizes: dict[str, int],
    steps: int, rate: float, batch: int, seed: int,
) -> TextClassifier:  # fmt: skip
    """A base like the task's, its encoder tuned on these examples."""
    old = task.learner
    assert isinstance(old, TextClassifier)
    assert isinstance(old.encoder, TextModel)
    encoder = TextModel(**{**old.encoder.config(), **sizes})
    encoder.cache = old.encoder.cache
    states, owners = _lower(encoder, texts)
    classes = Classes.of(labels).encode(labels)[torch.tensor(owners)]
    moving = list(encoder.changes.parameters())
    for parameter in moving:
        parameter.requires_grad_(True)
    steepest = torch.optim.AdamW(moving, rate, weight_decay=_DECAY)
    draw = generator(seed, "tune", "batches")
    for step in range(steps):
        for group in steepest.param_groups:
            group["lr"] = rate * (1 - step / steps)
        places = batch_of(classes, batch, draw)
        steepest.zero_grad()
        contrast(_pooled(encoder, [states[p] for p in places]), classes[places]).backward()  # type: ignore[no-untyped-call]
        steepest.step()
    for parameter in moving:
        parameter.requires_grad_(False)
    return old.on(encoder)


def _lower(encoder: TextModel, texts: list[str]) -> tuple[list[Tensor], list[int]]:
    """Hidden states [t, d] before the blocks that move, of every window of every text, and whose window it is."""
    windows = [encoder.windows(text)[0] for text in texts]
    flat, owners = [ids for own in windows for ids in own], [k for k, own in enumerate(windows) for _ in own]
    states: list[Tensor] = [torch.zeros(0)] * len(flat)
    for places, ids, mask in encoder.batches(flat):
        with torch.no_grad():
            found = encoder.lower(ids, mask)
        for row, place in enumerate(places.tolist()):
            states[place] = found[row, : int(mask[row].sum())].clone()
    return states, owners


def _pooled(encoder: TextModel, states: list[Tensor]) -> Tensor:
    """Features [n, width] of length 1; texts of like length together, since padding costs as much as words."""
    order = sorted(range(len(states)), key=lambda place: len(states[place]))
    parts = []
    for start in range(0, len(order), _TOGETHER):
        own = [states[place] for place in order[start : start + _TOGETHER]]
        x = torch.nn.utils.rnn.pad_sequence(own, batch_first=True)
        lengths = torch.tensor([len(state) for state in own])
        mask = (torch.arange(x.shape[1]) < lengths.unsqueeze(1)).long()
        parts.append(F.normalize(pool(encoder.upper(x, mask), mask, encoder.pooling), dim=1))
    return torch.cat(parts)[torch.argsort(torch.tensor(order))]


def batch_of(classes: Tensor, most: int, draw: torch.Generator) -> Tensor:
    """Places of all examples of some classes, or of all classes, about `most` in number."""
    order = torch.randperm(int(classes.max()) + 1, generator=draw)
    sizes = torch.bincount(classes)[order].cumsum(0)
    chosen = order[: max(2, int((sizes <= most).sum()))]
    return torch.isin(classes, chosen).nonzero().flatten()


def contrast(x: Tensor, classes: Tensor) -> Tensor:
    """Cross entropy of each row among the class means, its own without itself."""
    found, own = torch.unique(classes, return_inverse=True)
    members = F.one_hot(own, len(found)).to(x.dtype)
    sums, counts = members.T @ x, members.sum(0)
    scores = x @ F.normalize(sums, dim=1).T
    alone = F.normalize(sums[own] - x, dim=1)
    several = (counts[own] > 1).unsqueeze(1)
    left_out = torch.where(several, (x * alone).sum(1, keepdim=True), scores.gather(1, own.unsqueeze(1)))
    return F.cross_entropy(_SHARPNESS * scores.scatter(1, own.unsqueeze(1), left_out), own)
