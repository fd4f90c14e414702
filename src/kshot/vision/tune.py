"""Tuning a detector's network on one task's marked pictures, kept only where pictures held out gain by it.

Gradient descent on random crops: the localiser's own loss (see `kshot.vision.Centres`) and the cross entropy of what the
boxes look like. Afterwards a closed form names: the one of the base, or, where boxes held out are named better so, that
of `kshot.vision.patches`. So a tuned task explains, grows and shrinks as another.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.encoders.sizes import whole
from kshot.errors import SettingError, UnsupportedError
from kshot.learners import Adapted
from kshot.learners.given import embed_read
from kshot.learners.learner import Embedded, Learner
from kshot.seeds import generator
from kshot.tasks.examples import take
from kshot.tasks.spaces import Boxes
from kshot.vision.by_parts import ByParts, by_parts, looking_closer
from kshot.vision.centres import Centres
from kshot.vision.crops import Crops
from kshot.vision.detection import Detector, plainer
from kshot.vision.held_out import finding, naming, surely_more
from kshot.vision.marked_crops import UNMARKED, MarkedCrops, names_of
from kshot.vision.picture_maps import MapEncoder
from kshot.vision.settled_refusals import CROPS, settle_refusals

_TRIAL = 0.7
"""Share of the run after which pictures that were held out so far are asked, and are learned from afterwards. Earlier, on
tasks that are hard, what was gained is less than what is seen of a fifth of the pictures."""
_WARM, _DECAY, _CLIP = 10, 1e-4, 10.0
_STEADY = 16
"""Pictures that batch norms take their statistics from."""


@dataclass(frozen=True)
class Tuned:
    """What tuning did.

    Attributes:
        task: adapted on the tuned network, or as it was.
        kept: whether the tuned network was kept.
        by_parts: whether boxes are named by their parts now (see `kshot.vision.patches`).
        before, after: on pictures held out of the first part of the run, without tuning and with what that part tuned:
            the AP50 of boxes whatever their label, times the mean probability of the right name among the names of the
            marked boxes; NaN where no picture could be held out.
        steps: gradient steps. cpu_seconds: the processor's time for all of it.
    """

    task: Adapted
    kept: bool
    by_parts: bool
    before: float
    after: float
    steps: int
    cpu_seconds: float


def tune(
    task: Adapted,
    *,
    seconds: float = 20.0,
    steps: int | None = None,
    rate: float = 2e-3,
    batch: int = 4,
    crops: Crops | None = None,
    trial: bool = True,
    seed: int = 0,
    watch: Callable[[float], None] | None = None,
) -> Tuned:
    """Fit a detector's whole network to the task's marked pictures; the task's base does not change.

    A trial comes first: a fifth of the pictures (at least one) are held out of the first part of the run, and tuning
    goes on, with all pictures, only where they are found and named better (see `Tuned`); else the task stays as it was. The tuned task carries
    a base of its own, which `save` puts into its file. `add` and `remove` keep that base; `forget` gives it up, since the
    network has seen what is to be forgotten.

    Args:
        seconds: processor time to spend, all cores together. steps: gradient steps in place of it: the same steps and
            seed give the same network on the same machine.
        rate, batch: size of a step (AdamW), and crops in one.
        crops: how crops are made; `Crops(mirror=False)` where left and right mean something, `Crops(turn=True)` where up
            and down do not, as under a microscope.
        trial: False keeps the result untried.
        watch: called after each step with the share of the run that is done.

    Raises:
        UnsupportedError: the task's base is no `Detector` on `Centres`.
        SettingError: a setting outside its range.
    """
    _checked(task, seconds, rate)
    run = _Run(task, crops or Crops(), whole("batch", batch), rate, seed)
    side = run.crops.crops.side
    if batch == 1 and side <= run.encoder.multiple:
        raise SettingError(
            f"batch is 1 and crops are {side} pixels, which the network sees as one cell, from which its norms "
            f"learn nothing; give a batch of 2 or more, or Crops(side={2 * run.encoder.multiple})"
        )
    clock = _Clock(
        run.begin, seconds - run.reserve(), None if steps is None else whole("steps", steps), watch
    )
    everything = list(range(len(task)))
    held = run.held_out() if trial else []
    before = after = float("nan")
    if held:
        run.descend([place for place in everything if place not in held], clock, _TRIAL)
        before, after = run.judged(held)
    kept = not trial or after > before  # never with NaN
    if kept:
        run.descend(everything, clock, 1.0)
    found = run.task() if kept else task
    return Tuned(
        found, kept, kept and run.parts is not None, before, after, run.steps, time.process_time() - run.begin
    )


def _checked(task: Adapted, seconds: float, rate: float) -> None:
    learner = task.learner
    if not isinstance(learner, Detector) or not isinstance(learner.localiser, Centres):
        raise UnsupportedError(
            f"the task's base is a {type(learner).__name__}; what is tuned here is a detector: kshot.vision.detector(). "
            "For texts there is kshot.text.tune"
        )
    for name, value in (("seconds", seconds), ("rate", rate)):
        if not 0 < value < math.inf:
            raise SettingError(f"{name} is {value}; give a number above 0")


class _Clock:
    """How much of a run is done, by processor time since `begin` or by steps."""

    def __init__(
        self, begin: float, seconds: float, steps: int | None, watch: Callable[[float], None] | None
    ) -> None:
        self.begin, self.seconds, self.steps = begin, max(seconds, 1e-3), steps
        self.watch = watch or (lambda share: None)

    def share(self, step: int) -> float:
        done = step / self.steps if self.steps else (time.process_time() - self.begin) / self.seconds
        self.watch(min(done, 1.0))
        return done


class _Run:
    """One network on its way."""

    def __init__(self, task: Adapted, crops: Crops, batch: int, rate: float, seed: int) -> None:
        self.begin, self.before, self.batch = time.process_time(), task, batch
        self.learner = plainer(copy.deepcopy(cast(Detector, task.learner)))
        self.parts: ByParts | None = None
        self.encoder = cast(MapEncoder, self.learner.encoder)
        self.localiser = cast(Centres, self.learner.localiser)
        assert isinstance(task.space, Boxes)
        self.rows = task.space.encode(task.targets)
        self.draw, self.rate, self.steps = generator(seed, "tune"), rate, 0
        self.crops = MarkedCrops(self.encoder, task.inputs, self.rows, crops, self.draw)
        self.classifier = nn.utils.skip_init(nn.Linear, self.localiser.vector, task.space.size)  # type: ignore[no-untyped-call]
        nn.init.normal_(self.classifier.weight, std=0.01, generator=self.draw)
        nn.init.zeros_(self.classifier.bias)
        moving = [*self.encoder.parameters(), *self.localiser.parameters(), *self.classifier.parameters()]
        self.moving = [parameter.requires_grad_(True) for parameter in moving]
        self.steepest = torch.optim.AdamW(self.moving, rate, weight_decay=_DECAY)

    def reserve(self) -> float:
        """Processor time that is needed behind the last step, as measured on one picture."""
        begin = time.process_time()
        embed_read(self.learner, self.before.inputs[:1])
        each = time.process_time() - begin
        return each * (min(len(self.before), _STEADY) + len(self.before) + CROPS / 2 + 6) + 0.3

    def held_out(self) -> list[int]:
        """Places of a fifth of the pictures, drawn so that each of their labels stays with the others."""
        known = [{int(label) for label in rows[:, 4].tolist() if label >= 0} for rows in self.rows]
        held: list[int] = []
        for place in torch.randperm(len(known), generator=self.draw).tolist():
            rest = set().union(*(own for n, own in enumerate(known) if n != place and n not in held))
            if known[place] and known[place] <= rest:
                held.append(place)
            if len(held) >= max(1, len(known) // 5):
                break
        return held

    def descend(self, places: Sequence[int], clock: _Clock, until: float) -> None:
        """Steps on crops of these pictures until this share of the run is done."""
        groups = self.crops.groups(places)
        self.learner.train()
        while (done := clock.share(self.steps)) < until:
            slope = self.rate * min(1.0, (self.steps + 1) / _WARM) * (0.5 + 0.5 * math.cos(math.pi * done))
            for group in self.steepest.param_groups:
                group["lr"] = slope
            self.steepest.zero_grad()
            with torch.enable_grad():
                self._loss(*self.crops.many(groups, self.batch)).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.moving, _CLIP)
            self.steepest.step()
            self.steps += 1

    def _loss(self, pictures: Tensor, boxes: list[Tensor]) -> Tensor:
        items = list(self.learner.embed(pictures))
        if self.parts is not None:  # names come from elsewhere
            return self.localiser.loss(items, boxes)
        marked = torch.cat(self.localiser.vectors_of(items, [self.crops.shaken(own) for own in boxes]))
        others = torch.cat(self.localiser.aside(items, boxes, {}, UNMARKED))
        goal = names_of(boxes, others)
        naming = F.cross_entropy(self.classifier(torch.cat([marked, others])), goal, reduction="sum")
        return self.localiser.loss(items, boxes) + naming / max(len(goal), 1)

    def judged(self, held: list[int]) -> tuple[float, float]:
        """How well boxes held out are found and named (see `Tuned`), taught by the others: with the base, and with the
        network as it is now. Decides too whether they are named by their parts."""
        rest = [place for place in range(len(self.before)) if place not in held]
        self._steady(rest)
        new = embed_read(self.learner, self.before.inputs)
        rows = [self.rows[place] for place in held]
        merits, hits = [], torch.zeros(0)
        for learner, embedded in ((self.before.learner, self.before.embedded), (self.learner, new)):
            small = self._taught(cast(Detector, learner), embedded, rest)
            items = [embedded[place] for place in held]
            found, (chances, hits) = finding(small, items, rows), naming(small, items, rows)
            merits.append((found, float(chances.mean())))
        (first, before), (second, after) = merits
        parts = by_parts(self.learner, self.before.inputs, self.rows)
        if parts is not None and surely_more(parts.hits(held), hits):
            self.parts, after = parts, float(parts.probabilities(held).mean())
        return first * before, second * after

    def _steady(self, places: Sequence[int]) -> None:
        """Batch norms take their statistics anew, from whole pictures: those of crops are a little off."""
        self.learner.train()
        norms = [m for m in self.learner.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
        paces = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over pictures
        # one cell of the coarsest level has no spread
        times = 2 if self.encoder.size <= self.encoder.multiple else 1
        with torch.no_grad():
            for place in places[:_STEADY]:
                self.learner.embed(self.learner.prepared([self.before.inputs[place]] * times))
        for norm, pace in zip(norms, paces, strict=True):
            norm.momentum = pace
        self.learner.eval()

    def _taught(self, learner: Learner, embedded: Embedded, places: list[int]) -> Adapted:
        """The task with these of its examples alone, on a base that embedded them all."""
        held = self.before.examples.take(places)
        own = take(embedded, places)
        return Adapted.of_embedded(learner, self.before.space, held.inputs, held.targets, held.ids, own)

    def task(self) -> Adapted:
        """The whole task on the tuned network."""
        self._steady(range(len(self.before)))
        learner = self.learner if self.parts is None else looking_closer(self.learner, self.parts)
        embedded = embed_read(learner, self.before.inputs)
        if self.parts is None:
            settle_refusals(learner, self.before.space, self.crops, list(embedded))
        base = self.before.learner
        moving = {name: parameter.requires_grad for name, parameter in base.named_parameters()}
        for name, parameter in learner.named_parameters():
            parameter.grad = None
            parameter.requires_grad_(moving.get(name, False))
        learner.tuned_from(base, [self.encoder.digest(item) for item in self.before.inputs], self.steps)
        return self.before.on(learner.eval(), embedded)
